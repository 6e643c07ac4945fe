/** The drop-in criu between a program that starts `criu swrk` and the service, with a scripted engine. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { native, type SeqpacketSocket, Watch } from '../../src/native/binding.ts';
import { decodeRequest, encodeResponse } from '../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { cannotShow } from '../native/support.ts';
import { sends } from './support/client.ts';
import { dropIn, Swrk } from './support/drop-in.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

/** Pid 2 is kthreadd or missing: no tree of ours is below it. */
const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2 } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const notification: CriuResp = { type: ReqType.NOTIFY, success: true, notify: { script: 'pre-dump' } };
const answer: CriuReq = { type: ReqType.NOTIFY, notify_success: true };

function optsIn(packet: Buffer | 'eof' | undefined) {
  assert.ok(packet && packet !== 'eof', 'the engine received no packet');
  const decoded = decodeRequest(packet, 'lenient');
  if (decoded.kind === 'malformed') return assert.fail(decoded.reason);
  return decoded.message.opts!;
}

describe('criu swrk of the drop-in', () => {
  let service: ServiceUnderTest;

  before(async () => {
    service = await new ServiceUnderTest().start();
  });

  after(() => service.stop());

  /** What the service holds under a number that its engine has been told. */
  const heldByService = (number: number | null | undefined) =>
    readlinkSync(`/proc/${service.pid}/fd/${number}`);

  async function untilAsked(): Promise<void> {
    await eventually('the engine has its request', () => service.received().length > 0);
  }

  it('gives its program the reply of the service, and ends with status 0', async () => {
    service.engine('receive', sends(dumped));
    const swrk = new Swrk(service.address);
    assert.deepEqual(await swrk.client.ask(dump), dumped);
    assert.deepEqual(await swrk.ended(), { status: 0, stderr: '' });
  });

  it('gives a failing reply, too, and ends with status 1 and its words', async () => {
    const failed = { ...dumped, success: false, cr_errmsg: 'it is on fire' };
    service.engine('receive', sends(failed));
    const swrk = new Swrk(service.address);
    assert.equal((await swrk.client.ask(dump)).success, false);
    assert.deepEqual(await swrk.ended(), { status: 1, stderr: 'criu: it is on fire\n' });
  });

  it('opens the directories whose numbers in its program the request has', async () => {
    const images = mkdtempSync(join(tmpdir(), 'criu-images-'));
    const [first, second] = [openSync(service.directory, 'r'), openSync(images, 'r')];
    service.engine('receive', 'until told', sends(dumped));
    const swrk = new Swrk(service.address);
    swrk.client.send({
      type: ReqType.DUMP,
      opts: { images_dir_fd: first, work_dir_fd: second, pid: 2 },
    });
    await untilAsked();
    const opts = optsIn(service.received()[0]);
    assert.equal(heldByService(opts.images_dir_fd), realpathSync(service.directory));
    assert.equal(heldByService(opts.work_dir_fd), realpathSync(images));
    service.tell();
    assert.deepEqual(await swrk.client.all(), [dumped]);
    for (const fd of [first, second]) closeSync(fd);
    rmSync(images, { recursive: true });
  });

  it('opens a relative images_dir where its program is', async () => {
    service.engine('receive', 'until told', sends(dumped));
    const swrk = new Swrk(service.address, { cwd: dirname(service.directory) });
    swrk.client.send({
      type: ReqType.DUMP,
      opts: { images_dir_fd: -1, images_dir: basename(service.directory), pid: 2 },
    });
    await untilAsked();
    const opts = optsIn(service.received()[0]);
    assert.equal(heldByService(opts.images_dir_fd), realpathSync(service.directory));
    service.tell();
    assert.deepEqual(await swrk.client.all(), [dumped]);
  });

  it('refuses a number that its program does not have, and a directory that is not there', async () => {
    for (const [opts, words] of [
      [{ images_dir_fd: 900 }, /^images_dir_fd 900 of process \d+ cannot be opened: .*No such file/],
      [{ images_dir_fd: -1, work_dir_fd: 901 }, /^work_dir_fd 901 of process/],
      [{ images_dir_fd: -1, images_dir: 'missing' }, /^images_dir missing cannot be opened/],
    ] as const) {
      const swrk = new Swrk(service.address);
      const reply = await swrk.client.ask({ type: ReqType.DUMP, opts: { ...opts, pid: 2 } });
      assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.DUMP, false, 2]);
      assert.match(reply.cr_errmsg!, words);
      assert.deepEqual(await swrk.ended(), { status: 1, stderr: `criu: ${reply.cr_errmsg}\n` });
    }
  });

  it('passes a descriptor that it has from its program on to the engine, under the same number', async () => {
    const file = openSync('/dev/zero', 'r');
    const restored: CriuResp = { type: ReqType.RESTORE, success: true, restore: { pid: 1 } };
    service.engine('receive', 'until told', sends(restored));
    const swrk = new Swrk(service.address, { inherited: [file] });
    swrk.client.send({
      type: ReqType.RESTORE,
      opts: { images_dir_fd: -1, inherit_fd: [{ key: 'k', fd: 4 }] },
    });
    await untilAsked();
    assert.equal(readlinkSync(`/proc/${service.children()[0]}/fd/4`), '/dev/zero');
    service.tell();
    assert.deepEqual(await swrk.client.all(), [restored]);
    closeSync(file);
  });

  it('passes on notifications with their descriptors, and returns the answers', async () => {
    service.engine(
      'receive',
      sends(notification),
      'receive',
      sends(notification, true),
      'receive',
      sends(dumped),
    );
    const swrk = new Swrk(service.address);
    swrk.client.send(dump);
    assert.deepEqual(await swrk.client.next(), { reply: notification, fds: 0 });
    swrk.client.send(answer);
    assert.deepEqual(await swrk.client.next(), { reply: notification, fds: 1 });
    swrk.client.send(answer);
    assert.deepEqual(await swrk.client.all(), [dumped]);
    assert.equal(service.received().length, 3);
    assert.equal((await swrk.ended()).status, 0);
  });

  it('serves the requests of a series on one connection, and holds the directory of the last alone', async () => {
    const preDumped: CriuResp = { type: ReqType.PRE_DUMP, success: true };
    service.engine('receive', sends(preDumped), 'receive', sends(preDumped), 'receive', sends(dumped));
    const directory = openSync(service.directory, 'r');
    const swrk = new Swrk(service.address);
    const opts = { images_dir_fd: directory, pid: 2 };
    for (let round = 1; round <= 2; round += 1) {
      swrk.client.send({ type: ReqType.PRE_DUMP, opts });
      assert.deepEqual(await swrk.client.next(), { reply: preDumped, fds: 0 });
      const held = readdirSync(`/proc/${swrk.pid}/fd`).map((fd) =>
        readlinkSync(`/proc/${swrk.pid}/fd/${fd}`),
      );
      assert.equal(held.filter((path) => path === realpathSync(service.directory)).length, 1);
    }
    swrk.client.send({ type: ReqType.DUMP, opts });
    assert.deepEqual(await swrk.client.all(), [dumped]);
    assert.equal((await swrk.ended()).status, 0);
    closeSync(directory);
  });

  it('refuses a dump of its own program, or of a tree around it, and names the socket', async () => {
    for (const target of [undefined, process.pid, process.ppid]) {
      for (const type of [ReqType.DUMP, ReqType.PRE_DUMP, ReqType.SINGLE_PRE_DUMP]) {
        service.engine('receive', sends(dumped));
        const swrk = new Swrk(service.address);
        const opts = { images_dir_fd: -1, ...(target === undefined ? {} : { pid: target }) };
        const reply = await swrk.client.ask({ type, opts });
        assert.deepEqual([reply.type, reply.success, reply.cr_errno], [type, false, 56]);
        assert.ok(reply.cr_errmsg!.includes(`a program that dumps itself connects to ${service.address}`));
        assert.equal((await swrk.ended()).status, 1);
        assert.deepEqual(service.received(), []);
      }
    }
  });

  it('tells the service when its program goes, so that CRIU rolls back where it waits for an answer', async () => {
    service.engine('receive', sends(notification), 'receive');
    const swrk = new Swrk(service.address);
    swrk.client.send(dump);
    await swrk.client.next();
    swrk.client.close();
    await eventually('the engine has read the end', () => service.received()[1] === 'eof');
    assert.equal((await swrk.ended()).status, 1);
  });

  it('gives the reply to a program that has closed its sending half', async () => {
    service.engine('receive', 'until told', sends(dumped));
    const swrk = new Swrk(service.address);
    swrk.client.send(dump);
    await untilAsked();
    swrk.client.shutdownWrite();
    service.tell();
    assert.deepEqual(await swrk.client.all(), [dumped]);
    assert.deepEqual(await swrk.ended(), { status: 0, stderr: '' });
  });

  it('stays until the service has told the outcome, also if its program goes meanwhile', async () => {
    const failed = { ...dumped, success: false, cr_errmsg: 'it is on fire' };
    service.engine('receive', 'until told', sends(failed));
    const swrk = new Swrk(service.address);
    swrk.client.send(dump);
    await untilAsked();
    swrk.client.close();
    service.tell();
    assert.deepEqual(await swrk.ended(), { status: 1, stderr: 'criu: it is on fire\n' });
  });

  it('reads no settings of Node’s from the environment of its program', async () => {
    service.engine('receive', sends(dumped));
    const swrk = new Swrk(service.address, { env: { NODE_OPTIONS: '--require /nonexistent/module' } });
    assert.deepEqual(await swrk.client.ask(dump), dumped);
    assert.equal((await swrk.ended()).status, 0);
  });

  it('ends with status 1 if it is asked nothing', async () => {
    const swrk = new Swrk(service.address);
    swrk.client.close();
    assert.deepEqual(await swrk.ended(), { status: 1, stderr: 'criu: nothing was asked\n' });
  });

  it('gives what is no request a failing reply of the service', async () => {
    const swrk = new Swrk(service.address);
    const [reply] = await swrk.client.sendBytes(Buffer.from([0xff, 0xff])).all();
    assert.deepEqual([reply!.type, reply!.success], [ReqType.EMPTY, false]);
    const { status, stderr } = await swrk.ended();
    assert.deepEqual([status, stderr], [1, `criu: ${reply!.cr_errmsg}\n`]);
  });

  it('answers a request with a sentence if there is no service', async () => {
    const swrk = new Swrk('/nonexistent/socket');
    const reply = await swrk.client.ask({ type: ReqType.PAGE_SERVER_CHLD, opts: { images_dir_fd: -1 } });
    // The type that this request is answered with.
    assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.PAGE_SERVER, false, 2]);
    assert.match(
      reply.cr_errmsg!,
      /^Cannot connect to \/nonexistent\/socket: .*systemctl enable --now criu\.socket/,
    );
    assert.equal((await swrk.ended()).status, 1);
  });

  it('refuses a descriptor that is no connection with a sentence', () => {
    const stream =
      "import socket,sys,subprocess; a,b=socket.socketpair(); b.set_inheritable(True); sys.exit(subprocess.run([sys.argv[1],'swrk',str(b.fileno())],close_fds=False).returncode)";
    for (const [file, argv, words] of [
      [dropIn, ['swrk', '900'], '900 is no open descriptor'],
      [dropIn, ['swrk', '0'], 'descriptor 0 is no end of a SEQPACKET socket pair (unix(7))'],
      [dropIn, ['swrk', 'x'], 'usage: criu swrk FD, where FD is one end of a SEQPACKET socket pair'],
      [dropIn, ['swrk'], 'usage: criu swrk FD, where FD is one end of a SEQPACKET socket pair'],
      [dropIn, ['swrk', '3', '4'], 'usage: criu swrk FD, where FD is one end of a SEQPACKET socket pair'],
      ['python3', ['-c', stream, dropIn], 'no end of a SEQPACKET socket pair (unix(7))'],
    ] as const) {
      const { status, stderr } = spawnSync(file, argv, { encoding: 'utf8' });
      assert.equal(status, 1, argv.join(' '));
      assert.ok(stderr.startsWith('criu: ') && stderr.endsWith(`${words}\n`), stderr);
    }
  });
});

describe('criu swrk of the drop-in, and a service that ends', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criu-drop-in-'));
  const address = join(directory, 'socket');
  let listener: SeqpacketSocket;

  beforeEach(() => {
    rmSync(address, { force: true });
    listener = native.listen(address, 0o600, 8);
  });

  afterEach(() => listener.close());

  after(() => rmSync(directory, { recursive: true }));

  /** The next connection, once a request waits in it. */
  async function asked(): Promise<SeqpacketSocket> {
    await new Promise<void>((resolve) => {
      listener.watch(Watch.readable, () => {
        listener.watch(0);
        resolve();
      });
    });
    const connection = listener.accept()!;
    await eventually('a request waits', () => connection.peek(0).kind === 'packet');
    return connection;
  }

  it('asks the next one if the request was not read', async () => {
    const swrk = new Swrk(address);
    swrk.client.send(dump);
    (await asked()).close();
    const connection = await asked();
    assert.equal(optsIn(connection.receive(4096)?.data).pid, 2);
    connection.send(encodeResponse(dumped));
    connection.close();
    assert.deepEqual(await swrk.client.all(), [dumped]);
    assert.equal((await swrk.ended()).status, 0);
  });

  it('says so if the request was read', async () => {
    const swrk = new Swrk(address);
    swrk.client.send(dump);
    const connection = await asked();
    connection.receive(4096);
    connection.close();
    const [reply] = await swrk.client.all();
    assert.match(
      reply!.cr_errmsg!,
      /has closed the connection without a reply: CRIU may have finished or not/,
    );
    assert.equal((await swrk.ended()).status, 1);
  });

  it('says so, too, if the service ends in the middle of a dialog', async () => {
    const swrk = new Swrk(address);
    swrk.client.send(dump);
    const connection = await asked();
    connection.receive(4096);
    connection.send(encodeResponse(notification));
    assert.deepEqual(await swrk.client.next(), { reply: notification, fds: 0 });
    connection.close();
    const [reply] = await swrk.client.all();
    assert.match(reply!.cr_errmsg!, /without a reply: CRIU may have finished or not/);
    assert.equal((await swrk.ended()).status, 1);
  });

  it('is not asked by root if it is another user’s', async function () {
    if (process.geteuid!() !== 0) cannotShow(this, 'only root can start a service of another user’s');
    listener.close();
    const script =
      'import os,socket,sys; os.setuid(65534); s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(1); print("ready",flush=True); sys.stdin.read()';
    rmSync(address, { force: true });
    chmodSync(directory, 0o777);
    const other = spawn('python3', ['-c', script, address], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await once(other.stdout, 'data');
      const swrk = new Swrk(address);
      const reply = await swrk.client.ask(dump);
      assert.equal(
        reply.cr_errmsg,
        'The service belongs to user 65534, and root asks only a service of root’s',
      );
      assert.equal((await swrk.ended()).status, 1);
    } finally {
      const over = once(other, 'exit');
      other.stdin.end();
      await over;
    }
  });
});

describe('any other command of the drop-in', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criu-path-'));
  // A name that a shell could take for the other.
  const real = join(directory, '[r]', 'criu');
  const other = join(directory, 'r', 'criu');

  before(() => {
    for (const [file, word] of [
      [real, 'real'],
      [other, 'other'],
    ] as const) {
      mkdirSync(dirname(file));
      writeFileSync(file, `#!/bin/sh\nprintf "<%s>" ${word} "$@"\nexit 5\n`);
      chmodSync(file, 0o755);
    }
    symlinkSync(dropIn, join(directory, 'criu'));
  });

  after(() => rmSync(directory, { recursive: true }));

  const run = (file: string, path: string, ...argv: string[]) =>
    spawnSync(file, argv, { encoding: 'utf8', env: { PATH: path } });

  it('is executed by the next criu of the PATH, with the same arguments', () => {
    const path = `${dirname(dropIn)}:${directory}/missing:${dirname(real)}`;
    const { status, stdout } = run(dropIn, path, 'dump', '-t', '1 2', '', '*');
    assert.deepEqual([status, stdout], [5, '<real><dump><-t><1 2><><*>']);
  });

  it('is executed by a criu behind the drop-in, so that two copies of it do not execute each other', () => {
    const copies = ['a', 'b'].map((name) => join(directory, name));
    for (const copy of copies) {
      mkdirSync(copy);
      copyFileSync(dropIn, join(copy, 'criu'));
      chmodSync(join(copy, 'criu'), 0o755);
    }
    const path = [...copies, dirname(real)].join(':');
    assert.equal(run(join(copies[0]!, 'criu'), path, '--version').stdout, '<real><--version>');
  });

  it('is refused if the next criu executes the drop-in again', () => {
    const wrapper = join(directory, 'wrapper', 'criu');
    mkdirSync(dirname(wrapper));
    writeFileSync(wrapper, `#!/bin/sh\nexec ${dropIn} "$@"\n`);
    chmodSync(wrapper, 0o755);
    const { status, stderr } = run(dropIn, dirname(wrapper), 'dump');
    assert.deepEqual([status, /only the drop-in/.test(stderr)], [127, true], stderr);
  });

  it('is executed by that criu also if the drop-in was started by a link, as is criu swrk', () => {
    const link = join(directory, 'criu');
    assert.equal(run(link, `${directory}:${dirname(real)}`, '--version').stdout, '<real><--version>');
    assert.match(run(link, process.env.PATH!, 'swrk', '900').stderr, /^criu: 900 is no open descriptor$/m);
  });

  it('fails with a sentence where there is no criu', function () {
    if (existsSync('/usr/sbin/criu') || existsSync('/usr/local/sbin/criu'))
      cannotShow(this, 'this machine has a criu');
    const { status, stderr } = run(dropIn, dirname(dropIn), 'check');
    assert.equal(status, 127);
    assert.match(stderr, /^criu: .* no criu$/m);
  });
});
