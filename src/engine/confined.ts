/**
 * Engines for confined callers: a launcher takes over the caller's identity and executes CRIU (native/launcher).
 *
 * The launcher's messages are trusted up to its first answer: by then it has given up its privileges, and of the caller's files
 * it has opened only directories and the image with the clocks, as the caller. The engine's messages are never trusted. The
 * caller may kill either at any time.
 */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { native, type OwnedFd, type Process, type SeqpacketSocket, Watch } from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { offsetsOf } from '../policy/clocks.ts';
import { startDeadline } from '../proc/deadline.ts';
import type { MadeTime } from './confined-identity.ts';
import { findCriu } from './criu-binary.ts';
import { requireUnprivilegedMode } from './criu-version.ts';
import { type ConfinedEngineEvents, Engine, usualConnection } from './engine.ts';
import type { EngineCgroup } from './engine-cgroup.ts';
import type { NamedEngine } from './grant.ts';
import { explainLaunchFailure, type LaunchContext } from './launch-failure.ts';
import { Launcher } from './launcher.ts';
import {
  decodeAnswer,
  encodeClocks,
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
  /** A file of root's with the single line `unprivileged`: the value of CRIU_CONFIG_FILE. */
  readonly configFile: string;
  /** The library that CRIU is run with (native/engine-preload), an absolute path. */
  readonly preload: string;
  /** The launcher's deadline: a directory of the caller's may never answer. */
  readonly deadlineMs: number;
  /** The security module that labels processes. */
  readonly labels?: 'selinux' | 'apparmor' | undefined;
  /** The kernel has time namespaces. Linux 6.3 and later enters a new one in execve(2); older ones do not serve users without root. */
  readonly timeNamespaces: boolean;
}

/** The identity that the engine takes over. */
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
  /** Absent if the launcher's own label is right. */
  readonly label?: LauncherLabel | undefined;
  /** The caller's pidfd, and a directory fd of its /proc/PID that is bound to it. Copied. */
  readonly pidfd: OwnedFd;
  readonly procDirectory: OwnedFd;
}

/** The clocks of the engine: by default those of this service. */
export interface EngineClocks {
  /** The pidfd of a process whose time namespace the engine enters. Copied. */
  readonly sharedWith?: OwnedFd | undefined;
  /** The engine gets a time namespace of its own, with the clocks that the images have. */
  readonly fromImages: boolean;
}

/** The files that the engine opens as its caller: descriptors are the caller's numbers. */
export interface EngineFiles {
  readonly imagesDirFd?: number | undefined;
  readonly imagesDir?: string | undefined;
  readonly workDirFd?: number | undefined;
  readonly statusFd?: number | undefined;
  /** Copied, to the numbers from firstInheritedFd on (launcher-protocol.ts). */
  readonly inherited?: readonly number[] | undefined;
}

/** The numbers of those files in the engine. */
export interface OpenedFiles {
  readonly images_dir_fd?: number;
  readonly work_dir_fd?: number;
  readonly status_fd?: number;
}

export interface ConfinedEngine {
  readonly engine: Engine;
  /** The cgroup of the engine and everything that it forks; the owner of this object ends it. */
  readonly cgroup: EngineCgroup;
  readonly files: OpenedFiles;
  readonly time: MadeTime | undefined;
}

/**
 * The cgroup where the engine and its descendants live. `before`: the cgroup exists first, and the launcher is born in it. `with`:
 * the cgroup can only be created with a process in it, so the launcher is moved there, before it takes over any identity. Moving
 * costs the kernel some milliseconds.
 *
 * A caller may be moved at any time. `isStill` tells, when the cgroup is there and nothing was done yet, if the caller is still where
 * it was when the cgroup was chosen.
 */
export type EngineHome = (
  | { readonly before: () => EngineCgroup }
  | { readonly with: (pid: number) => Promise<EngineCgroup> }
) & { readonly isStill?: () => boolean };

/**
 * The engine could not take over its caller's identity, or could not be executed. `errno` is positive; the message is for the
 * caller.
 */
export class LaunchError extends Error {
  override readonly name = 'LaunchError';
  readonly errno: number;

  constructor(errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.errno = errno;
  }
}

/**
 * @param noCapability the request needs no CAP_CHECKPOINT_RESTORE.
 * @param connection the caller's own, blocking, for a hand-over; copied. In a hand-over the launcher opens no files, because CRIU
 * opens them itself.
 * @param onAbandoned gets a promise of the exit of a launcher that failed: until then it counts as an engine.
 * @param nameEngine is called while the engine is root's and waits: what it throws ends the start.
 * @throws LaunchError, CriuMissingError, CriuTooOldError, NativeError
 */
export async function startConfinedEngine(
  options: ConfinedEngineOptions,
  identity: EngineIdentity,
  files: EngineFiles,
  clocks: EngineClocks,
  noCapability: boolean,
  connection: OwnedFd | undefined,
  home: EngineHome,
  events: ConfinedEngineEvents,
  onAbandoned: (gone: Promise<void>) => void,
  nameEngine?: (engine: NamedEngine) => Promise<void>,
): Promise<ConfinedEngine> {
  const criu = findCriu(options.criu);
  await requireUnprivilegedMode(criu);
  const parameters = encodeParameters({
    ...identity,
    criu,
    config: options.configFile,
    preload: options.preload,
    noCapability,
    joinTime: clocks.sharedWith !== undefined,
    ownClocks: clocks.fromImages,
    handOver: connection !== undefined,
    ...files,
  });
  const stderr = new StderrFile('criu-stderr');
  const { ours: control, theirs } = native.socketpair();
  let launcher: Launcher | undefined;
  let cgroup: EngineCgroup | undefined;
  try {
    if ('before' in home) cgroup = home.before();
    launcher = new Launcher(
      spawnLauncher(options.launcher, stderr.fd, theirs, identity, connection, clocks.sharedWith, cgroup),
      'before' in home,
    );
    theirs.close();
    if ('with' in home) cgroup = await home.with(launcher.pid);
    if (home.isStill?.() === false) {
      throw new LaunchError(
        os.errno.EAGAIN,
        'The calling process was moved to another cgroup meanwhile: ask again',
      );
    }
    if (nameEngine) {
      await birthOf(control, launcher, options.deadlineMs);
      const { pid, pidfd } = launcher.process!;
      await nameEngine({ pid, isThere: () => native.isAlive(pidfd) });
    }
    sendIfThere(control, parameters);
    const ready = await answerOf(control, launcher, options.deadlineMs, {
      criu,
      config: options.configFile,
      preload: options.preload,
      imagesDir: files.imagesDir,
    });
    control.close();
    return {
      engine: new Engine(launcher.process!, ready.socket, stderr, events, usualConnection, events),
      cgroup: cgroup!,
      files: ready.files,
      time: ready.time,
    };
  } catch (error) {
    stderr.close();
    theirs.close();
    if (launcher) onAbandoned(launcher.abandon(control, cgroup));
    else {
      control.close();
      cgroup?.remove();
    }
    throw error;
  }
}

/** A launcher that has failed already has said why. */
function sendIfThere(control: SeqpacketSocket, packet: Uint8Array): void {
  try {
    control.send(packet);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

function spawnLauncher(
  file: string,
  stderr: OwnedFd,
  control: OwnedFd,
  identity: EngineIdentity,
  connection: OwnedFd | undefined,
  timePidfd: OwnedFd | undefined,
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
      fds: [
        { source: devNull, target: 0 },
        { source: stderr, target: 1 },
        { source: stderr, target: launcherFds.stderr },
        { source: control, target: launcherFds.control },
        { source: identity.pidfd, target: launcherFds.callerPidfd },
        { source: identity.procDirectory, target: launcherFds.callerProc },
        ...(connection ? [{ source: connection, target: launcherFds.callerSocket }] : []),
        ...(timePidfd ? [{ source: timePidfd, target: launcherFds.timePidfd }] : []),
        ...(directory ? [{ source: directory, target: launcherFds.cgroup }] : []),
      ],
    });
  } finally {
    devNull.close();
    directory?.close();
  }
}

/**
 * Waits until the process that becomes the engine is there.
 * @throws LaunchError
 */
function birthOf(control: SeqpacketSocket, launcher: Launcher, deadlineMs: number): Promise<void> {
  if (launcher.process) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      stop();
      control.watch(0);
      if (error) reject(error);
      else resolve();
    };
    const stop = startDeadline(deadlineMs, () =>
      settle(new LaunchError(os.errno.ETIMEDOUT, `The engine was not there after ${deadlineMs / 1000} s`)),
    );
    control.watch(Watch.readable, () => {
      try {
        const packet = control.receive(maxAnswerBytes, 1);
        if (!packet)
          throw new LaunchError(os.errno.ECONNABORTED, 'The engine was ended before it could start');
        const answer = decodeAnswer(packet.data);
        if (answer.kind === 'failed') {
          const { errno, sentence } = explainLaunchFailure(answer, {});
          throw new LaunchError(errno, sentence);
        }
        if (answer.kind !== 'born') throw new Error(`its first answer is ${answer.kind}`);
        launcher.born(packet.fds[0], answer.pid);
        settle();
      } catch (error) {
        settle(
          error instanceof LaunchError
            ? error
            : new LaunchError(os.errno.EIO, `The launcher cannot be understood: ${(error as Error).message}`),
        );
      }
    });
  });
}

interface Launched {
  readonly files: OpenedFiles;
  /** Absent after a hand-over. */
  readonly socket: SeqpacketSocket | undefined;
  readonly time: MadeTime | undefined;
}

/** Waits until the launcher is ready, and then for the library in CRIU, before CRIU's main(): see native/launcher/protocol.h. */
function answerOf(
  control: SeqpacketSocket,
  launcher: Launcher,
  deadlineMs: number,
  context: LaunchContext,
): Promise<Launched> {
  return new Promise((resolve, reject) => {
    let ready: Launched | undefined;
    let guarded = false;
    let clocks: MadeTime['clocks'] = 'caller';
    const settle = (finish: () => void): void => {
      stop();
      control.watch(0);
      finish();
    };
    const fail = (errno: number, message: string): void =>
      settle(() => {
        // CRIU has no request yet, so it has frozen no process.
        launcher.kill();
        if (ready?.socket) closeSocket(ready.socket);
        reject(new LaunchError(errno, message));
      });
    const stop = startDeadline(deadlineMs, () => {
      fail(
        os.errno.ETIMEDOUT,
        ready
          ? `${context.criu} did not load ${context.preload} within ${deadlineMs / 1000} s, which it must when it serves users: it is linked statically, or the caller's limits leave it no memory`
          : `Opening the directories and reading the clocks in the images took longer than ${deadlineMs / 1000} s`,
      );
    });
    control.watch(Watch.readable, () => {
      try {
        const packet = control.receive(maxAnswerBytes, 1);
        if (!packet) {
          if (ready && guarded && launcher.process) settle(() => resolve(ready!));
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
          case 'born':
            launcher.born(packet.fds[0], answer.pid);
            break;
          case 'clocks': {
            if (ready) throw new Error('it asks for clocks after its answer');
            const offsets = offsetsOf(answer);
            if (typeof offsets === 'string') {
              fail(os.errno.EINVAL, `The images are not restored: timens-0.img ${offsets}`);
              break;
            }
            if (offsets) clocks = 'dump';
            control.send(encodeClocks(offsets));
            break;
          }
          case 'ready':
            // The engine has a copy of the launcher's connection, and is not trusted.
            if (ready) throw new Error('it answers twice');
            ready = {
              files: answer.files,
              time:
                answer.timeNamespace === undefined ? undefined : { namespace: answer.timeNamespace, clocks },
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
