/** Files that a dump has written, told from those that its user, or a program, has put beside them: only the former may be removed. */
import { closeSync, lstatSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { isImage, isManifestName, isOfDump, isUnfinishedPages, nameOfCompressed } from './dump-names.ts';
import { headMagics } from './head-magics.ts';
import { isManifestFile } from './manifest/names.ts';
import { openRegular } from './open-regular.ts';

const unnumbered =
  'inventory pstree files reg-files ext-files ns-files eventfd eventpoll eventpoll-tfd signalfd inotify inotify-wd fanotify ' +
  'fanotify-mark pipes pipes-data fifo fifo-data unixsk inetsk packetsk netlinksk sk-queues remap-fpath memfd binfmt-misc tty ' +
  'tty-info tty-data filelocks tunfile cgroup timerfd cpuinfo seccomp bpfmap-file bpfmap-data apparmor pidfd';
const numbered =
  'fdinfo pagemap pagemap-shmem core ids mm vmas sigacts itimers posix-timers creds utsns ipcns-var ipcns-shm ipcns-msg ' +
  'ipcns-sem fs ghost-file tcp-stream mountpoints netdev netns ifaddr route route6 rule iptables ip6tables nftables autofs ' +
  'binfmt-misc rlimit pages pages-shmem signal-s signal-p userns netns-ct netns-exp timens pidns';
const any = (names: string): string => names.replaceAll(' ', '|');

/** Names of images in CRIU 4.2 and before (image-desc.c), and of its plugin for GPUs of AMD. */
const ofCriu = new RegExp(
  `^(?:(?:${any(unnumbered)})|(?:${any(numbered)})-[0-9a-f]+|tmpfs(?:-dev)?-\\d+\\.tar\\.gz|amdgpu-.+)\\.img$`,
);

const logs: ReadonlySet<string> = new Set(['dump.log', 'pre-dump.log', 'restore.log']);

/** A line of CRIU's log begins with the seconds since its start. */
const lineOfLog = /^\(\d+\.\d{6}\)/;
const lineBytes = 32;

/**
 * True if a file is one of a dump, by its name, and where other programs have files of such names, too, by its first bytes. Says
 * nothing about the files in a round. Follows no link, and waits for no FIFO.
 */
export function isFileOfDump(path: string): boolean {
  const name = basename(path);
  if (!isOfDump(name)) return false;
  if (isManifestName(name)) return isManifestFile(path);
  if (nameOfCompressed(name) !== undefined || isUnfinishedPages(name)) return true;
  if (name === 'parent') return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  if (isImage(name)) return ofCriu.test(name) || beginsWith(path, isHead);
  if (name.endsWith('.log')) return logs.has(name) || beginsWith(path, isLog);
  return true;
}

function isHead(bytes: Buffer): boolean {
  return bytes.length >= 4 && headMagics.includes(bytes.readUInt32LE(0));
}

/** True also for a log that was opened, and that nothing was written to. */
function isLog(bytes: Buffer): boolean {
  return bytes.length === 0 || lineOfLog.test(bytes.toString('latin1'));
}

function beginsWith(path: string, test: (bytes: Buffer) => boolean): boolean {
  try {
    const opened = openRegular(path, 'as they are');
    if (!('fd' in opened)) return false;
    try {
      const buffer = Buffer.alloc(lineBytes);
      return test(buffer.subarray(0, readSync(opened.fd, buffer, 0, lineBytes, 0)));
    } finally {
      closeSync(opened.fd);
    }
  } catch {
    return false;
  }
}
