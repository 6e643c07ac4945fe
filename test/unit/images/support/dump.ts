/** A small dump in files, as CRIU writes it, for tests to spoil. */
import { type Fields, image } from './encode.ts';

const zeros = (names: string): Fields => Object.fromEntries(names.split(' ').map((name) => [name, 0]));

export const fown = zeros('uid euid signum pid_type pid');

export const pageSize = 4096;

export function regular(id: number, name: string, more: Fields = {}): Fields {
  return { type: 'REG', id, reg: { id, flags: 0, pos: 0, fown, name, size: 10, mode: 0o100644, ...more } };
}

export function core(comm: string, more: { readonly state?: number; readonly creds?: Fields } = {}): Fields {
  const ids = zeros('uid gid euid egid suid sgid fsuid fsgid secbits');
  return {
    mtype: 'X86_64',
    tc: { task_state: more.state ?? 1, exit_code: 0, personality: 0, flags: 0, blk_sigset: 0, comm },
    thread_core: { futex_rla: 0, futex_rla_len: 0, comm, creds: { ...ids, ...more.creds } },
  };
}

export function threadCore(comm: string): Fields {
  const { tc, ...thread } = core(comm);
  return thread;
}

export function mapping(start: number, pages: number, more: Fields = {}): Fields {
  return { ...zeros('pgoff shmid prot flags status'), start, end: start + pages * pageSize, fd: -1, ...more };
}

export function space(more: Fields = {}): Fields {
  return {
    ...zeros(
      'mm_start_code mm_end_code mm_start_data mm_end_data mm_start_stack mm_start_brk mm_brk mm_env_start mm_env_end',
    ),
    mm_arg_start: 0x10010,
    mm_arg_end: 0x10010 + 'sleep\x001000\x00'.length,
    exe_file_id: 1,
    mm_saved_auxv: [6, pageSize, 0, 0],
    vmas: [mapping(0x10000, 4)],
    ...more,
  };
}

const rootIds = { vm_id: 1, files_id: 1, fs_id: 1, sighand_id: 1 };

/** Process 7, with a thread 8, whose program is /bin/sleep; three pages of it are here. */
export function smallDump(): Record<string, Uint8Array> {
  const pages = Buffer.alloc(3 * pageSize);
  pages.write('sleep\x001000\x00', 0x10);
  return {
    'inventory.img': image('INVENTORY', { img_version: 2, fdinfo_per_id: true, root_ids: rootIds }),
    'pstree.img': image('PSTREE', { pid: 7, ppid: 0, pgid: 7, sid: 7, threads: [7, 8] }),
    'core-7.img': image('CORE', core('sleep')),
    'core-8.img': image('CORE', threadCore('helper')),
    'ids-7.img': image('IDS', { vm_id: 2, files_id: 2, fs_id: 2, sighand_id: 2 }),
    'mm-7.img': image('MM', space()),
    'fs-7.img': image('FS', { cwd_id: 3, root_id: 4 }),
    'fdinfo-2.img': image('FDINFO', { id: 2, flags: 0, type: 'REG', fd: 0 }),
    'pagemap-7.img': image(
      'PAGEMAP',
      { pages_id: 1 },
      { vaddr: 0x10000, compat_nr_pages: 1, flags: 4 },
      { vaddr: 0x11000, compat_nr_pages: 2, flags: 4 },
    ),
    'pages-1.img': pages,
    'files.img': image(
      'FILES',
      regular(1, '/bin/sleep'),
      regular(2, '/dev/null', { flags: 2, mode: 0o20666 }),
      regular(3, '/home/alice', { mode: 0o40755 }),
      regular(4, '/', { mode: 0o40755 }),
    ),
    'seccomp.img': image('SECCOMP', {}),
    'timens-0.img': image('TIMENS', {
      monotonic: { tv_sec: 1, tv_nsec: 0 },
      boottime: { tv_sec: 1, tv_nsec: 0 },
    }),
  };
}
