/**
 * Good and bad requests, sent alike to CRIU's own `criu service` and to ours. If the two differ on purpose, the row says why and
 * has both answers; otherwise the replies must be the same.
 */

import { encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import type { World } from './support/world.ts';

/** The part of a reply that is compared; `closed`: the connection ended without a reply. */
export type Outcome = Readonly<Record<string, unknown>> | 'closed';

export interface Row {
  readonly what: string;
  /** A message, or bytes that are no message. */
  readonly send: (world: World) => CriuReq | Uint8Array;
  /** Set if our reply differs on purpose. `since42`: CRIU's reply from 4.2 on, if it changed. */
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

/** A dump of the world's target, which runs on. */
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
      why: 'CRIU closes the connection without a reply; we reply',
      criu: 'closed',
      ours,
    },
  };
}

const noSuchPid = 3_999_999;
const badFd = 4095;

const noMessage = 'CRIU closes the connection if it cannot parse; we report the error';
const notParsed = { why: noMessage, criu: 'closed', ours: failure(ReqType.EMPTY, EINVAL) } as const;

const noErrno = 'CRIU refuses it without an errno; our reply has an errno';
const notServed = {
  why: noErrno,
  criu: { type: ReqType.EMPTY, success: false },
  ours: failure(ReqType.EMPTY, EINVAL),
} as const;

const lent = {
  why: 'CRIU before 4.2 cannot open its log without a directory; we lend it a directory',
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
  // Requests that both serve.
  { what: 'VERSION', send: () => ({ type: ReqType.VERSION }) },
  request(ReqType.VERSION, 'with options, which it ignores', () => ({ pid: noSuchPid })),
  ...features,
  request(ReqType.CHECK, 'with an images directory'),
  request(ReqType.CHECK, 'with a log file', () => ({ log_file: 'check.log', log_level: 4 })),
  request(ReqType.CHECK, 'with both directories', (world) => ({ work_dir_fd: world.work })),
  request(ReqType.CPUINFO_DUMP, 'without further options'),
  request(ReqType.CPUINFO_DUMP, 'with cpu_cap', () => ({ cpu_cap: 1 })),
  request(ReqType.CPUINFO_CHECK, 'against this machine', (world) => ({ images_dir_fd: world.cpuinfo })),
  dump('of a process that runs on'),
  dump('with a work directory', (world) => ({ work_dir_fd: world.work, log_file: 'dump.log' })),
  dump('with a log file and the default level', () => ({ log_file: 'dump.log', log_level: 2 })),
  dump('with options that do not matter to this process', () => ({
    ext_unix_sk: true,
    tcp_established: true,
    file_locks: true,
    shell_job: true,
    ghost_limit: 4096,
    timeout: 20,
    link_remap: true,
  })),
  dump('that ignores cgroups', () => ({ manage_cgroups_mode: 0 })),
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

  // Missing processes.
  ...[ReqType.DUMP, ReqType.PRE_DUMP, ReqType.SINGLE_PRE_DUMP].map((type) =>
    request(type, 'of a pid that does not exist', () => ({ pid: noSuchPid })),
  ),
  {
    what: 'WAIT_PID for a pid that is not a child',
    send: () => ({ type: ReqType.WAIT_PID, pid: noSuchPid }),
  },
  { what: 'WAIT_PID without a pid', send: () => ({ type: ReqType.WAIT_PID }) },
  request(ReqType.RESTORE, 'of a pid that is taken', (world) => ({ images_dir_fd: world.running })),

  // Missing directories.
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
          why: 'CRIU loses the errno with the child process that set it; we check before an engine starts',
          criu: { type, success: false },
          // From 4.2 on a CHECK opens no directory.
          ...(type === ReqType.CHECK ? { since42: { type, success: true } } : {}),
          ours: failure(type, EBADRQC),
        },
      },
    ),
  ),
  ...[ReqType.DUMP, ReqType.RESTORE].flatMap((type) => [
    request(type, 'with a work_dir_fd that is not open', () => ({ work_dir_fd: badFd, pid: noSuchPid })),
    request(type, 'with a negative work_dir_fd', () => ({ work_dir_fd: -1, pid: noSuchPid })),
    request(type, 'with a file in place of a directory', (world) => ({
      images_dir_fd: world.file,
      pid: noSuchPid,
    })),
    request(type, 'without a directory', () => ({ images_dir_fd: -1, pid: noSuchPid })),
    request(type, 'with an images_dir that does not exist', () => ({
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
    request(type, 'with a config_file that does not exist', () => ({
      config_file: '/nonexistent',
      pid: noSuchPid,
    })),
  ]),

  // Images that are missing or broken.
  request(ReqType.RESTORE, 'from an empty directory'),
  request(ReqType.RESTORE, 'from an invalid inventory', (world) => ({ images_dir_fd: world.broken })),
  request(ReqType.CPUINFO_CHECK, 'without an image'),
  dump('with a parent that does not exist', () => ({ parent_img: '../nonexistent' }), { softDirty: true }),

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
  request(ReqType.PAGE_SERVER, 'with an invalid address', () => ({
    ps: { address: '999.1.1.1', port: 0 },
  })),
  request(ReqType.PAGE_SERVER, 'with an address of another machine', () => ({
    ps: { address: '192.0.2.1', port: 0 },
  })),
  restore('with an invalid namespace to join', () => ({
    join_ns: [{ ns: 'net', ns_file: '/nonexistent' }],
  })),
  restore('below a root that does not exist', () => ({ root: '/nonexistent' })),
  restore('with an invalid LSM profile', () => ({ lsm_profile: 'nonsense' })),

  // The encoding.
  bytes('VERSION with an unknown field', '080ad03e01'),
  bytes('a type that a second type replaces', '0809080a'),
  bytes('a bool of 2', '080a2002'),
  bytes('a varint that is not minimal', '088a00'),
  bytes('a field of the wrong wire type', '0a0161', { differs: notParsed }),
  bytes('no type', '1800', { differs: notParsed }),
  bytes('bytes at random', 'ffffffffffffffffffff', { differs: notParsed }),
  bytes('a packet that is cut off', '080a1205', { differs: notParsed }),
  // DUMP of pid 3999999.
  bytes('options without images_dir_fd', '0801120510ff91f401'),

  // Requests to which we give a better answer.
  { what: 'EMPTY', send: () => ({ type: ReqType.EMPTY }), differs: notServed },
  {
    what: 'NOTIFY without a notification',
    send: () => ({ type: ReqType.NOTIFY, notify_success: true }),
    differs: notServed,
  },
  bytes('an unknown type', '0863', { differs: notServed }),
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
      why: 'the sibling would be a child of the service; CRIU forbids it outside of swrk, too, without a reason',
      criu: failedRestore(EBADRQC),
      ours: failedRestore(EPERM),
    },
  }),
  restore('with a descriptor to inherit that is not open', () => ({ inherit_fd: [{ key: 'x', fd: badFd }] })),
];
