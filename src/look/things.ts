/** The things of a process tree that decide whether a dump of it comes back: facts, without a judgement. */
import type { Obstacle } from '../policy/comes-back.ts';
import type { CriuVersion } from '../policy/criu-version.ts';

/** A process outside of the tree. */
export interface Holder {
  readonly pid: number;
  readonly name: string;
}

/** The other end of a thing. `unseen`: outside, with a process that may not be read. */
export type End = 'inside' | 'outside' | 'unseen' | 'nobody';

/**
 * `there`: it has its name. `gone`: no file has its name. `foreign`: a file of another user than the looking one has its name.
 * `moved`: it was renamed, and another file has its name.
 */
export type SocketFile = 'there' | 'gone' | 'foreign' | 'moved';

export type Thing =
  | { readonly kind: 'file'; readonly path: string; readonly writers: readonly Holder[] }
  | { readonly kind: 'no-mount'; readonly path: string }
  /** A file that the looking user may not open by its name: another user has opened it, or its mode has changed since. */
  | { readonly kind: 'not-openable'; readonly path: string; readonly use: 'read' | 'write' }
  | {
      readonly kind: 'deleted';
      readonly path: string;
      readonly size: number;
      /** Other names of the file. */
      readonly links: number;
      /** The looking user may create files in its directory. */
      readonly writable: boolean;
      /** It is mapped, and no descriptor has it. */
      readonly mapped?: true;
    }
  | {
      readonly kind: 'terminal';
      readonly path: string;
      readonly end: End;
      readonly holders: readonly Holder[];
      /** Terminals of the tree whose other end is outside. */
      readonly outside: number;
      /** A process of the tree is stopped. */
      readonly stopped: boolean;
    }
  | { readonly kind: 'console'; readonly path: string }
  | {
      readonly kind: 'pipe';
      readonly use: 'read' | 'write';
      readonly inode: number;
      readonly end: End;
      readonly holders: readonly Holder[];
    }
  | { readonly kind: 'fifo'; readonly path: string }
  | {
      readonly kind: 'unix';
      readonly type: 'stream' | 'datagram' | 'seqpacket';
      readonly end: End | 'unknown';
      /** The name of the other end. */
      readonly peer: string;
      readonly holders: readonly Holder[];
      /** Where the file is to which it is bound; undefined if a restore does not bind it to a file. */
      readonly file?: { readonly name: string; readonly state: SocketFile };
    }
  | {
      readonly kind: 'internet';
      /** The tree has both ends of the connection. */
      readonly isInside?: true;
      readonly protocol: string;
      readonly state: 'none' | 'listening' | 'connected' | 'connecting' | 'unknown';
      readonly local: string;
      readonly remote: string;
      /** The number of connections that a listening socket has not accepted yet. */
      readonly waiting?: number;
    }
  | { readonly kind: 'socket'; readonly protocol: string | undefined }
  | { readonly kind: 'anonymous'; readonly name: string }
  | { readonly kind: 'watches'; readonly count: number }
  | { readonly kind: 'pidfd'; readonly target: number; readonly inside: boolean }
  | { readonly kind: 'device'; readonly path: string; readonly major: number; readonly minor: number }
  | { readonly kind: 'lock'; readonly type: string; readonly path: string }
  | { readonly kind: 'system-v-memory'; readonly key: string }
  | { readonly kind: 'mapped-device'; readonly path: string }
  | { readonly kind: 'session'; readonly leader: number }
  | { readonly kind: 'traced'; readonly by: Holder }
  | { readonly kind: 'credential'; readonly obstacle: Obstacle }
  | { readonly kind: 'foreign'; readonly user: string }
  | { readonly kind: 'ptrace-scope'; readonly value: number }
  /** A process of another user or group, and root lacks the capability to read its limits (prlimit(2)). */
  | { readonly kind: 'limits'; readonly user: string | undefined; readonly gid: number | undefined }
  /** A program that ends itself if a system call is interrupted, as a restore interrupts them. */
  | { readonly kind: 'interrupted'; readonly program: string }
  /** A program that has entered a sandbox out of which CRIU’s code cannot reach CRIU. */
  | { readonly kind: 'sandboxed'; readonly program: string }
  | { readonly kind: 'contains-criuctl' }
  | { readonly kind: 'kernel-thread' }
  | { readonly kind: 'unreadable'; readonly what: string };

/** A thing, and where it was found. */
export interface Found {
  readonly pid: number;
  /** Descriptors; empty for other places. */
  readonly fds: readonly number[];
  readonly thing: Thing;
}

export interface ProcessFacts {
  readonly pid: number;
  readonly name: string;
  readonly uid: number;
  readonly user: string;
  readonly threads: number;
  /** Resident memory in bytes. */
  readonly memory: number;
  readonly stopped: boolean;
  readonly descriptors: number;
  /** RLIMIT_NOFILE, the hard limit. */
  readonly descriptorLimit: number | undefined;
}

export interface Facts {
  readonly pid: number;
  readonly isRoot: boolean;
  /** Undefined if CRIU is absent or tells no version. */
  readonly criu: CriuVersion | undefined;
  /** As `uname -r` gives it. */
  readonly linux: string;
  readonly processes: readonly ProcessFacts[];
  readonly found: readonly Found[];
}
