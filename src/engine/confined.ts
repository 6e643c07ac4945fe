/**
 * Engines for confined callers: a launcher becomes the caller and executes CRIU (native/launcher).
 *
 * What the launcher says is believed up to its first answer, by which it has given up its privileges and touched nothing of
 * the caller's but directories, as the caller. What the engine says never is. The caller may kill either at any time.
 */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { native, type OwnedFd, type Process, type SeqpacketSocket, Watch } from '../socket/binding.ts';
import { findCriu } from './criu-binary.ts';
import { requireUnprivilegedMode } from './criu-version.ts';
import { Engine, type EngineEvents } from './engine.ts';
import type { EngineCgroup } from './engine-cgroup.ts';
import { explainLaunchFailure, type LaunchContext } from './launch-failure.ts';
import {
  decodeAnswer,
  encodeParameters,
  type LauncherLabel,
  launcherFds,
  maxAnswerBytes,
} from './launcher-protocol.ts';
import { StderrFile } from './stderr-file.ts';

export interface ConfinedEngineOptions {
  /** An absolute path instead of the search for criu. */
  readonly criu?: string | undefined;
  /** The launcher, an absolute path. */
  readonly launcher: string;
  /** A file of root's with the one line `unprivileged`: what CRIU_CONFIG_FILE names. */
  readonly configFile: string;
  /** How long the launcher may take: a directory of the caller's may be one that never answers. */
  readonly deadlineMs: number;
  /** Which security module labels processes. */
  readonly labels?: 'selinux' | 'apparmor' | undefined;
}

/** Whom the engine becomes. */
export interface EngineIdentity {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly bounding: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
  readonly noNewPrivs: boolean;
  readonly umask: number;
  /** Absent where the launcher's own is right. */
  readonly label?: LauncherLabel | undefined;
  /** The caller's pidfd, and a directory fd of its /proc/PID that is bound to it. Copied. */
  readonly pidfd: OwnedFd;
  readonly procDirectory: OwnedFd;
}

/** What it opens as its caller: descriptors are the caller's numbers. */
export interface EngineFiles {
  readonly imagesDirFd?: number | undefined;
  readonly imagesDir?: string | undefined;
  readonly workDirFd?: number | undefined;
  readonly statusFd?: number | undefined;
}

/** The numbers of those files in the engine. */
export interface OpenedFiles {
  readonly images_dir_fd?: number;
  readonly work_dir_fd?: number;
  readonly status_fd?: number;
}

export interface ConfinedEngine {
  readonly engine: Engine;
  /** Where it and everything that it forks lives; its owner here ends it. */
  readonly cgroup: EngineCgroup;
  readonly files: OpenedFiles;
}

/** The engine could not become its caller, or could not be executed. `errno` is positive; the message is for the caller. */
export class LaunchError extends Error {
  override readonly name = 'LaunchError';
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/**
 * @param connection the caller's own, blocking, for a hand-over; copied. Then nothing is opened: CRIU does that itself.
 * @param home moves the launcher into a cgroup of its own before it is anybody, so that what it forks later can be found there.
 * @throws LaunchError, CriuMissingError, CriuTooOldError, NativeError
 */
export async function startConfinedEngine(
  options: ConfinedEngineOptions,
  identity: EngineIdentity,
  files: EngineFiles,
  connection: OwnedFd | undefined,
  home: (pid: number) => EngineCgroup | Promise<EngineCgroup>,
  events: EngineEvents,
): Promise<ConfinedEngine> {
  const criu = findCriu(options.criu);
  await requireUnprivilegedMode(criu);
  const parameters = encodeParameters({
    ...identity,
    criu,
    config: options.configFile,
    handOver: connection !== undefined,
    ...files,
  });
  const stderr = new StderrFile('criu-stderr');
  const { ours: control, theirs } = native.socketpair();
  let launcher: Process | undefined;
  let cgroup: EngineCgroup | undefined;
  try {
    launcher = spawnLauncher(options.launcher, stderr.fd, theirs, identity, connection);
    theirs.close();
    cgroup = await home(launcher.pid);
    control.send(parameters);
    const { files: opened, socket } = await answerOf(control, launcher, options.deadlineMs, {
      criu,
      config: options.configFile,
      imagesDir: files.imagesDir,
    });
    return { engine: new Engine(launcher, socket, stderr, events), cgroup, files: opened };
  } catch (error) {
    stderr.close();
    if (launcher) abandon(launcher, cgroup);
    throw error;
  } finally {
    theirs.close();
    control.close();
  }
}

function spawnLauncher(
  file: string,
  stderr: OwnedFd,
  control: OwnedFd,
  identity: EngineIdentity,
  connection: OwnedFd | undefined,
): Process {
  const devNull = native.open('/dev/null', constants.O_RDWR);
  try {
    return native.spawn({
      file,
      argv: ['criu-launcher'],
      env: [],
      fds: [
        { source: devNull, target: 0 },
        { source: devNull, target: 1 },
        { source: stderr, target: launcherFds.stderr },
        { source: control, target: launcherFds.control },
        { source: identity.pidfd, target: launcherFds.callerPidfd },
        { source: identity.procDirectory, target: launcherFds.callerProc },
        ...(connection ? [{ source: connection, target: launcherFds.callerSocket }] : []),
      ],
    });
  } finally {
    devNull.close();
  }
}

interface Launched {
  readonly files: OpenedFiles;
  /** Absent after a hand-over. */
  readonly socket: SeqpacketSocket | undefined;
}

/** Waits until the launcher has said that it is ready and its end of the control socket is closed: then CRIU was executed. */
function answerOf(
  control: SeqpacketSocket,
  launcher: Process,
  deadlineMs: number,
  context: LaunchContext,
): Promise<Launched> {
  return new Promise((resolve, reject) => {
    let ready: Launched | undefined;
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      control.watch(0);
      finish();
    };
    const fail = (errno: number, message: string): void =>
      settle(() => {
        ready?.socket?.close();
        reject(new LaunchError(errno, message));
      });
    const timer = setTimeout(() => {
      // It has not executed CRIU, so nothing is frozen by it.
      launcher.signal(os.signals.SIGKILL);
      fail(os.errno.ETIMEDOUT, `Opening the directories took longer than ${deadlineMs / 1000} s`);
    }, deadlineMs);
    control.watch(Watch.readable, () => {
      try {
        const packet = control.receive(maxAnswerBytes, 1);
        if (!packet) {
          if (ready) settle(() => resolve(ready!));
          else fail(os.errno.ECONNABORTED, 'The engine was ended before it could start');
          return;
        }
        const answer = decodeAnswer(packet.data);
        if (answer.kind === 'failed') {
          for (const fd of packet.fds) fd.close();
          const { errno, sentence } = explainLaunchFailure(answer, context);
          fail(errno, sentence);
        } else {
          ready = {
            files: answer.files,
            socket: packet.fds[0] ? native.adopt(packet.fds[0]) : undefined,
          };
        }
      } catch (error) {
        fail(os.errno.EIO, `The launcher cannot be understood: ${(error as Error).message}`);
      }
    });
  });
}

/** A launcher that failed leaves by itself, or was killed; one that waits for its parameters reads an end of file. */
function abandon(launcher: Process, cgroup: EngineCgroup | undefined): void {
  launcher.onExit(() => {
    launcher.close();
    cgroup?.kill();
    cgroup?.remove();
  });
}
