/**
 * What becomes of each option (criu_opts of proto/rpc.proto), for a fully privileged caller and for a confined one.
 *
 * A confined caller's option that is not listed here is refused; the compiler holds the table complete. A fully
 * privileged caller's unknown fields reach the engine: it could run CRIU itself.
 *
 * Descriptor numbers are the caller's. CRIU looks them up in its peer, or in its own descriptor table; through a relay
 * both are somebody else's, so each needs a treatment.
 */
import type { CriuOpts } from '../protocol/messages.ts';

export type OptionName = Exclude<keyof CriuOpts & string, `$${string}`>;

/**
 * - `as-criu`: the engine gets it as it is; for a confined caller the kernel decides what it may do;
 * - `peer-fd`: CRIU opens /proc/PEER/fd/N, so N is replaced by the number of a copy that its peer holds;
 * - `engine-fd`: CRIU uses descriptor N of its own, so a copy is put at that very number;
 * - `directory`: a path that is opened as the caller, and passed as images_dir_fd;
 * - `refused`: a sentence says why.
 */
export type Treatment = 'as-criu' | 'peer-fd' | 'engine-fd' | 'directory' | { readonly refused: string };

export interface OptionRow {
  readonly privileged: Treatment;
  readonly confined: Treatment;
}

const asCriu: OptionRow = { privileged: 'as-criu', confined: 'as-criu' };
const peerFd: OptionRow = { privileged: 'peer-fd', confined: 'peer-fd' };

/** Refused to a confined caller alone. */
function privilegedOnly(refused: string, privileged: Treatment = 'as-criu'): OptionRow {
  return { privileged, confined: { refused } };
}

const runsPrograms = 'it would run programs with the capability of the engine';
const sibling = { refused: 'the restored process would become a child of this service' };

export const optionTable = {
  images_dir_fd: peerFd,
  // As a string CRIU 4.1.1 fails on a real directory when it runs without privilege.
  images_dir: { privileged: 'as-criu', confined: 'directory' },
  work_dir_fd: peerFd,
  status_fd: peerFd,
  pidfd_store_sk: privilegedOnly('the descriptor would be taken from this service', 'peer-fd'),
  inherit_fd: privilegedOnly('descriptors of a caller are not put into an engine', 'engine-fd'),
  // Its `fd` alone is a descriptor; address and port are as-criu.
  ps: asCriu,

  config_file: privilegedOnly(runsPrograms),
  exec_cmd: privilegedOnly(runsPrograms),
  lazy_pages: privilegedOnly('pages that come later would outlive the session'),
  log_to_stderr: privilegedOnly("the engine's stderr is this service's"),
  rst_sibling: { privileged: sibling, confined: sibling },

  pid: asCriu,
  leave_running: asCriu,
  leave_stopped: asCriu,
  ext_unix_sk: asCriu,
  tcp_established: asCriu,
  tcp_skip_in_flight: asCriu,
  tcp_close: asCriu,
  evasive_devices: asCriu,
  shell_job: asCriu,
  file_locks: asCriu,
  log_level: asCriu,
  log_file: asCriu,
  notify_scripts: asCriu,
  root: asCriu,
  parent_img: asCriu,
  track_mem: asCriu,
  auto_dedup: asCriu,
  link_remap: asCriu,
  veths: asCriu,
  cpu_cap: asCriu,
  force_irmap: asCriu,
  ext_mnt: asCriu,
  manage_cgroups: asCriu,
  manage_cgroups_mode: asCriu,
  cg_root: asCriu,
  auto_ext_mnt: asCriu,
  ext_sharing: asCriu,
  ext_masters: asCriu,
  skip_mnt: asCriu,
  enable_fs: asCriu,
  unix_sk_ino: asCriu,
  ghost_limit: asCriu,
  irmap_scan_paths: asCriu,
  external: asCriu,
  empty_ns: asCriu,
  join_ns: asCriu,
  cgroup_props: asCriu,
  cgroup_props_file: asCriu,
  cgroup_dump_controller: asCriu,
  cgroup_yard: asCriu,
  freeze_cgroup: asCriu,
  timeout: asCriu,
  weak_sysctls: asCriu,
  orphan_pts_master: asCriu,
  lsm_profile: asCriu,
  lsm_mount_context: asCriu,
  tls_cacert: asCriu,
  tls_cacrl: asCriu,
  tls_cert: asCriu,
  tls_key: asCriu,
  tls: asCriu,
  tls_no_cn_verify: asCriu,
  pre_dump_mode: asCriu,
  network_lock: asCriu,
  mntns_compat_mode: asCriu,
  skip_file_rwx_check: asCriu,
  unprivileged: asCriu,
  display_stats: asCriu,
} satisfies Record<OptionName, OptionRow>;

/** The options whose number means a descriptor in CRIU's peer. */
export type PeerFdField = 'images_dir_fd' | 'work_dir_fd' | 'status_fd' | 'pidfd_store_sk';

export const peerFdFields: readonly PeerFdField[] = [
  'images_dir_fd',
  'work_dir_fd',
  'status_fd',
  'pidfd_store_sk',
];

/** True for an option that says something: present, not an empty list, and not a plain `false`. */
export function isSet(opts: CriuOpts, name: OptionName): boolean {
  const value = opts[name];
  return Array.isArray(value) ? value.length > 0 : value != null && value !== false;
}
