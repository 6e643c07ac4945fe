/**
 * Decides how a caller is served. Pure: a judgement over the facts that caller.ts read.
 *
 * Fully privileged (docs/ARCHITECTURE.md) is a caller with uid 0 that holds everything that this service holds; it gets CRIU as
 * root. A caller with uid 0 and fewer rights is refused: an engine of uid 0 regains its bounding set at exec, and owns root's
 * files. All other callers are confined: the engine takes over the caller's identity. If the caller is in a sandbox that an
 * engine cannot take over, the caller is refused, because a restored task would leave that sandbox.
 */
import type { CallerIdentity, CallerState } from '../proc/caller.ts';
import type { LabelModule } from '../proc/security-module.ts';
import type { ThreadStatus } from '../proc/status.ts';
import { inNamespaceOfItsOwn } from './namespace-words.ts';

export type Standing =
  | { readonly kind: 'fully-privileged' }
  | { readonly kind: 'confined'; readonly traits: Traits }
  | { readonly kind: 'refused'; readonly reason: string };

/** The traits that an engine takes over from a confined caller besides its identity, as the service read them. */
export interface Traits {
  readonly permitted: bigint;
  readonly bounding: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
  readonly noNewPrivs: boolean;
  readonly umask: number;
  readonly label: string | undefined;
  /** The time namespace that the caller is in, as `time:[4026532345]`; absent if it is this service's. */
  readonly timeNamespace?: string;
}

export interface StandingOptions {
  /** Serve callers with no_new_privs, although Landlock, which cannot be seen from outside, implies it. */
  readonly allowNoNewPrivs: boolean;
  /** The security module whose labels an engine can take over. */
  readonly labels?: LabelModule | undefined;
}

export function judgeStanding(
  identity: CallerIdentity,
  state: CallerState,
  service: CallerState,
  options: StandingOptions,
): Standing {
  const changed = changedSinceConnect(identity, state);
  if (changed !== undefined) return refused(changed);
  if (identity.uid === 0) {
    const less = lessThanService(state, service);
    return less === undefined ? { kind: 'fully-privileged' } : refused(less);
  }
  const sandbox = sandboxOf(identity, state, service, options);
  return sandbox === undefined ? { kind: 'confined', traits: traitsOf(state, service) } : refused(sandbox);
}

/** A process that has changed since it connected is refused, even root's. */
function changedSinceConnect(identity: CallerIdentity, state: CallerState): string | undefined {
  for (const thread of state.threads) {
    if (thread.uids.some((uid) => uid !== identity.uid)) {
      return `the uids of thread ${thread.tid} (${thread.uids.join(' ')}) are not the ${identity.uid} that connected`;
    }
    if (thread.gids.some((gid) => gid !== identity.gid)) {
      return `the gids of thread ${thread.tid} (${thread.gids.join(' ')}) are not the ${identity.gid} that connected`;
    }
    if (
      thread.groups.length !== identity.groups.length ||
      thread.groups.some((gid, i) => gid !== identity.groups[i])
    ) {
      return `the groups of thread ${thread.tid} are not those that connected`;
    }
  }
  if (state.secureExec) return 'its program was started across a privilege boundary (AT_SECURE)';
  return undefined;
}

function lessThanService(state: CallerState, service: CallerState): string | undefined {
  const held = service.threads[0];
  if (held === undefined) return 'the service does not know its own credentials';
  for (const thread of state.threads) {
    if ((thread.effective & held.effective) !== held.effective) {
      return 'it runs as root without all the capabilities of this service';
    }
    if (thread.seccomp !== 0) return 'it is under a seccomp filter';
    if (thread.noNewPrivs) return 'it has no_new_privs set';
    for (const name of ['user', 'pid', 'pid_for_children']) {
      if (thread.namespaces[name] !== held.namespaces[name]) return otherNamespace(name);
    }
  }
  return otherLabel(state, service);
}

/**
 * @returns the sandbox that a restored task would leave. All of these are monotone: a process without privileges never leaves
 * them.
 */
function sandboxOf(
  identity: CallerIdentity,
  state: CallerState,
  service: CallerState,
  options: StandingOptions,
): string | undefined {
  const own = service.threads[0];
  if (own === undefined) return 'the service does not know its own namespaces';
  for (const thread of state.threads) {
    if (thread.seccomp !== 0) {
      return fromOutside(
        'is under a seccomp filter (SystemCallFilter=, RestrictAddressFamilies= and the like, a container), which a restored task would leave',
      );
    }
    // Compares both ways: a namespace that only the caller or only the service has is a difference, too.
    // The first two tell a person most about a container or a unit, which has others, too.
    const names = ['user', 'mnt', ...Object.keys(own.namespaces), ...Object.keys(thread.namespaces)];
    for (const name of new Set(names)) {
      if (isClock(name)) continue;
      if (thread.namespaces[name] !== own.namespaces[name]) return fromOutside(inNamespaceOfItsOwn(name));
    }
    // A mount namespace has other mounts, so that its root directory differs, too.
    if (thread.root !== own.root) {
      return fromOutside('has another root directory than this service (RootDirectory=, chroot)');
    }
    // Many of systemd's sandboxes set it for a user, so the more telling properties come first.
    if (thread.noNewPrivs && !options.allowNoNewPrivs) {
      return `${fromOutside('has no_new_privs set (NoNewPrivileges=, DynamicUser=), so that it may be in a sandbox (Landlock) that cannot be seen')}; an administrator can allow it (--allow-no-new-privs)`;
    }
  }
  if (!hasOneTime(state)) return 'its children would live in another time namespace than itself';
  if (identity.label !== undefined && identity.label !== state.label) {
    return `its security label ${state.label ?? '(none)'} is not the ${identity.label} that connected`;
  }
  // The kernel's security policy decides, at the engine's execve(2), if it may take over another label.
  const known = options.labels !== undefined && state.label !== undefined;
  return state.label === service.label || known ? undefined : labelRefusal(state);
}

/** The sentence for a caller whose user ids are not this service's. */
export function callerOfOtherUsers(): string {
  return fromOutside(inNamespaceOfItsOwn('user'));
}

/** The way out that every sandbox has. @param property a predicate of the caller. */
function fromOutside(property: string): string {
  return `the calling process ${property}: ask from outside of that, for example from a login shell or by systemd-run --user`;
}

/**
 * A time namespace is no sandbox: it moves CLOCK_MONOTONIC and CLOCK_BOOTTIME, and hides nothing. Each restored tree lives in one.
 * Only CAP_SYS_ADMIN leads into another, so that the caller of a time namespace was brought there by root, or by a restore.
 */
function isClock(namespace: string): boolean {
  return namespace === 'time' || namespace === 'time_for_children';
}

/** All threads are in the same time namespace, and so are their children. */
function hasOneTime({ threads }: CallerState): boolean {
  const { time } = threads[0]?.namespaces ?? {};
  return threads.every(({ namespaces }) => namespaces.time === time && namespaces.time_for_children === time);
}

function traitsOf(state: CallerState, service: CallerState): Traits {
  const time = state.threads[0]?.namespaces.time;
  const inAll = (pick: (thread: ThreadStatus) => bigint): bigint =>
    state.threads.map(pick).reduce((all, one) => all & one, ~0n & 0xffffffffffffffffn);
  return {
    // Credentials are per thread. The intersection is what each thread could hand to a child.
    permitted: inAll((thread) => thread.permitted),
    bounding: inAll((thread) => thread.bounding),
    inheritable: inAll((thread) => thread.inheritable),
    ambient: inAll((thread) => thread.ambient),
    noNewPrivs: state.threads.some((thread) => thread.noNewPrivs),
    umask: state.threads[0]?.umask ?? 0o077,
    label: state.label,
    ...(time === undefined || time === service.threads[0]?.namespaces.time ? {} : { timeNamespace: time }),
  };
}

function otherNamespace(name: string): string {
  return `it lives in another ${name.replace('_for_children', '')} namespace`;
}

function otherLabel(state: CallerState, service: CallerState): string | undefined {
  return state.label === service.label || state.label === 'unconfined' ? undefined : labelRefusal(state);
}

function labelRefusal(state: CallerState): string {
  return `its security label ${state.label ?? '(none)'} is not one that an engine of this service can take over`;
}

function refused(reason: string): Standing {
  return { kind: 'refused', reason };
}
