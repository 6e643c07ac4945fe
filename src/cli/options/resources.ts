/** Options about the resources of a tree. */

import { flag, list, names, text, valued } from './builders.ts';
import { dumps, type OptionRow, trees } from './row.ts';
import { parseChoice, parseCount, parseCpuCap, parseInheritFd, parsePair, parseSize } from './values.ts';

const locks = ['iptables', 'nftables', 'skip'] as const;

export const resourceOptions: readonly OptionRow[] = [
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
    'leave out TCP connections that are not accepted yet',
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
];
