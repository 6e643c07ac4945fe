/**
 * The kinds of images: names of files and magic numbers as in CRIU 4.2 (image-desc.c, magic.h), the messages in them, and the raw
 * bytes that follow a message.
 */
import type { Message } from './message.ts';
import { type MessageType, messageType } from './schema.ts';

/** The raw bytes behind a message: how many belong to it, and how many more fill them up. */
export type Payload = (message: Message) => { readonly bytes: number; readonly padding: number };

export interface Kind {
  /** As crit calls it. */
  readonly name: string;
  readonly magic: number;
  /** The messages: all of the last kind after those before. */
  readonly records: readonly MessageType[];
  readonly payload?: Payload;
  /** CRIU reads the first record and leaves the rest; some such records may be empty, and a file of holes would have no end. */
  readonly single: boolean;
  /** Images of IPC messages: as many records with payload follow each message. */
  readonly queued?: { readonly count: string; readonly record: MessageType; readonly payload: Payload };
  /** Ghost files: the first message tells if chunks follow it, or raw bytes up to the end. */
  readonly ghost?: { readonly chunk: MessageType; readonly payload: Payload };
}

const upTo = (multiple: number, bytes: number): { bytes: number; padding: number } => ({
  bytes,
  padding: (multiple - (bytes % multiple)) % multiple,
});
const plain =
  (...fields: readonly string[]): Payload =>
  (message) => ({ bytes: fields.reduce((sum, field) => sum + (message.number(field) ?? 0), 0), padding: 0 });

const singles: ReadonlySet<string> = new Set(
  'INVENTORY CORE IDS MM FS UTSNS TIMENS PIDNS IPC_VAR CREDS CGROUP TCP_STREAM NETNS USERNS SECCOMP CPUINFO APPARMOR STATS'.split(
    ' ',
  ),
);

type More = Pick<Kind, 'payload' | 'queued' | 'ghost'>;
const kind = (magic: number, name: string, records: string, more: More = {}): Kind => ({
  name,
  magic,
  records: records.split(' ').map(messageType),
  single: singles.has(name),
  ...more,
});

export const kinds: readonly Kind[] = [
  kind(0x58313116, 'INVENTORY', 'inventory_entry'),
  kind(0x50273030, 'PSTREE', 'pstree_entry'),
  kind(0x56213732, 'FDINFO', 'fdinfo_entry'),
  kind(0x56084025, 'PAGEMAP', 'pagemap_head pagemap_entry'),
  kind(0x55053847, 'CORE', 'core_entry'),
  kind(0x54432030, 'IDS', 'task_kobj_ids_entry'),
  kind(0x54123737, 'VMAS', 'vma_entry'),
  kind(0x56513555, 'PIPES', 'pipe_entry'),
  kind(0x56453709, 'PIPES_DATA', 'pipe_data_entry', { payload: plain('bytes') }),
  kind(0x58364939, 'FIFO', 'fifo_entry'),
  kind(0x59333054, 'FIFO_DATA', 'pipe_data_entry', { payload: plain('bytes') }),
  kind(0x55344201, 'SIGACT', 'sa_entry'),
  kind(0x54373943, 'UNIXSK', 'unix_sk_entry'),
  kind(0x56443851, 'INETSK', 'inet_sk_entry'),
  kind(0x60454618, 'PACKETSK', 'packet_sock_entry'),
  kind(0x58005614, 'NETLINK_SK', 'netlink_sk_entry'),
  kind(0x57464056, 'ITIMERS', 'itimer_entry'),
  kind(0x52603957, 'POSIX_TIMERS', 'posix_timer_entry'),
  kind(0x56264026, 'SK_QUEUES', 'sk_packet_entry', { payload: plain('length') }),
  kind(0x54473203, 'UTSNS', 'utsns_entry'),
  kind(0x54023547, 'CREDS', 'creds_entry'),
  kind(0x53115007, 'IPC_VAR', 'ipc_var_entry'),
  kind(0x46283044, 'IPCNS_SHM', 'ipc_shm_entry', {
    payload: (shm) => (shm.bool('in_pagemaps') ? upTo(4, 0) : upTo(4, shm.number('size') ?? 0)),
  }),
  kind(0x55453737, 'IPCNS_MSG', 'ipc_msg_entry', {
    queued: {
      count: 'qnum',
      record: messageType('ipc_msg'),
      payload: (each) => upTo(8, each.number('msize') ?? 0),
    },
  }),
  kind(0x59573019, 'IPCNS_SEM', 'ipc_sem_entry', {
    payload: (set) => upTo(8, 2 * (set.number('nsems') ?? 0)),
  }),
  kind(0x50363636, 'REG_FILES', 'reg_file_entry'),
  kind(0x59255641, 'EXT_FILES', 'ext_file_entry'),
  kind(0x51403912, 'FS', 'fs_entry'),
  kind(0x57492820, 'MM', 'mm_entry'),
  kind(0x59133954, 'REMAP_FPATH', 'remap_file_path_entry'),
  kind(0x52583605, 'GHOST_FILE', 'ghost_file_entry', {
    ghost: { chunk: messageType('ghost_chunk_entry'), payload: plain('len') },
  }),
  kind(0x51465506, 'TCP_STREAM', 'tcp_stream_entry', { payload: plain('inq_len', 'outq_len') }),
  kind(0x44523722, 'EVENTFD_FILE', 'eventfd_file_entry'),
  kind(0x45023858, 'EVENTPOLL_FILE', 'eventpoll_file_entry'),
  kind(0x44433746, 'EVENTPOLL_TFD', 'eventpoll_tfd_entry'),
  kind(0x57323820, 'SIGNALFD', 'signalfd_entry'),
  kind(0x48424431, 'INOTIFY_FILE', 'inotify_file_entry'),
  kind(0x54562009, 'INOTIFY_WD', 'inotify_wd_entry'),
  kind(0x55563928, 'MNTS', 'mnt_entry'),
  kind(0x57373951, 'NETDEV', 'net_device_entry'),
  kind(0x55933752, 'NETNS', 'netns_entry'),
  kind(0x59433025, 'TTY_FILES', 'tty_file_entry'),
  kind(0x59453036, 'TTY_INFO', 'tty_info_entry'),
  kind(0x59413026, 'TTY_DATA', 'tty_data_entry'),
  kind(0x54323616, 'FILE_LOCKS', 'file_lock_entry'),
  kind(0x57113925, 'RLIMIT', 'rlimit_entry'),
  kind(0x55096122, 'FANOTIFY_FILE', 'fanotify_file_entry'),
  kind(0x56506035, 'FANOTIFY_MARK', 'fanotify_mark_entry'),
  kind(0x59255647, 'SIGNAL', 'siginfo_entry'),
  kind(0x61394011, 'NS_FILES', 'ns_file_entry'),
  kind(0x57143751, 'TUNFILE', 'tunfile_entry'),
  kind(0x59383330, 'CGROUP', 'cgroup_entry'),
  kind(0x50493712, 'TIMERFD', 'timerfd_entry'),
  kind(0x61404013, 'CPUINFO', 'cpuinfo_entry'),
  kind(0x55474906, 'USERNS', 'userns_entry'),
  kind(0x64413049, 'SECCOMP', 'seccomp_entry'),
  kind(0x67343323, 'BINFMT_MISC', 'binfmt_misc_entry'),
  kind(0x49353943, 'AUTOFS', 'autofs_entry'),
  kind(0x56303138, 'FILES', 'file_entry'),
  kind(0x48453499, 'MEMFD_INODE', 'memfd_inode_entry'),
  kind(0x43114433, 'TIMENS', 'timens_entry'),
  kind(0x61157326, 'PIDNS', 'pidns_entry'),
  kind(0x57506142, 'BPFMAP_FILE', 'bpfmap_file_entry'),
  kind(0x64324033, 'BPFMAP_DATA', 'bpfmap_data_entry', { payload: plain('keys_bytes', 'values_bytes') }),
  kind(0x59423047, 'APPARMOR', 'apparmor_entry'),
  kind(0x54435556, 'PIDFD', 'pidfd_entry'),
  kind(0x57093306, 'STATS', 'stats'),
  kind(0x57004059, 'IRMAP_CACHE', 'irmap_cache_entry'),
];

const byMagic = new Map(kinds.map((each) => [each.magic, each]));

export function kindOf(magic: number): Kind | undefined {
  return byMagic.get(magic);
}
