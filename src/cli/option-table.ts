/**
 * All options of criuctl: the verbs, their help and the completions of the shells are made from this table.
 *
 * Names and spellings are the same as on the `criu` command line, so that a habit carries over. Options of criu(8) that CRIU's
 * RPC lacks are here, too, with a sentence for users that try them.
 */
import type { AnyOptions } from '../client/options.ts';
import {
  parseCgroupRoot,
  parseChoice,
  parseCount,
  parseCpuCap,
  parseInheritFd,
  parseJoinNs,
  parsePair,
  parsePid,
  parseSize,
  parseVerbosity,
} from './option-values.ts';

export const verbs = [
  'look',
  'dump',
  'pre-dump',
  'restore',
  'attach',
  'check',
  'version',
  'features',
  'cpuinfo',
  'page-server',
  'images',
  'status',
] as const;

export type Verb = (typeof verbs)[number];

/** The values that a shell offers for completion. */
export type Completion = 'pid' | 'directory' | 'file' | 'nothing' | readonly string[];

export interface OptionRow {
  /** Without its dashes. */
  readonly long: string;
  readonly short?: string;
  /** Absent for a switch. An optional value is attached: -v4, --cpu-cap=all. */
  readonly value?: { readonly name: string; readonly optional?: true; readonly completion: Completion };
  readonly verbs: readonly Verb[];
  /** The heading in the help. */
  readonly group:
    | 'Images'
    | 'Tree'
    | 'Resources'
    | 'Memory'
    | 'Cgroups'
    | 'Page server'
    | 'Output'
    | 'criuctl';
  readonly help: string;
  /**
   * The fields of the request for this value. Lists of several occurrences are joined. Absent for options that criuctl itself
   * uses.
   */
  readonly request?: (value: string) => Partial<AnyOptions>;
  /** Present for options of criu(8) that are impossible here: the reason, and an alternative. */
  readonly impossible?: string;
}

const dumps: readonly Verb[] = ['dump', 'pre-dump'];
/** Verbs with a process as their argument. */
const targets: readonly Verb[] = ['look', ...dumps];
const trees: readonly Verb[] = ['dump', 'pre-dump', 'restore'];
const images: readonly Verb[] = [...trees, 'cpuinfo', 'page-server'];
const asking: readonly Verb[] = [...images, 'check', 'version', 'features'];

type Group = OptionRow['group'];
type Switch = { [K in keyof AnyOptions]-?: boolean extends AnyOptions[K] ? K : never }[keyof AnyOptions];
type Text = { [K in keyof AnyOptions]-?: string extends AnyOptions[K] ? K : never }[keyof AnyOptions];
type List = {
  [K in keyof AnyOptions]-?: readonly string[] extends AnyOptions[K] ? K : never;
}[keyof AnyOptions];

function flag(
  spelling: string,
  field: Switch,
  verbs: readonly Verb[],
  group: Group,
  help: string,
): OptionRow {
  return { ...names(spelling), verbs, group, help, request: () => ({ [field]: true }) };
}

function valued(
  spelling: string,
  name: string,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion,
  request: (value: string) => Partial<AnyOptions>,
): OptionRow {
  return { ...names(spelling), value: { name, completion }, verbs, group, help, request };
}

function text(
  spelling: string,
  name: string,
  field: Text,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion = 'nothing',
): OptionRow {
  return valued(spelling, name, verbs, group, help, completion, (value) => ({ [field]: value }));
}

function list(
  spelling: string,
  name: string,
  field: List,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion = 'nothing',
): OptionRow {
  return valued(spelling, name, verbs, group, help, completion, (value) => ({ [field]: [value] }));
}

function impossible(spelling: string, takesValue: boolean, sentence: string): OptionRow {
  return {
    ...names(spelling),
    ...(takesValue ? { value: { name: 'value', completion: 'nothing' as const } } : {}),
    verbs: ['dump', 'pre-dump', 'restore', 'check', 'page-server'],
    group: 'criuctl',
    help: '',
    impossible: sentence,
  };
}

/** `-D, --images-dir` */
function names(spelling: string): { readonly long: string; readonly short?: string } {
  const match = /^(?:-(.), )?--(.+)$/.exec(spelling)!;
  return { long: match[2]!, ...(match[1] === undefined ? {} : { short: match[1] }) };
}

const cgroupModes = ['ignore', 'none', 'props', 'soft', 'full', 'strict'] as const;
const locks = ['iptables', 'nftables', 'skip'] as const;
const notInRpc = 'CRIU’s RPC has no such option';

export const optionTable: readonly OptionRow[] = [
  valued('-t, --tree', 'pid', targets, 'Tree', 'the root of the process tree', 'pid', (value) => ({
    pid: parsePid(value),
  })),
  text(
    '-D, --images-dir',
    'dir',
    'imagesDir',
    [...images, 'check'],
    'Images',
    'directory of the images (default: .)',
    'directory',
  ),
  text(
    '-W, --work-dir',
    'dir',
    'workDir',
    images,
    'Images',
    'directory of the log and the statistics (default: that of the images)',
    'directory',
  ),
  text(
    '--prev-images-dir',
    'dir',
    'parentImg',
    [...dumps, 'page-server'],
    'Images',
    'images of the previous dump, relative to -D',
    'directory',
  ),
  {
    ...names('--replace'),
    verbs: dumps,
    group: 'Images',
    help: 'replace the images of an earlier dump, in one step and only when the new ones are complete',
  },
  flag(
    '--auto-dedup',
    'autoDedup',
    images,
    'Images',
    'punch pages out of older images as they become redundant',
  ),
  {
    ...names('--pidfile'),
    value: { name: 'file', completion: 'file' },
    verbs: ['restore'],
    group: 'Images',
    help: 'write the pid of the restored root to this file',
  },

  flag('-R, --leave-running', 'leaveRunning', ['dump'], 'Tree', 'let the tree run on after the dump'),
  flag('-s, --leave-stopped', 'leaveStopped', ['dump', 'restore'], 'Tree', 'leave the tree stopped'),
  {
    ...names('--force'),
    verbs: ['dump'],
    group: 'Tree',
    help: 'dump a tree that criuctl look would not let end',
  },
  flag(
    '-j, --shell-job',
    'shellJob',
    trees,
    'Tree',
    'the tree belongs to a session or terminal outside of the tree',
  ),
  {
    ...names('-d, --restore-detached'),
    verbs: ['restore'],
    group: 'Tree',
    help: 'accepted: criuctl never waits for the restored tree',
  },
  valued(
    '--timeout',
    'seconds',
    trees,
    'Tree',
    'longest time for collecting the tasks (default: 10)',
    'nothing',
    (value) => ({ timeout: parseCount(value) }),
  ),
  text(
    '--freeze-cgroup',
    'dir',
    'freezeCgroup',
    dumps,
    'Tree',
    'a freezer cgroup that holds the whole tree',
    'directory',
  ),
  text(
    '-r, --root',
    'dir',
    'root',
    ['restore'],
    'Tree',
    'root directory of the restored mount namespace',
    'directory',
  ),
  valued('--empty-ns', 'ns', trees, 'Tree', 'restore this namespace empty', ['net'], (value) => {
    parseChoice('net')(value);
    return { emptyNs: 0x40000000 };
  }),
  valued('-J, --join-ns', 'ns:pid|file', ['restore'], 'Tree', 'join this namespace', 'nothing', (value) => ({
    joinNs: [parseJoinNs(value)],
  })),

  flag('-l, --file-locks', 'fileLocks', trees, 'Resources', 'dump and restore file locks'),
  flag(
    '--tcp-established',
    'tcpEstablished',
    trees,
    'Resources',
    'dump and restore established TCP connections',
  ),
  flag('--tcp-close', 'tcpClose', trees, 'Resources', 'restore established TCP connections closed'),
  flag(
    '--skip-in-flight',
    'tcpSkipInFlight',
    dumps,
    'Resources',
    'leave out TCP connections that are not established yet',
  ),
  {
    ...names('-x, --ext-unix-sk'),
    value: { name: 'inode', optional: true, completion: 'nothing' },
    verbs: trees,
    group: 'Resources',
    help: 'allow Unix sockets with a peer outside the tree, or only this socket',
    request: (value) => ({
      extUnixSk: true,
      ...(value === '' ? {} : { unixSkIno: [{ inode: parseCount(value) }] }),
    }),
  },
  flag(
    '--evasive-devices',
    'evasiveDevices',
    trees,
    'Resources',
    'take any path to a device whose own path cannot be reached',
  ),
  flag('--link-remap', 'linkRemap', trees, 'Resources', 'link unlinked files into their file system again'),
  valued(
    '--ghost-limit',
    'size',
    dumps,
    'Resources',
    'largest deleted file to carry in the images (default: 1M)',
    'nothing',
    (value) => ({ ghostLimit: parseSize(value) }),
  ),
  list('--external', 'resource', 'external', trees, 'Resources', 'an external resource, as TYPE[ID]:VALUE'),
  valued(
    '--inherit-fd',
    'fd[num]:res',
    ['restore'],
    'Resources',
    'let a descriptor of criuctl take the place of a dumped one',
    'nothing',
    (value) => ({ inheritFd: [parseInheritFd(value)] }),
  ),
  valued(
    '--veth-pair',
    'in=out',
    trees,
    'Resources',
    'pair the names of a veth device inside and outside',
    'nothing',
    (value) => {
      const [ifIn, ifOut] = parsePair('=')(value);
      return { veths: [{ ifIn, ifOut }] };
    },
  ),
  valued(
    '-M, --ext-mount-map',
    'key:val',
    trees,
    'Resources',
    'name an external mount, or auto',
    'nothing',
    (value) => {
      if (value === 'auto') return { autoExtMnt: true };
      const [key, val] = parsePair(':')(value);
      return { extMnt: [{ key, val }] };
    },
  ),
  flag(
    '--enable-external-sharing',
    'extSharing',
    trees,
    'Resources',
    'allow external mounts that share propagation',
  ),
  flag(
    '--enable-external-masters',
    'extMasters',
    trees,
    'Resources',
    'allow external mounts that are slaves',
  ),
  list('--skip-mnt', 'path', 'skipMnt', trees, 'Resources', 'leave out this mount point', 'directory'),
  valued(
    '--enable-fs',
    'names',
    trees,
    'Resources',
    'restore these file systems by a plain mount, or all',
    ['all'],
    (value) => ({ enableFs: value.split(',') }),
  ),
  flag(
    '--mntns-compat-mode',
    'mntnsCompatMode',
    trees,
    'Resources',
    'restore mount namespaces as CRIU before 3.17 did',
  ),
  flag('--force-irmap', 'forceIrmap', trees, 'Resources', 'find the paths of inotify watches by search'),
  list(
    '--irmap-scan-path',
    'path',
    'irmapScanPaths',
    trees,
    'Resources',
    'a directory for that search',
    'directory',
  ),
  valued(
    '--network-lock',
    'method',
    trees,
    'Resources',
    'method of blocking the network',
    locks,
    (value) => ({
      networkLock: parseChoice(...locks)(value),
    }),
  ),
  flag('--weak-sysctls', 'weakSysctls', ['restore'], 'Resources', 'pass over sysctls that this kernel lacks'),
  flag(
    '--skip-file-rwx-check',
    'skipFileRwxCheck',
    ['restore'],
    'Resources',
    'do not check the permissions that files had',
  ),
  text(
    '--lsm-profile',
    'type:name',
    'lsmProfile',
    ['restore'],
    'Resources',
    'security profile of the restored tasks',
  ),
  text(
    '--lsm-mount-context',
    'context',
    'lsmMountContext',
    ['restore'],
    'Resources',
    'replace the context= of mounts',
  ),
  {
    ...names('--cpu-cap'),
    value: { name: 'list', optional: true, completion: ['fpu', 'cpu', 'ins', 'all', 'none'] },
    verbs: [...trees, 'cpuinfo'],
    group: 'Resources',
    help: 'CPU features to write or to insist on',
    request: (value) => ({ cpuCap: parseCpuCap(value) }),
  },

  valued(
    '--image-io-mode',
    'mode',
    trees,
    'Memory',
    'way of writing and reading the pages of images',
    ['writeback', 'direct'],
    (value) => ({ imageIoMode: parseChoice('writeback', 'direct')(value) }),
  ),
  {
    ...names('--live'),
    value: { name: 'rounds', optional: true, completion: 'nothing' },
    verbs: ['dump'],
    group: 'Memory',
    help: 'copy memory in rounds while the tree runs (at most 5), so that it is frozen for a short time',
  },
  flag('--track-mem', 'trackMem', dumps, 'Memory', 'track changes of memory, for the next dump'),
  valued(
    '--pre-dump-mode',
    'mode',
    ['pre-dump'],
    'Memory',
    'way of reading memory',
    ['splice', 'read'],
    (value) => ({
      preDumpMode: parseChoice('splice', 'read')(value) === 'read' ? 'vm-read' : 'splice',
    }),
  ),
  flag(
    '--lazy-pages',
    'lazyPages',
    ['dump', 'restore'],
    'Memory',
    'leave memory to a daemon that brings it on demand; root only',
  ),

  {
    ...names('--manage-cgroups'),
    value: { name: 'mode', optional: true, completion: cgroupModes },
    verbs: trees,
    group: 'Cgroups',
    help: 'extent to which cgroups are restored (default: soft)',
    request: (value) => ({ manageCgroupsMode: value === '' ? 'soft' : parseChoice(...cgroupModes)(value) }),
  },
  valued(
    '--cgroup-root',
    '[ctrl:]path',
    trees,
    'Cgroups',
    'move cgroup paths below another root',
    'nothing',
    (value) => ({ cgRoot: [parseCgroupRoot(value)] }),
  ),
  text('--cgroup-props', 'yaml', 'cgroupProps', trees, 'Cgroups', 'cgroup properties to dump'),
  text(
    '--cgroup-props-file',
    'file',
    'cgroupPropsFile',
    trees,
    'Cgroups',
    'cgroup properties from a file',
    'file',
  ),
  list(
    '--cgroup-dump-controller',
    'name',
    'cgroupDumpController',
    trees,
    'Cgroups',
    'dump only this controller',
  ),
  text(
    '--cgroup-yard',
    'dir',
    'cgroupYard',
    trees,
    'Cgroups',
    'directory where the cgroup hierarchies are mounted already',
    'directory',
  ),

  {
    ...names('--page-server'),
    verbs: ['dump', 'pre-dump'],
    group: 'Page server',
    help: 'send pages to a page server',
    request: () => ({ ps: {} }),
  },
  valued(
    '--address',
    'host',
    [...dumps, 'page-server'],
    'Page server',
    'address of the page server',
    'nothing',
    (value) => ({ ps: { address: value } }),
  ),
  valued(
    '--port',
    'port',
    [...dumps, 'page-server'],
    'Page server',
    'TCP port of the page server',
    'nothing',
    (value) => ({ ps: { port: parseCount(value) } }),
  ),
  flag('--tls', 'tls', [...dumps, 'page-server'], 'Page server', 'encrypt and authenticate the connection'),
  text(
    '--tls-cacert',
    'file',
    'tlsCacert',
    [...dumps, 'page-server'],
    'Page server',
    'certificate authority',
    'file',
  ),
  text(
    '--tls-cacrl',
    'file',
    'tlsCacrl',
    [...dumps, 'page-server'],
    'Page server',
    'revoked certificates',
    'file',
  ),
  text(
    '--tls-cert',
    'file',
    'tlsCert',
    [...dumps, 'page-server'],
    'Page server',
    'certificate to present',
    'file',
  ),
  text(
    '--tls-key',
    'file',
    'tlsKey',
    [...dumps, 'page-server'],
    'Page server',
    'private key of the certificate',
    'file',
  ),
  flag(
    '--tls-no-cn-verify',
    'tlsNoCnVerify',
    [...dumps, 'page-server'],
    'Page server',
    'do not compare names',
  ),

  text(
    '-o, --log-file',
    'file',
    'logFile',
    [...images, 'check'],
    'Output',
    'name of CRIU’s log in the work directory (default: VERB.log)',
    'nothing',
  ),
  {
    ...names('-v, --verbosity'),
    value: { name: 'level', optional: true, completion: ['0', '1', '2', '3', '4'] },
    verbs: [...images, 'check'],
    group: 'Output',
    help: 'level of CRIU’s log: 1 errors, 2 warnings (default), 3 information, 4 everything',
    request: (value) => ({ logLevel: parseVerbosity(value) }),
  },
  {
    ...names('--display-stats'),
    verbs: trees,
    group: 'Output',
    help: 'print the summary on standard error also without a terminal',
  },

  {
    ...names('--detach'),
    value: { name: 'file', optional: true, completion: 'file' },
    verbs: dumps,
    group: 'Tree',
    help: 'ask from outside of the tree, for a program that dumps itself; the result goes to a file (default: criuctl.log)',
  },
  {
    ...names('--terminal'),
    value: { name: 'where', completion: 'file' },
    verbs: ['restore'],
    group: 'Tree',
    help: 'terminal of a program that had one: here (default), none, or a file that its output is appended to',
  },
  ...(['stdin', 'stdout', 'stderr'] as const).map((stream) => ({
    ...names(`--${stream}`),
    value: { name: 'file', completion: 'file' as const },
    verbs: ['restore'] as const,
    group: 'Tree' as const,
    help: `put this file, or with - criuctl's own ${stream}, in the place of the program's`,
  })),
  {
    ...names('--restore-files'),
    verbs: ['restore'],
    group: 'Tree',
    help: 'put files that have grown back to what they were, and keep what came after beside them',
  },
  {
    ...names('--no-verify'),
    verbs: ['restore'],
    group: 'Images',
    help: 'let CRIU try images that are incomplete',
  },
  {
    ...names('--wait'),
    verbs: ['restore'],
    group: 'Tree',
    help: 'stay until the program ends, pass signals on, and exit with its status',
  },

  {
    ...names('--action-script'),
    value: { name: 'file', completion: 'file' },
    verbs: trees,
    group: 'Tree',
    help: 'run this program at each step of CRIU, as this user; see criu(8)',
  },
  { ...names('--json'), verbs, group: 'criuctl', help: 'print the result as a JSON object' },
  {
    ...names('--service'),
    value: { name: 'path', completion: 'file' },
    verbs: asking,
    group: 'criuctl',
    help: 'socket of the service (default: /run/criu-service.socket)',
  },
  {
    ...names('--trust-images'),
    verbs: [...images, 'check'],
    group: 'criuctl',
    help: 'as root, use images and directories that others can write',
  },
  {
    ...names('-n, --lines'),
    value: { name: 'number', completion: 'nothing' },
    verbs: ['status'],
    group: 'criuctl',
    help: 'number of requests to show (default: 10)',
  },

  impossible('-S, --restore-sibling', false, 'the restored process would become a child of the service'),
  impossible('--exec-cmd', false, 'restore first, then run the command'),
  impossible('-L, --libdir', true, `${notInRpc}: plugins are found where CRIU was installed`),
  impossible('--log-pid', false, notInRpc),
  impossible('--stream', false, notInRpc),
  impossible('--file-validation', true, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible('--ghost-fiemap', false, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible('--allow-uprobes', false, `${notInRpc}: configure it in /etc/criu/default.conf`),
  impossible(
    '--config',
    true,
    'a configuration file runs programs: use /etc/criu/default.conf, or criu itself',
  ),
  impossible('--close', true, notInRpc),
  impossible('--ps-socket', true, 'name the page server by --address and --port'),
  impossible('--status-fd', true, 'criuctl returns when it is ready'),
  impossible('--feature', true, 'use criuctl features, or criu check --feature'),
  impossible('--extra', false, 'use criu check --extra'),
  impossible('--experimental', false, 'use criu check --experimental'),
  impossible('--all', false, 'use criu check --all'),
  impossible('--unprivileged', false, 'the service sets it by itself for users without root'),
];

/** The rows of a verb, including the impossible options. */
export function optionsOf(verb: Verb): readonly OptionRow[] {
  return optionTable.filter((row) => row.verbs.includes(verb));
}
