/** Explains a launcher's failure: the sentence for the caller and the journal, and the errno for the reply. */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import {
  ClocksFault,
  FileFault,
  InheritedFault,
  type LaunchFailure,
  type LaunchStep,
  proofFaults,
  TimeFault,
} from './launcher-protocol.ts';

const {
  EACCES,
  EAGAIN,
  EBADF,
  EBUSY,
  EDQUOT,
  EINVAL,
  ELOOP,
  EMFILE,
  ENFILE,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOTDIR,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} = constants.errno;
/** This errno is missing in `node:os`. */
const ETOOMANYREFS = 109;

export interface LaunchFailureDescription {
  /** The failure and its remedy. */
  readonly sentence: string;
  /** For cr_errno. */
  readonly errno: number;
}

/** Names for the sentence, where they are known. */
export interface LaunchContext {
  readonly criu?: string | undefined;
  readonly config?: string | undefined;
  readonly preload?: string | undefined;
  /** Present if the request named the images directory by a path. */
  readonly imagesDir?: string | undefined;
}

/** RLIMIT_* by number, as /usr/include/asm-generic/resource.h has them. */
const limitNames = [
  'CPU',
  'FSIZE',
  'DATA',
  'STACK',
  'CORE',
  'RSS',
  'NPROC',
  'NOFILE',
  'MEMLOCK',
  'AS',
  'LOCKS',
  'SIGPENDING',
  'MSGQUEUE',
  'NICE',
  'RTPRIO',
  'RTTIME',
] as const;

const unitHint = 'criu.service must run as root with all capabilities and no sandboxing';

export function explainLaunchFailure(
  failure: LaunchFailure,
  context: LaunchContext = {},
): LaunchFailureDescription {
  // If the caller exits while it is read, any step may fail with ESRCH.
  if (failure.error === ESRCH) return caller('The calling process has ended', ESRCH);
  return describeStep[failure.step](failure, context);
}

type Describe = (failure: LaunchFailure, context: LaunchContext) => LaunchFailureDescription;

const describeStep: Readonly<Record<LaunchStep, Describe>> = {
  none: (failure) => internal(failure, 'The launcher failed without saying where'),
  self: (failure) => internal(failure, 'The launcher was not started as it must be'),
  cgroup: (failure) => {
    switch (failure.error) {
      case ENODEV:
      case ENOENT:
        return caller('The unit of the calling process has ended', ESRCH);
      case EAGAIN:
        return caller('The unit of the calling process may have no further process (TasksMax=)', EAGAIN);
      case ENOMEM:
        return caller('The unit of the calling process has no memory left (MemoryMax=)', ENOMEM);
      case EBUSY:
      case EOPNOTSUPP:
        return caller(
          'The calling process is in a cgroup that can take no engine (cgroup.type)',
          failure.error,
        );
      default:
        return internal(failure, 'The engine cannot be started in the cgroup of its caller');
    }
  },
  parameters: (failure) => internal(failure, 'The launcher did not understand its parameters'),
  criu: (failure, { criu = 'criu' }) => file(failure, criu, 'is not run', 'Reinstall the package criu'),
  config: (failure, { config = 'The configuration file of engines' }) =>
    file(failure, config, 'is not used', 'Reinstall the package criu-service'),
  preload: (failure, { preload = 'The library of engines' }) =>
    file(failure, preload, 'is not used', 'Reinstall the package criu-service'),
  nice: (failure) => trait(failure, 'nice value'),
  scheduler: (failure) =>
    failure.error === EAGAIN
      ? caller(
          'A process under SCHED_DEADLINE cannot have children, and so no engine: change its scheduling policy, or set SCHED_RESET_ON_FORK',
          EAGAIN,
        )
      : trait(failure, 'scheduling policy'),
  'io-priority': (failure) => trait(failure, 'I/O priority'),
  affinity: (failure) =>
    administrator(
      `The engine cannot run on the caller's CPUs: ${name(failure)}. Let the caller's slice use them (AllowedCPUs=)`,
      failure,
    ),
  'coredump-filter': (failure) => trait(failure, 'core dump filter'),
  'oom-score': (failure) => trait(failure, 'oom_score_adj'),
  'login-uid': (failure) =>
    administrator(
      `The audit login uid of the caller cannot be taken over: ${name(failure)}. Start criu.service by systemd, not from a login session, and with CAP_AUDIT_CONTROL`,
      failure,
    ),
  'read-limit': (failure) =>
    failure.error === EPERM
      ? caller('The calling process has become another user since it connected', EPERM)
      : trait(failure, `limit ${limit(failure)}`),
  'caller-gone': () => caller('The calling process has ended', ESRCH),
  'raise-limit': (failure) =>
    administrator(
      `The caller's hard limit ${limit(failure)} is above the service's: ${name(failure)}. Set Limit${limit(failure)}=infinity in criu.service, or let it keep CAP_SYS_RESOURCE`,
      failure,
    ),
  time: (failure) => {
    if (failure.value === BigInt(TimeFault.join)) {
      return administrator(
        `The time namespace of the caller, or of the process to dump, cannot be entered: ${name(failure)}; ${unitHint}`,
        failure,
      );
    }
    return failure.error === ENOSPC
      ? caller(
          'The caller has as many time namespaces as user.max_time_namespaces (sysctl) allows: each restored tree has one, until its last process has ended and its last descriptor is closed',
          // The kernel's ENOSPC would read as a full disk.
          EAGAIN,
        )
      : administrator(
          `A time namespace cannot be made for the restored tree: ${name(failure)}; ${unitHint}`,
          failure,
        );
  },
  inheritable: (failure) => trait(failure, 'inheritable capabilities'),
  bounding: (failure) =>
    administrator(
      `The service itself lacks capability ${failure.value}, which is in the caller's bounding set: ${name(failure)}. Remove CapabilityBoundingSet= from criu.service`,
      failure,
    ),
  groups: (failure) => trait(failure, 'groups'),
  gid: (failure) => trait(failure, 'group'),
  uid: (failure) => trait(failure, 'user'),
  capabilities: (failure) =>
    administrator(
      `CAP_CHECKPOINT_RESTORE cannot be given to the engine: ${name(failure)}. It needs Linux 5.9; ${unitHint}`,
      failure,
    ),
  ambient: (failure) =>
    administrator(
      `Capability ${failure.value} cannot be given to the engine: ${name(failure)}. It needs Linux 5.9; ${unitHint}`,
      failure,
    ),
  keyring: (failure) =>
    failure.error === EDQUOT
      ? caller(
          "The engine's session keyring does not fit into the caller's quota of keys: remove some (keyctl(1), /proc/key-users)",
          EDQUOT,
        )
      : trait(failure, 'session keyring'),
  'no-new-privs': (failure) => trait(failure, 'no_new_privs'),
  proof: (failure) => {
    const fault = proofFaults[Number(failure.value) - 1] ?? String(failure.value);
    return administrator(
      `The engine was not started, because it would not have been exactly its caller (${fault}). This is a fault of criu-service or of the kernel: report it`,
      { ...failure, error: EPERM },
    );
  },
  directory: (failure) => internal(failure, 'The root directory cannot be entered'),
  images: (failure, { imagesDir }) =>
    opened(
      failure,
      failure.value !== -1n
        ? `images_dir_fd ${failure.value}`
        : `the images directory${imagesDir === undefined ? '' : ` ${JSON.stringify(imagesDir)}`}`,
      'read',
    ),
  work: (failure) => opened(failure, `work_dir_fd ${failure.value}`, 'search'),
  status: (failure) => opened(failure, `status_fd ${failure.value}`, 'write'),
  inherited: (failure) => inherited(failure),
  clocks: (failure) => {
    switch (Number(failure.value)) {
      case ClocksFault.cannotBeRead:
        return caller(
          `The clocks in the images (timens-0.img) cannot be read: ${name(failure)}`,
          failure.error,
        );
      case ClocksFault.notRegular:
        return caller('The images are not restored: timens-0.img is no regular file', EINVAL);
      case ClocksFault.notSet:
        return caller(`The kernel refuses the clocks in the images (timens-0.img): ${name(failure)}`, EINVAL);
      default:
        return internal(failure, 'The launcher did not understand the clocks');
    }
  },
  label: (failure) =>
    administrator(
      `The security label of the caller cannot be taken over: ${name(failure)}. The policy must allow criu.service to execute criu with it`,
      failure,
    ),
  socket: (failure) => internal(failure, "The engine's connection cannot be made"),
  descriptors: (failure) => internal(failure, "The engine's descriptors cannot be put in their places"),
  limit: (failure) => trait(failure, `limit ${limit(failure)}`),
  answer: (failure) =>
    failure.error === ETOOMANYREFS
      ? caller('The caller has too many descriptors in flight on Unix sockets: let them be received', EAGAIN)
      : internal(failure, 'The launcher could not answer'),
  execute: (failure, { criu = 'criu' }) => {
    switch (failure.error) {
      case EAGAIN:
        return caller('The caller has as many processes as its limit (ulimit -u) allows', EAGAIN);
      case EACCES:
      case EPERM:
        return administrator(
          `The caller may not execute ${criu}: ${name(failure)}. Its mode must be 0755, its file system not mounted noexec, and a security policy must allow it`,
          failure,
        );
      case ENOENT:
        return administrator(
          `${criu} cannot be executed: it is a script, or its interpreter (ld.so) is missing. Reinstall the package criu`,
          failure,
        );
      case ENOMEM:
        return caller(`The caller's limits leave ${criu} no memory (ulimit -v)`, ENOMEM);
      default:
        return administrator(
          `${criu} cannot be executed: ${name(failure)}. Reinstall the package criu`,
          failure,
        );
    }
  },
};

function file(failure: LaunchFailure, path: string, refused: string, remedy: string) {
  const refusal = (fault: string) => administrator(`${path} ${refused}: ${fault}`, failure);
  switch (Number(failure.value)) {
    case FileFault.notRegular:
      return refusal(`it is no regular file. ${remedy}`);
    case FileFault.notRoots:
      return refusal('it does not belong to root. Correct it with chown root');
    case FileFault.writableByOthers:
      return refusal('others than root can write it. Correct it with chmod go-w');
    case FileFault.setId:
      return refusal('it has a set-user-ID or set-group-ID bit. Remove it with chmod ug-s');
    case FileFault.hasCapabilities:
      return refusal('it has file capabilities. Remove them with setcap -r');
    default:
      return administrator(`${path} cannot be opened: ${name(failure)}. ${remedy}`, failure);
  }
}

function opened(failure: LaunchFailure, what: string, right: 'read' | 'search' | 'write') {
  switch (failure.error) {
    case ENOENT:
      return caller(
        what.startsWith('the ')
          ? `There is no ${what.slice(4)}`
          : `The caller has no open descriptor ${what}`,
        what.startsWith('the ') ? ENOENT : EBADF,
      );
    case EACCES:
    case EPERM:
      return caller(
        `The caller has no permission to ${right} ${what}, or its own /proc/PID/fd cannot be opened because it is not dumpable (prctl(2), PR_SET_DUMPABLE)`,
        EACCES,
      );
    case ENOTDIR:
      return caller(`Not a directory: ${what}`, ENOTDIR);
    case ELOOP:
      return caller(`Too many symbolic links: ${what}`, ELOOP);
    case EMFILE:
    case ENFILE:
      return administrator(`No descriptor is left to open ${what}: ${name(failure)}`, failure);
    default:
      return caller(`Cannot open ${what}: ${name(failure)}`, failure.error);
  }
}

const refusedKinds: readonly [fault: number, what: string][] = [
  [InheritedFault.path, 'it was opened with O_PATH'],
  [InheritedFault.directory, 'it is a directory'],
  [InheritedFault.block, 'it is a block device'],
  [InheritedFault.device, 'it is a device other than /dev/null and the like, or a terminal'],
  [InheritedFault.terminal, "it is another user's terminal"],
  [
    InheritedFault.kernel,
    "it is a file of the kernel's own (in /proc or /sys, a pidfd, an io_uring, an epoll set)",
  ],
  [InheritedFault.rights, 'the caller could not open this file as it is open'],
];

function inherited(failure: LaunchFailure): LaunchFailureDescription {
  const what = `inherit_fd ${failure.value & 0xffff_ffffn}`;
  const kind = refusedKinds.find(([fault]) => BigInt(fault) === failure.value >> 32n)?.[1];
  if (kind !== undefined) return caller(`${what} is not put into an engine: ${kind}`, EPERM);
  switch (failure.error) {
    case EBADF:
      return caller(`The caller has no open descriptor ${what}`, EBADF);
    case EPERM:
      return caller(
        `The descriptor ${what} cannot be copied: the caller is not dumpable (prctl(2), PR_SET_DUMPABLE), holds capabilities, or kernel.yama.ptrace_scope is not 0`,
        EPERM,
      );
    default:
      return caller(`The descriptor ${what} cannot be copied: ${name(failure)}`, failure.error);
  }
}

function trait(failure: LaunchFailure, what: string): LaunchFailureDescription {
  return administrator(
    `The ${what} of the caller cannot be taken over: ${name(failure)}; ${unitHint}`,
    failure,
  );
}

/** A failure that callers and settings should be unable to cause. */
function internal(failure: LaunchFailure, what: string): LaunchFailureDescription {
  return administrator(
    `${what} (step ${failure.step}, ${name(failure)}, value ${failure.value}). Reinstall criu-service; if it stays, report it`,
    failure,
  );
}

/** A failure that the caller can mend. */
function caller(sentence: string, errno: number): LaunchFailureDescription {
  return { sentence, errno: errno === 0 ? EPERM : errno };
}

/** A failure that only the administrator can mend. */
function administrator(sentence: string, { error }: LaunchFailure): LaunchFailureDescription {
  return { sentence, errno: error === 0 ? EPERM : error };
}

function limit(failure: LaunchFailure): string {
  return limitNames[Number(failure.value)] ?? String(failure.value);
}

function name(failure: LaunchFailure): string {
  return failure.error > 0 ? getSystemErrorName(-failure.error) : 'refused';
}
