/**
 * The treatment of each option (criu_opts of proto/rpc.proto), for a fully privileged caller and for a confined caller.
 *
 * If an option of a confined caller is not listed here, it is refused; the compiler holds the table complete. Unknown fields of a
 * fully privileged caller reach the engine: that caller could run CRIU itself.
 *
 * Descriptor numbers refer to the caller's table. CRIU looks them up in its peer or in its own descriptor table. With a relay in
 * between, neither is the caller's, so each such option needs a treatment.
 */
import type { CriuOpts } from '../protocol/messages.ts';
import { type CriuVersion, isBefore } from './criu-version.ts';
import { maxInherited } from './inherited.ts';

export type OptionName = Exclude<keyof CriuOpts & string, `$${string}`>;

/**
 * - `as-criu`: the engine gets the option unchanged; for a confined caller the kernel decides what the option may do;
 * - `peer-fd`: CRIU opens /proc/PEER/fd/N, so N is replaced by the number of a copy that its peer holds;
 * - `engine-fd`: CRIU uses descriptor N of its own. A privileged engine gets a copy at exactly that number. A confined engine gets a copy
 *   that its launcher has made and judged as the caller, at another number, and the request names that;
 * - `directory`: a path that is opened as the caller, and passed as images_dir_fd;
 * - `refused`: the option is refused, for the reason in this sentence.
 */
export type Treatment = 'as-criu' | 'peer-fd' | 'engine-fd' | 'directory' | { readonly refused: string };

export interface OptionRow {
  readonly privileged: Treatment;
  readonly confined: Treatment;
  /**
   * The first version of CRIU that knows the option, and the value for which an older version does the same without it. Root's
   * engines ignore an option that they do not know, as CRIU does.
   */
  readonly since?: { readonly version: readonly [number, number]; readonly before: number };
  /** A sentence about a value that a confined caller is refused, although the option is served. */
  readonly refusedValue?: (opts: CriuOpts) => string | undefined;
}

const asCriu: OptionRow = { privileged: 'as-criu', confined: 'as-criu' };
const peerFd: OptionRow = { privileged: 'peer-fd', confined: 'peer-fd' };

/** An option that only a confined caller is refused. */
function privilegedOnly(refused: string, privileged: Treatment = 'as-criu'): OptionRow {
  return { privileged, confined: { refused } };
}

/** An option that CRIU has known since 4.3. @param before the value that an older CRIU acts by. */
function since43(before: number): OptionRow {
  return { ...asCriu, since: { version: [4, 3], before } };
}

const runsPrograms = 'it would run programs with the capability of the engine';
const sibling = { refused: 'the restored process would become a child of this service' };

export const optionTable = {
  images_dir_fd: peerFd,
  // CRIU 4.1.1, running without privilege, fails on a real directory that is given as a string.
  images_dir: { privileged: 'as-criu', confined: 'directory' },
  work_dir_fd: peerFd,
  status_fd: peerFd,
  pidfd_store_sk: privilegedOnly('the descriptor would be taken from this service', 'peer-fd'),
  inherit_fd: {
    privileged: 'engine-fd',
    confined: 'engine-fd',
    refusedValue: ({ inherit_fd }) =>
      (inherit_fd?.length ?? 0) > maxInherited
        ? `inherit_fd: more than ${maxInherited} descriptors`
        : undefined,
  },
  ps: {
    ...asCriu,
    // Address and port are as-criu.
    refusedValue: ({ ps }) =>
      ps?.fd == null ? undefined : 'ps.fd: descriptors of a caller are not put into an engine',
  },

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
  log_file: {
    ...asCriu,
    refusedValue: (opts) =>
      opts.log_file === '-' ? "log_file: the engine's stdout is this service's" : undefined,
  },
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
  image_io_mode: since43(0),
  compress: since43(0),
  compress_acceleration: since43(1),
  compress_region_size: since43(0),
  decompress_threads: since43(1),
} satisfies Record<OptionName, OptionRow>;

/** @returns the first option that this CRIU does not know, although its value matters. Without a version: any such option. */
export function unknownOption(
  opts: CriuOpts | null | undefined,
  criu?: CriuVersion,
): { readonly name: OptionName; readonly since: string } | undefined {
  if (!opts || criu?.isDevelopment) return undefined;
  for (const [name, { since }] of newOptions) {
    const matters = opts[name] != null && opts[name] !== since.before;
    if (matters && (criu === undefined || isBefore(criu, since.version))) {
      return { name, since: since.version.join('.') };
    }
  }
  return undefined;
}

const newOptions = (Object.entries(optionTable) as [OptionName, OptionRow][]).flatMap(([name, { since }]) =>
  since ? [[name, { since }] as const] : [],
);

/** The options whose number refers to a descriptor of CRIU's peer. */
export type PeerFdField = 'images_dir_fd' | 'work_dir_fd' | 'status_fd' | 'pidfd_store_sk';

export const peerFdFields: readonly PeerFdField[] = [
  'images_dir_fd',
  'work_dir_fd',
  'status_fd',
  'pidfd_store_sk',
];

/** True if an option has an effect: it is present, not an empty list, and not a plain `false`. */
export function isSet(opts: CriuOpts, name: OptionName): boolean {
  const value = opts[name];
  return Array.isArray(value) ? value.length > 0 : value != null && value !== false;
}
