/** From a verb's options to a request. Every local failure comes from here, before the service is asked. */
import { type CriuOpts, type CriuReq, ReqType } from '../protocol/messages.ts';
import { abortError } from './criu-error.ts';
import type { DialogOptions } from './dialog.ts';
import { type Directory, OpenDirectory } from './directory.ts';
import { encodeOptions } from './encode-options.ts';
import type { AnyOptions } from './options.ts';

/** A request that is ready to send. It names descriptors, which stay open until it is released. */
export interface Prepared {
  readonly request: CriuReq;
  readonly dialog: DialogOptions;
  release(): Promise<void>;
}

/** @throws CriuError `INVALID`, `DIRECTORY`, `ABORTED` */
export async function prepare(
  type: ReqType,
  options: AnyOptions,
  more: Partial<CriuReq> = {},
): Promise<Prepared> {
  const encoded = encodeOptions(options);
  if (options.signal?.aborted) throw abortError(options.signal);
  const directories: OpenDirectory[] = [];
  const release = async (): Promise<void> => {
    for (const directory of directories.splice(0)) await directory.close();
  };
  const open = async (directory: Directory | undefined): Promise<OpenDirectory | undefined> => {
    if (directory === undefined) return undefined;
    const opened = await OpenDirectory.open(directory);
    directories.push(opened);
    return opened;
  };
  try {
    const images = await open(options.imagesDir);
    const work = await open(options.workDir);
    const opts: CriuOpts = {
      ...encoded,
      images_dir_fd: images?.fd ?? -1,
      ...(work ? { work_dir_fd: work.fd } : {}),
      ...(wantsNotifications(type, options) ? { notify_scripts: true } : {}),
    };
    return {
      request: needsNoOptions.has(type) ? { type, ...more } : { type, opts, ...more },
      dialog: dialogOptions(options, (work ?? images)?.path),
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

const needsNoOptions: ReadonlySet<number> = new Set([ReqType.VERSION, ReqType.FEATURE_CHECK]);

const treeRequests: ReadonlySet<number> = new Set([
  ReqType.DUMP,
  ReqType.PRE_DUMP,
  ReqType.SINGLE_PRE_DUMP,
  ReqType.RESTORE,
]);

/**
 * An abort needs notifications, because CRIU can be stopped only there. A process that dumps itself is frozen and cannot use
 * them.
 */
function wantsNotifications(type: ReqType, { notifications, signal, pid }: AnyOptions): boolean {
  if (notifications !== undefined) return true;
  const dumpsItself = type === ReqType.DUMP && pid === undefined;
  return signal !== undefined && treeRequests.has(type) && !dumpsItself;
}

/** Numbers that CRIU looks up in its own descriptor table. A service copies the descriptors itself. */
export function engineFds({ inheritFd, ps }: AnyOptions): number[] {
  return [...(inheritFd ?? []).map(({ fd }) => fd), ...(ps?.fd === undefined ? [] : [ps.fd])];
}

function dialogOptions(options: AnyOptions, workPath: string | undefined): DialogOptions {
  const { notifications, signal, logFile, logToStderr } = options;
  const toFile = workPath !== undefined && (logFile !== undefined || !logToStderr);
  return {
    notifications,
    signal,
    // DEFAULT_LOG_FILENAME of criu/include/criu-log.h.
    log: toFile ? `${workPath}/${logFile ?? 'criu.log'}` : undefined,
  };
}
