/** The program at the other end: the process that made the pair of sockets, as the kernel tells. */
import { constants as flags } from 'node:fs';
import { constants as os } from 'node:os';
import { type NativeError, native, type OwnedFd, type SeqpacketSocket } from '../native/binding.ts';
import type { PeerFdField } from '../policy/option-table.ts';
import { Refused } from './refused.ts';

const { ESRCH } = os.errno;
const directory = flags.O_RDONLY | flags.O_DIRECTORY;
/** A FIFO without a reader does not hold up the drop-in. */
const writable = flags.O_WRONLY | flags.O_NONBLOCK;

export class Peer {
  readonly #pid: number;
  readonly #pidfd: OwnedFd | undefined;

  constructor(socket: SeqpacketSocket) {
    this.#pid = socket.peerCredentials().pid;
    this.#pidfd = this.#pid > 0 ? pidfdOf(socket) : undefined;
  }

  /** The same file as the descriptor of that program's. @throws Refused */
  open(option: PeerFdField, number: number): OwnedFd {
    if (this.#pidfd === undefined) throw new Refused(ESRCH, `${option} ${number}: ${this.#absent}`);
    try {
      const opened = this.#open(option, number, this.#pidfd);
      // The pid was that program's when /proc was read.
      if (native.isAlive(this.#pidfd)) return opened;
      opened.close();
    } catch (error) {
      const { errno, message } = error as NativeError;
      throw new Refused(errno, `${option} ${number} of process ${this.#pid} cannot be opened: ${message}`);
    }
    throw new Refused(ESRCH, `${option} ${number}: process ${this.#pid}, which has it, has ended`);
  }

  /** The tree below a process contains that program, or the drop-in. */
  isBelow(root: number): boolean {
    return descends(this.#pid, root) || descends(process.pid, root);
  }

  #open(option: PeerFdField, number: number, pidfd: OwnedFd): OwnedFd {
    const path = `/proc/${this.#pid}/fd/${number}`;
    switch (option) {
      case 'images_dir_fd':
      case 'work_dir_fd':
        return native.open(path, directory);
      case 'status_fd':
        return native.open(path, writable);
      case 'pidfd_store_sk':
        // A socket cannot be opened.
        return native.pidfdGetfd(pidfd, number);
    }
  }

  get #absent(): string {
    return this.#pid > 0
      ? `process ${this.#pid}, which made the connection, has ended`
      : 'the process that made the connection is not in the pid namespace of criu';
  }
}

/** A directory by its path. @throws Refused */
export function openDirectory(path: string): OwnedFd {
  try {
    return native.open(path, directory);
  } catch (error) {
    const { errno, message } = error as NativeError;
    throw new Refused(errno, `images_dir ${path} cannot be opened: ${message}`);
  }
}

function pidfdOf(socket: SeqpacketSocket): OwnedFd | undefined {
  try {
    return socket.peerPidfd() ?? native.pidfdOpen(socket.peerCredentials().pid);
  } catch {
    return undefined;
  }
}

function descends(pid: number, root: number): boolean {
  for (let each: number | undefined = pid; each !== undefined && each > 0; each = native.parentOf(each)) {
    if (each === root) return true;
  }
  return false;
}
