import assert from 'node:assert/strict';
import { isCriuError } from '../../../src/client/criu-error.ts';
import { encodeOptions } from '../../../src/client/encode-options.ts';
import type { AnyOptions } from '../../../src/client/options.ts';
import type { OptionName } from '../../../src/policy/option-table.ts';
import { decodeRequest, encodeRequest } from '../../../src/protocol/codec.ts';
import { messages } from '../../../src/protocol/schema.ts';

type CamelCase<S extends string> = S extends `${infer A}_${infer B}` ? `${A}${Capitalize<CamelCase<B>>}` : S;
type Opened = 'images_dir_fd' | 'images_dir' | 'work_dir_fd' | 'notify_scripts';
type InProto = CamelCase<Exclude<OptionName, Opened>>;
type InClient = Exclude<keyof AnyOptions, 'imagesDir' | 'workDir' | 'notifications' | 'signal' | 'manifest'>;

/** A value for each option. The compiler demands that the list is complete and exact. */
const everything: Required<Pick<AnyOptions, InClient>> & Record<InProto, unknown> = {
  pid: 4711,
  leaveRunning: true,
  extUnixSk: true,
  tcpEstablished: true,
  evasiveDevices: true,
  shellJob: true,
  fileLocks: true,
  logLevel: 4,
  logFile: 'dump.log',
  ps: { address: '127.0.0.1', port: 7, fd: 5 },
  root: '/root',
  parentImg: '../1',
  trackMem: true,
  autoDedup: true,
  linkRemap: true,
  veths: [{ ifIn: 'in', ifOut: 'out' }],
  cpuCap: 0xffffffff,
  forceIrmap: true,
  execCmd: ['true'],
  extMnt: [{ key: 'key', val: 'val' }],
  manageCgroups: true,
  cgRoot: [{ ctrl: 'cpu', path: '/a' }, { path: '/b' }],
  rstSibling: true,
  inheritFd: [{ key: 'pipe:[1]', fd: 6 }],
  autoExtMnt: true,
  extSharing: true,
  extMasters: true,
  skipMnt: ['/mnt'],
  enableFs: ['all'],
  unixSkIno: [{ inode: 9 }],
  manageCgroupsMode: 'none',
  ghostLimit: 1,
  irmapScanPaths: ['/etc'],
  external: ['mnt[]'],
  emptyNs: 0x40000000,
  joinNs: [{ ns: 'net', nsFile: '/run/netns/blue', extraOpt: '0,0' }],
  cgroupProps: 'a',
  cgroupPropsFile: '/b',
  cgroupDumpController: ['cpu'],
  freezeCgroup: '/c',
  timeout: 20,
  tcpSkipInFlight: true,
  weakSysctls: true,
  lazyPages: true,
  statusFd: 8,
  orphanPtsMaster: true,
  configFile: '/d',
  tcpClose: true,
  lsmProfile: 'apparmor:x',
  tlsCacert: '/e',
  tlsCacrl: '/f',
  tlsCert: '/g',
  tlsKey: '/h',
  tls: true,
  tlsNoCnVerify: true,
  cgroupYard: '/i',
  preDumpMode: 'vm-read',
  pidfdStoreSk: 10,
  lsmMountContext: 'ctx',
  networkLock: 'nftables',
  mntnsCompatMode: true,
  skipFileRwxCheck: true,
  unprivileged: true,
  leaveStopped: true,
  displayStats: true,
  logToStderr: true,
  imageIoMode: 'direct',
  compress: 2,
  compressAcceleration: 3,
  compressRegionSize: 65536,
  decompressThreads: 4,
};

function refused(options: object, sentence: RegExp): void {
  assert.throws(
    () => encodeOptions(options as AnyOptions),
    (error) => isCriuError(error, 'INVALID') && sentence.test(error.message),
  );
}

describe('options of the client', () => {
  it('cover every field of criu_opts, and CRIU reads the same values', () => {
    const opts = { images_dir_fd: 3, ...encodeOptions(everything) };
    const decoded = decodeRequest(encodeRequest({ type: 1, opts }), 'strict');
    assert.equal(decoded.kind, 'request');
    const read = decoded.kind === 'request' ? JSON.parse(JSON.stringify(decoded.message.opts)) : {};
    const fields = [...messages.get('criu_opts')!.fields.values()].map(({ name }) => name);
    const said = fields.filter((name) => !['images_dir', 'work_dir_fd', 'notify_scripts'].includes(name));
    assert.deepEqual(Object.keys(read).sort(), said.sort());
    assert.deepEqual(read.ps, { address: '127.0.0.1', port: 7, fd: 5 });
    assert.deepEqual(read.veths, [{ if_in: 'in', if_out: 'out' }]);
    assert.deepEqual(read.join_ns, [{ ns: 'net', ns_file: '/run/netns/blue', extra_opt: '0,0' }]);
    assert.deepEqual([read.manage_cgroups_mode, read.pre_dump_mode, read.network_lock], [1, 2, 2]);
    assert.equal(read.image_io_mode, 1);
  });

  it('are left out if undefined', () => {
    assert.deepEqual(encodeOptions({ pid: 1, root: undefined, imagesDir: '/x', workDir: 3 }), { pid: 1 });
  });

  it('are refused if unknown, by name', () => {
    refused({ leaveRuning: true }, /There is no option leaveRuning/);
    refused({ images_dir_fd: 3 }, /There is no option images_dir_fd/);
    refused({ imagesDirFd: 3 }, /There is no option imagesDirFd/);
    refused({ notifyScripts: true }, /There is no option notifyScripts/);
    refused({ ps: { host: 'x' } }, /There is no option ps\.host/);
  });

  it('are refused with a value of another kind, by a sentence that names the right kind', () => {
    refused({ leaveRunning: 1 }, /leaveRunning is true or false/);
    refused({ pid: 1.5 }, /pid is a whole number/);
    refused({ pid: 2 ** 31 }, /pid is a whole number/);
    refused({ cpuCap: -1 }, /cpuCap is a whole number from 0/);
    refused({ external: 'mnt[]' }, /external is a list/);
    refused({ external: [1] }, /external\[0\] is a text/);
    refused({ logFile: 'a\0b' }, /logFile is a text without NUL/);
    refused({ networkLock: 'pf' }, /networkLock is one of iptables, nftables, skip/);
    refused({ inheritFd: [{ fd: 1 }] }, /inheritFd\[0\]\.key is missing/);
    refused({ ps: 1 }, /ps is an object/);
  });
});
