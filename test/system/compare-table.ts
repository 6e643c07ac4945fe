/**
 * Good and bad requests, sent alike to CRIU's own `criu service` and to ours. Where the two differ on purpose the row
 * says why, and what each of them answers; everywhere else the replies must be the same.
 */

import { encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import type { World } from './support/world.ts';

/** What is compared of a reply; `closed` is an end of the connection without one. */
export type Outcome = Readonly<Record<string, unknown>> | 'closed';

export interface Row {
  readonly what: string;
  /** A message, or the bytes of none. */
  readonly send: (world: World) => CriuReq | Uint8Array;
  /** Set where we differ, and why. `since42`: what CRIU answers from 4.2 on, if something else. */
  readonly differs?: {
    readonly why: string;
    readonly criu: Outcome;
    readonly since42?: Outcome;
    readonly ours: Outcome;
  };
  readonly softDirty?: true;
}

const EPERM = 1;
const EINVAL = 22;
const EBADRQC = 56;

/** A failing reply without any submessage. */
const failure = (type: ReqType, errno: number): Outcome => ({ type, success: false, errno });
const failedDump = (errno: number): Outcome => ({ ...(failure(ReqType.DUMP, errno) as object), dump: false });
const failedRestore = (errno: number): Outcome => ({
  ...(failure(ReqType.RESTORE, errno) as object),
  restored: -1,
});

type Options = (world: World) => Partial<CriuOpts>;

/** Options with the row's own images directory, unless they say otherwise. */
function opts(world: World, given: Options): CriuOpts {
  return { images_dir_fd: world.images, ...given(world) };
}

function request(type: ReqType, what: string, given: Options = () => ({}), more: Partial<Row> = {}): Row {
  return {
    what: `${ReqType[type]} ${what}`,
    send: (world) => ({ type, opts: opts(world, given) }),
    ...more,
  };
}

/** A dump of the world's target that lets it run on. */
function dump(what: string, given: Options = () => ({}), more: Partial<Row> = {}): Row {
  return request(
    ReqType.DUMP,
    what,
    (world) => ({ pid: world.target.pid, leave_running: true, log_level: 4, ...given(world) }),
    more,
  );
}

/** A restore from the images of a process that was killed afterwards. */
function restore(what: string, given: Options = () => ({}), more: Partial<Row> = {}): Row {
  return request(ReqType.RESTORE, what, (world) => ({ images_dir_fd: world.dumped, ...given(world) }), more);
}

function bytes(what: string, hex: string, more: Partial<Row> = {}): Row {
  return { what, send: () => Buffer.from(hex, 'hex'), ...more };
}

/** A keep_open that CRIU does not allow (chk_keepopen_req in cr-service.c). */
function keepOpen(type: ReqType, ours: Outcome): Row {
  return {
    what: `keep_open with ${ReqType[type]}`,
    send: (world) => ({ type, opts: { images_dir_fd: world.images, pid: noSuchPid }, keep_open: true }),
    differs: {
      why: 'CRIU closes the connection without a reply; a client deserves one',
      criu: 'closed',
      ours,
    },
  };
}

const noSuchPid = 3_999_999;
const badFd = 4095;

const noMessage = 'CRIU closes the connection where it cannot parse; we say that we could not';
const notParsed = { why: noMessage, criu: 'closed', ours: failure(ReqType.EMPTY, EINVAL) } as const;

const noErrno = 'CRIU refuses it without an errno; we give one';
const notServed = {
  why: noErrno,
  criu: { type: ReqType.EMPTY, success: false },
  ours: failure(ReqType.EMPTY, EINVAL),
} as const;

const lent = {
  why: 'CRIU before 4.2 cannot open its log without a directory; we lend it one',
  criu: { type: ReqType.CHECK, success: false },
  since42: { type: ReqType.CHECK, success: true },
  ours: { type: ReqType.CHECK, success: true },
} as const;

function crash(type: ReqType, ours: Outcome): NonNullable<Row['differs']> {
  return { why: `CRIU follows a null pointer (${ReqType[type]})`, criu: 'closed', ours };
}

const features: Row[] = (
  [
    {},
    { mem_track: true },
    { lazy_pages: true },
    { pidfd_store: true },
    { mem_track: false, lazy_pages: true, pidfd_store: true },
  ] as const
).map((wanted) => ({
  what: `FEATURE_CHECK for ${JSON.stringify(wanted)}`,
  send: () => ({ type: ReqType.FEATURE_CHECK, features: wanted }),
}));

export const compareTable: readonly Row[] = [
  // What both serve.
  { what: 'VERSION', send: () => ({ type: ReqType.VERSION }) },
  request(ReqType.VERSION, 'with options, which mean nothing to it', () => ({ pid: noSuchPid })),
  ...features,
  request(ReqType.CHECK, 'with an images directory'),
  request(ReqType.CHECK, 'with a log file', () => ({ log_file: 'check.log', log_level: 4 })),
  request(ReqType.CHECK, 'with both directories', (world) => ({ work_dir_fd: world.work })),
  request(ReqType.CPUINFO_DUMP, 'and nothing else'),
  request(ReqType.CPUINFO_DUMP, 'with cpu_cap', () => ({ cpu_cap: 1 })),
  request(ReqType.CPUINFO_CHECK, 'against this machine', (world) => ({ images_dir_fd: world.cpuinfo })),
  dump('of a process that runs on'),
  dump('with a work directory', (world) => ({ work_dir_fd: world.work, log_file: 'dump.log' })),
  dump('with a name for its log and no level', () => ({ log_file: 'dump.log', log_level: 2 })),
  dump('with options that this process has no use for', () => ({
    ext_unix_sk: true,
    tcp_established: true,
    file_locks: true,
    shell_job: true,
    ghost_limit: 4096,
    timeout: 20,
    link_remap: true,
  })),
  dump('without care for cgroups', () => ({ manage_cgroups_mode: 0 })),
  dump('with track_mem', () => ({ track_mem: true }), { softDirty: true }),
  restore('of a process that was killed'),
  restore('with a work directory and a log file', (world) => ({
    work_dir_fd: world.work,
    log_file: 'restore.log',
  })),
  restore('followed by a program', () => ({ exec_cmd: ['/bin/true'] })),
  request(ReqType.PAGE_SERVER, 'on any port of the loopback', () => ({
    ps: { address: '127.0.0.1', port: 0 },
  })),
  request(ReqType.PAGE_SERVER_CHLD, 'on any port of the loopback', () => ({
    ps: { address: '127.0.0.1', port: 0 },
  })),
  request(ReqType.PRE_DUMP, 'once', (world) => ({ pid: world.target.pid, track_mem: true }), {
    softDirty: true,
  }),
  request(ReqType.SINGLE_PRE_DUMP, 'of a process', (world) => ({ pid: world.target.pid, track_mem: true }), {
    softDirty: true,
  }),

  // Processes that are not there.
  ...[ReqType.DUMP, ReqType.PRE_DUMP, ReqType.SINGLE_PRE_DUMP].map((type) =>
    request(type, 'of a pid that does not exist', () => ({ pid: noSuchPid })),
  ),
  {
    what: 'WAIT_PID for a process that is nobody’s child',
    send: () => ({ type: ReqType.WAIT_PID, pid: noSuchPid }),
  },
  { what: 'WAIT_PID without a pid', send: () => ({ type: ReqType.WAIT_PID }) },
  request(ReqType.RESTORE, 'of a pid that is taken', (world) => ({ images_dir_fd: world.running })),

  // Directories that are none.
  ...[ReqType.DUMP, ReqType.RESTORE].map((type) =>
    request(type, 'with an images_dir_fd that is not open', () => ({ images_dir_fd: badFd, pid: noSuchPid })),
  ),
  ...[
    ReqType.CHECK,
    ReqType.CPUINFO_DUMP,
    ReqType.CPUINFO_CHECK,
    ReqType.PAGE_SERVER,
    ReqType.PRE_DUMP,
    ReqType.SINGLE_PRE_DUMP,
  ].map((type) =>
    request(
      type,
      'with an images_dir_fd that is not open',
      () => ({ images_dir_fd: badFd, pid: noSuchPid }),
      {
        differs: {
          why: 'CRIU loses the errno with the child process that set it; we looked before there was one',
          criu: { type, success: false },
          // A CHECK opens no directory any more.
          ...(type === ReqType.CHECK ? { since42: { type, success: true } } : {}),
          ours: failure(type, EBADRQC),
        },
      },
    ),
  ),
  ...[ReqType.DUMP, ReqType.RESTORE].flatMap((type) => [
    request(type, 'with a work_dir_fd that is not open', () => ({ work_dir_fd: badFd, pid: noSuchPid })),
    request(type, 'with a negative work_dir_fd', () => ({ work_dir_fd: -1, pid: noSuchPid })),
    request(type, 'with a file for a directory', (world) => ({ images_dir_fd: world.file, pid: noSuchPid })),
    request(type, 'without a directory', () => ({ images_dir_fd: -1, pid: noSuchPid })),
    request(type, 'with an images_dir that is not there', () => ({
      images_dir_fd: -1,
      images_dir: '/nonexistent',
      pid: noSuchPid,
    })),
    request(type, 'with a log file in another directory', () => ({ log_file: '../x.log', pid: noSuchPid })),
    request(type, 'with a status_fd that is not open', () => ({ status_fd: badFd, pid: noSuchPid })),
    request(type, 'with a pidfd_store_sk that is not open', () => ({
      pidfd_store_sk: badFd,
      pid: noSuchPid,
    })),
    request(type, 'with a config_file that is not there', () => ({
      config_file: '/nonexistent',
      pid: noSuchPid,
    })),
  ]),

  // Images that are missing or broken.
  request(ReqType.RESTORE, 'from an empty directory'),
  request(ReqType.RESTORE, 'from an inventory that is none', (world) => ({ images_dir_fd: world.broken })),
  request(ReqType.CPUINFO_CHECK, 'without an image'),
  dump('with a parent that is not there', () => ({ parent_img: '../nonexistent' }), { softDirty: true }),

  // Values that CRIU does not know.
  ...[
    { manage_cgroups_mode: 99 },
    { network_lock: 99 },
    { pre_dump_mode: 99 },
    { empty_ns: 1 },
    { cgroup_props: '{{{' },
    { freeze_cgroup: '/sys/fs/cgroup/nonexistent' },
    { ps: { address: '127.0.0.1', port: 1 } },
    { external: ['nonsense'] },
    { enable_fs: ['nonsense'] },
    { skip_mnt: ['/nonsense'] },
    { ext_mnt: [{ key: '/nonsense', val: 'x' }] },
    { cg_root: [{ path: '/nonsense' }] },
    { veths: [{ if_in: 'a', if_out: 'b' }] },
    { join_ns: [{ ns: 'nonsense', ns_file: '/nonexistent' }] },
    { lsm_profile: 'nonsense' },
    { unprivileged: true },
    { tls: true, ps: { address: '127.0.0.1', port: 1 } },
  ].map((given) => dump(`with ${JSON.stringify(given)}`, () => given as Partial<CriuOpts>)),
  request(ReqType.PAGE_SERVER, 'with an address that is none', () => ({
    ps: { address: '999.1.1.1', port: 0 },
  })),
  request(ReqType.PAGE_SERVER, 'with an address of another machine', () => ({
    ps: { address: '192.0.2.1', port: 0 },
  })),
  restore('with a namespace to join that is none', () => ({
    join_ns: [{ ns: 'net', ns_file: '/nonexistent' }],
  })),
  restore('below a root that is not there', () => ({ root: '/nonexistent' })),
  restore('with an LSM profile that is none', () => ({ lsm_profile: 'nonsense' })),

  // The wire.
  bytes('VERSION with a field that nobody knows', '080ad03e01'),
  bytes('a type that a later one replaces', '0809080a'),
  bytes('a bool of 2', '080a2002'),
  bytes('a varint that is not minimal', '088a00'),
  bytes('a field of the wrong wire type', '0a0161', { differs: notParsed }),
  bytes('no type', '1800', { differs: notParsed }),
  bytes('bytes at random', 'ffffffffffffffffffff', { differs: notParsed }),
  bytes('a packet that is cut off', '080a1205', { differs: notParsed }),
  // DUMP of pid 3999999.
  bytes('options without images_dir_fd', '0801120510ff91f401'),

  // Where a person is better served with an answer.
  { what: 'EMPTY', send: () => ({ type: ReqType.EMPTY }), differs: notServed },
  {
    what: 'NOTIFY that nobody asked for',
    send: () => ({ type: ReqType.NOTIFY, notify_success: true }),
    differs: notServed,
  },
  bytes('a type that nobody knows', '0863', { differs: notServed }),
  bytes('a type below zero', '08ffffffffffffffffff01', { differs: notServed }),
  keepOpen(ReqType.DUMP, failedDump(EINVAL)),
  keepOpen(ReqType.RESTORE, failedRestore(EINVAL)),
  keepOpen(ReqType.CHECK, failure(ReqType.CHECK, EINVAL)),
  keepOpen(ReqType.PRE_DUMP, failure(ReqType.PRE_DUMP, EINVAL)),
  keepOpen(ReqType.SINGLE_PRE_DUMP, failure(ReqType.SINGLE_PRE_DUMP, EINVAL)),
  keepOpen(ReqType.WAIT_PID, failure(ReqType.WAIT_PID, EINVAL)),
  ...[[ReqType.DUMP, failedDump(EINVAL)] as const, [ReqType.RESTORE, failedRestore(EINVAL)] as const].map(
    ([type, ours]) => ({
      what: `${ReqType[type]} without options`,
      send: () => encodeRequest({ type }),
      differs: crash(type, ours),
    }),
  ),
  { what: 'CHECK without options', send: () => ({ type: ReqType.CHECK }), differs: lent },
  request(ReqType.CHECK, 'without a directory', () => ({ images_dir_fd: -1 }), { differs: lent }),
  restore('as a sibling', () => ({ rst_sibling: true }), {
    differs: {
      why: 'the sibling would be a child of the service; CRIU forbids it outside of swrk as well, without saying so',
      criu: failedRestore(EBADRQC),
      ours: failedRestore(EPERM),
    },
  }),
  restore('with a descriptor to inherit that is not open', () => ({ inherit_fd: [{ key: 'x', fd: badFd }] })),
];
