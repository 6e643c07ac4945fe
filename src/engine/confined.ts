/**
 * Engines for confined callers: a launcher becomes the caller and executes CRIU (native/launcher).
 *
 * What the launcher says is believed up to its first answer, by which it has given up its privileges and touched nothing of
 * the caller's but directories, as the caller. What the engine says never is. The caller may kill either at any time.
 */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { native, type OwnedFd, type Process, type SeqpacketSocket, Watch } from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { findCriu } from './criu-binary.ts';
import { requireUnprivilegedMode } from './criu-version.ts';
import { type ConfinedEngineEvents, Engine, usualConnection } from './engine.ts';
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
  /** The library that CRIU is run with (native/engine-preload), an absolute path. */
  readonly preload: string;
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

/**
 * Where it and what it forks is to live: a cgroup that is there before it, in which its launcher starts; or one that can only be had
 * with a process in it, so that its launcher is moved there, before it is anybody. Being moved takes the kernel some milliseconds.
 */
export type EngineHome =
  | { readonly before: () => EngineCgroup }
  | { readonly with: (pid: number) => Promise<EngineCgroup> };

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
 * @param noCapability the request needs no CAP_CHECKPOINT_RESTORE.
 * @param connection the caller's own, blocking, for a hand-over; copied. Then nothing is opened: CRIU does that itself.
 * @param onAbandoned told when a launcher that failed will have gone: until then it counts as an engine.
 * @throws LaunchError, CriuMissingError, CriuTooOldError, NativeError
 */
export async function startConfinedEngine(
  options: ConfinedEngineOptions,
  identity: EngineIdentity,
  files: EngineFiles,
  noCapability: boolean,
  connection: OwnedFd | undefined,
  home: EngineHome,
  events: ConfinedEngineEvents,
  onAbandoned: (gone: Promise<void>) => void,
): Promise<ConfinedEngine> {
  const criu = findCriu(options.criu);
  await requireUnprivilegedMode(criu);
  const parameters = encodeParameters({
    ...identity,
    criu,
    config: options.configFile,
    preload: options.preload,
    noCapability,
    handOver: connection !== undefined,
    ...files,
  });
  const stderr = new StderrFile('criu-stderr');
  const { ours: control, theirs } = native.socketpair();
  let launcher: Process | undefined;
  let cgroup: EngineCgroup | undefined;
  try {
    if ('before' in home) cgroup = home.before();
    launcher = spawnLauncher(options.launcher, stderr.fd, theirs, identity, connection, cgroup);
    theirs.close();
    if ('with' in home) cgroup = await home.with(launcher.pid);
    control.send(parameters);
    const { files: opened, socket } = await answerOf(control, launcher, options.deadlineMs, {
      criu,
      config: options.configFile,
      preload: options.preload,
      imagesDir: files.imagesDir,
    });
    return {
      engine: new Engine(launcher, socket, stderr, events, usualConnection, events),
      cgroup: cgroup!,
      files: opened,
    };
  } catch (error) {
    stderr.close();
    if (launcher) onAbandoned(abandon(launcher, cgroup));
    else cgroup?.remove();
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
  cgroup: EngineCgroup | undefined,
): Process {
  const devNull = native.open('/dev/null', constants.O_RDWR);
  let directory: OwnedFd | undefined;
  try {
    directory = cgroup?.open();
    return native.spawn({
      file,
      argv: ['criu-launcher'],
      env: [],
      ...(directory ? { cgroup: directory } : {}),
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
    directory?.close();
  }
}

interface Launched {
  readonly files: OpenedFiles;
  /** Absent after a hand-over. */
  readonly socket: SeqpacketSocket | undefined;
}

/** Waits until the launcher was ready, and then the library in CRIU, before CRIU's main(): see native/launcher/protocol.h. */
function answerOf(
  control: SeqpacketSocket,
  launcher: Process,
  deadlineMs: number,
  context: LaunchContext,
): Promise<Launched> {
  return new Promise((resolve, reject) => {
    let ready: Launched | undefined;
    let guarded = false;
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      control.watch(0);
      finish();
    };
    const fail = (errno: number, message: string): void =>
      settle(() => {
        if (ready?.socket) closeSocket(ready.socket);
        reject(new LaunchError(errno, message));
      });
    const timer = setTimeout(() => {
      // CRIU has no request yet, so nothing is frozen by it.
      launcher.signal(os.signals.SIGKILL);
      fail(
        os.errno.ETIMEDOUT,
        ready
          ? `${context.criu} did not load ${context.preload} within ${deadlineMs / 1000} s, which it must when it serves users: it is linked statically, or the caller's limits leave it no memory`
          : `Opening the directories took longer than ${deadlineMs / 1000} s`,
      );
    }, deadlineMs);
    control.watch(Watch.readable, () => {
      try {
        const packet = control.receive(maxAnswerBytes, 1);
        if (!packet) {
          if (ready && guarded) settle(() => resolve(ready!));
          else fail(os.errno.ECONNABORTED, 'The engine was ended before it could start');
          return;
        }
        const answer = decodeAnswer(packet.data);
        switch (answer.kind) {
          case 'failed': {
            for (const fd of packet.fds) fd.close();
            const { errno, sentence } = explainLaunchFailure(answer, context);
            fail(errno, sentence);
            break;
          }
          case 'ready':
            ready = {
              files: answer.files,
              socket: packet.fds[0] ? native.adopt(packet.fds[0]) : undefined,
            };
            break;
          case 'guarded':
            guarded = true;
        }
      } catch (error) {
        fail(os.errno.EIO, `The launcher cannot be understood: ${(error as Error).message}`);
      }
    });
  });
}

/**
 * A launcher that failed leaves by itself, or was killed; one that waits for its parameters reads an end of file. A file system that
 * never answers keeps a launcher that was killed for as long as it likes.
 */
function abandon(launcher: Process, cgroup: EngineCgroup | undefined): Promise<void> {
  return new Promise((resolve) => {
    launcher.onExit(() => {
      launcher.close();
      cgroup?.kill();
      cgroup?.remove();
      resolve();
    });
  });
}
