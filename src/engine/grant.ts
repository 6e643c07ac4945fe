/** Runs criu-grant (native/grant), which lets the processes of a tree name an engine as their tracer. */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { native, type OwnedFd, type Process, type SeqpacketSocket, Watch } from '../native/binding.ts';
import {
  decodeGrantAnswer,
  encodeGrantParameters,
  type GrantAnswer,
  type GrantFault,
  type GrantParameters,
  grantAnswerBytes,
  grantFds,
} from './grant-protocol.ts';

/** Later than kLastSeconds (native/grant/protocol.h), after which the program ends itself. Only a file system holds it for longer. */
const killAfterMs = 60_000;

/** The directories in /proc of the processes of {@link GrantParameters}, each bound to its process. Copied. */
export interface GrantDirectories {
  readonly caller: OwnedFd;
  readonly root: OwnedFd;
  readonly engine: OwnedFd;
}

/** The engine that is named. */
export interface NamedEngine {
  readonly pid: number;
  /** True while the pid is its own. */
  isThere(): boolean;
}

export interface Grant {
  /** Rejects if the program ends without an answer. A program that was killed is late, whatever it has sent. */
  readonly answer: Promise<GrantAnswer>;
  /** Resolves when nothing of the program is left. */
  readonly gone: Promise<void>;
}

/**
 * @param program an absolute path.
 * @throws NativeError if it cannot be started.
 */
export function grant(
  program: string,
  parameters: GrantParameters,
  directories: GrantDirectories,
  deadlineMs = killAfterMs,
): Grant {
  const request = encodeGrantParameters(parameters);
  const { ours, theirs } = native.socketpair();
  let running: Process;
  try {
    running = start(program, theirs, directories);
  } catch (error) {
    ours.close();
    throw error;
  } finally {
    theirs.close();
  }
  const gone = new Promise<void>((resolve) =>
    running.onExit(() => {
      running.close();
      resolve();
    }),
  );
  let timer: NodeJS.Timeout | undefined;
  const killed = new Promise<GrantAnswer>((resolve) => {
    timer = setTimeout(() => {
      running.signal(os.signals.SIGKILL);
      resolve({ fault: 'late', related: 'nothing', pid: parameters.root, error: 0, named: 0, before: 0 });
    }, deadlineMs);
  });
  const answered = Promise.all([answerOn(ours, request), gone]).then(([packet]) => {
    if (!packet) throw new Error('criu-grant ended without an answer');
    return decodeGrantAnswer(packet);
  });
  const answer = Promise.race([answered, killed]).finally(() => {
    clearTimeout(timer);
    ours.close();
  });
  return { answer, gone };
}

function answerOn(control: SeqpacketSocket, request: Uint8Array): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    control.watch(Watch.readable, () => {
      control.watch(0);
      try {
        resolve(control.receive(grantAnswerBytes, 1)?.data);
      } catch (error) {
        reject(error);
      }
    });
    control.send(request);
  });
}

function start(program: string, control: OwnedFd, directories: GrantDirectories): Process {
  const devNull = native.open('/dev/null', constants.O_RDWR);
  try {
    return native.spawn({
      file: program,
      argv: ['criu-grant'],
      env: [],
      fds: [
        { source: devNull, target: 0 },
        { source: devNull, target: 1 },
        { source: devNull, target: 2 },
        { source: control, target: grantFds.control },
        { source: directories.caller, target: grantFds.callerProc },
        { source: directories.root, target: grantFds.rootProc },
        { source: directories.engine, target: grantFds.engineProc },
      ],
    });
  } finally {
    devNull.close();
  }
}

/** Begins each sentence about a refused tree. */
const scope = 'kernel.yama.ptrace_scope is 1';

/** The predicate of a sentence about a process, for a fault that one causes. */
const ofProcess: Partial<Record<GrantFault, string>> = {
  gone: 'has ended',
  late: 'did not stop in time',
  foreign: 'has another uid or gid than you',
  capable: 'holds capabilities that you do not hold',
  'not-dumpable': 'is not dumpable (prctl(2), PR_SET_DUMPABLE)',
  namespace: 'is in a user or pid namespace of its own',
  traced: 'is being traced',
  seccomp: 'has a seccomp filter',
  dispatch: 'handles its system calls itself (PR_SET_SYSCALL_USER_DISPATCH)',
  compat: 'is a program of 32 bits',
  'no-code': 'has no vdso, or a strange one',
  seize: 'cannot be traced',
  disturbed: 'did something else meanwhile',
  call: 'could not name its engine (prctl(2), PR_SET_PTRACER)',
  registers: 'has segments that the kernel does not take from a tracer',
  sequence: 'has its area for restartable sequences (rseq(2)) in a file',
};

/** @returns the errno for the reply, and a sentence about the tree; undefined for a tree that the engine can trace. */
export function explainGrant(
  { fault, pid, error }: GrantAnswer,
  root: number,
): { readonly errno: number; readonly reason: string } | undefined {
  const { EAGAIN, EIO, EPERM, ESRCH } = os.errno;
  const because = error === 0 ? '' : ` (${getSystemErrorName(-error)})`;
  switch (fault) {
    case 'none':
      return undefined;
    case 'no-consent':
      return {
        errno: EPERM,
        reason: `${scope}, which lets users without root trace descendants only, and process ${root} is not one of the calling process, has not named anybody (prctl(2), PR_SET_PTRACER, PR_SET_PTRACER_ANY), and was not restored by this service; an administrator can set it to 0, or start criu-service with --yama=own`,
      };
    case 'gone':
      return { errno: ESRCH, reason: `process ${pid} has ended` };
    case 'too-many':
      return {
        errno: EAGAIN,
        reason: `${scope}, and the tree of process ${root} has too many processes, or makes new ones too fast, for each of them to be asked to let its engine trace it`,
      };
    case 'asker-ended':
      return {
        errno: EAGAIN,
        reason: `${scope}, and the process that asks the kernel in your name was ended`,
      };
    case 'self':
    case 'parameters':
      return { errno: EIO, reason: `criu-grant cannot work here: ${fault}${because}` };
    default:
      return {
        errno: fault === 'late' || fault === 'disturbed' ? EAGAIN : EPERM,
        reason: `${scope}, and process ${pid} of the tree cannot be asked to let its engine trace it: it ${ofProcess[fault] ?? 'cannot be read'}${because}`,
      };
  }
}
