/** The descriptors of a caller that a confined engine gets (inherit_fd). Pure. */
import type { CriuOpts } from '../protocol/messages.ts';

/** The limit of descriptors that an engine gets copies of: kMaxInherited of native/launcher/protocol.h. */
export const maxInherited = 64;
/** The number of the first copy in the engine; the others follow. */
export const firstInheritedFd = 64;

/** The descriptors of the caller, in the order of their copies. CRIU closes each after its use, so each entry gets its own copy. */
export function inheritedFds({ inherit_fd }: CriuOpts): readonly number[] {
  return (inherit_fd ?? []).map(({ fd }) => fd);
}

/** The same options with the numbers of the copies. */
export function withCopies(opts: CriuOpts): CriuOpts {
  if (!opts.inherit_fd?.length) return opts;
  const inherit_fd = opts.inherit_fd.map(({ key }, at) => ({ key, fd: firstInheritedFd + at }));
  return { ...opts, inherit_fd };
}
