/** The client library and a scripted peer, as its private engine or behind the service. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuClient, type CriuError, type CriuErrorCode, isCriuError } from '../../src/client/index.ts';
import { native, Watch } from '../../src/native/binding.ts';
import { decodeRequest, encodeResponse } from '../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

const interpreter = join(import.meta.dirname, '..', '..', 'build', 'test', 'scripted-engine');

/** A private engine that follows these steps, and the packets that it has received. */
class Scripted {
  readonly directory = mkdtempSync(join(tmpdir(), 'criu-client-'));
  readonly #script = join(this.directory, 'engine');
  readonly client: CriuClient;

  constructor(...steps: string[]) {
    writeFileSync(this.#script, [`#!${interpreter}`, ...steps, ''].join('\n'));
    chmodSync(this.#script, 0o755);
    this.client = new CriuClient({ criu: this.#script });
  }

  get received(): (CriuReq | 'eof')[] {
    const log = `${this.#script}.log`;
    if (!existsSync(log)) return [];
    const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => {
      if (line === 'eof') return 'eof';
      const decoded = decodeRequest(Buffer.from(line, 'hex'), 'strict');
      assert.ok(decoded.kind === 'request');
      // Empty lists are absent on the wire.
      return JSON.parse(JSON.stringify(decoded.message), (_, value) =>
        Array.isArray(value) && value.length === 0 ? undefined : value,
      );
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}

const notification = (script: string, pid?: number): CriuResp => ({
  type: ReqType.NOTIFY,
  success: true,
  notify: { script, ...(pid === undefined ? {} : { pid }) },
});
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const dumpFailed: CriuResp = { type: ReqType.DUMP, success: false, dump: { restored: false } };

async function rejected(promise: Promise<unknown>, code: CriuErrorCode): Promise<CriuError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isCriuError(error, code), `${error}`);
    return error;
  }
  assert.fail(`It was resolved instead of being rejected with ${code}`);
}

const openFds = (): number => readdirSync('/proc/self/fd').length;

describe('the client library', () => {
  let fds = 0;
  let scripted: Scripted;
  const script = (...steps: string[]): CriuClient => {
    scripted = new Scripted(...steps);
    return scripted.client;
  };
  beforeEach(() => {
    fds = openFds();
  });
  afterEach(async () => {
    scripted?.remove();
    scripted = undefined!;
    await eventually('no descriptor is left', () => openFds() <= fds);
  });

  it('sends the options under rpc.proto’s names, with directories as open descriptors', async () => {
    const client = script('receive', sends(dumped));
    const { directory } = scripted;
    const handle = await open(directory);
    const number = openSync(directory, 'r');
    const result = await client.dump({
      pid: 7,
      imagesDir: handle,
      workDir: number,
      leaveRunning: true,
      logFile: 'x',
    });
    assert.deepEqual(result, { restored: false });
    const [request] = scripted.received;
    assert.deepEqual(request, {
      type: ReqType.DUMP,
      opts: { images_dir_fd: handle.fd, work_dir_fd: number, pid: 7, leave_running: true, log_file: 'x' },
    });
    // An open handle stays with its owner.
    await handle.stat();
    await handle.close();
    closeSync(number);
  });

  it('acknowledges a notification without a handler, and calls the handler of any other', async () => {
    const steps = ['pre-restore', 'setup-namespaces', 'a-new-one'].flatMap((name) => [
      sends(notification(name, name === 'setup-namespaces' ? 9 : undefined)),
      'receive',
    ]);
    const client = script(
      'receive',
      ...steps,
      sends({ type: ReqType.RESTORE, success: true, restore: { pid: 9 } }),
    );
    const heard: unknown[] = [];
    const result = await client.restore({
      imagesDir: scripted.directory,
      notifications: {
        any: ({ script }) => void heard.push(script),
        setupNamespaces: async ({ pid }) => void heard.push(pid),
      },
    });
    assert.deepEqual(result, { pid: 9 });
    assert.deepEqual(heard, ['pre-restore', 'setup-namespaces', 9, 'a-new-one']);
    const [request, ...answers] = scripted.received;
    assert.equal(request !== 'eof' && request?.opts?.notify_scripts, true);
    assert.deepEqual(answers, Array(3).fill({ type: ReqType.NOTIFY, notify_success: true }));
  });

  it('tells CRIU that a handler threw, waits for its reply, and rejects with that error', async () => {
    const client = script(
      'receive',
      sends(notification('post-dump')),
      'receive',
      sends({ ...dumpFailed, cr_errno: 5 }),
    );
    const thrown = new Error('the network is down');
    const error = await rejected(
      client.dump({
        pid: 7,
        imagesDir: scripted.directory,
        notifications: {
          postDump: () => {
            throw thrown;
          },
        },
      }),
      'NOTIFICATION',
    );
    assert.deepEqual(scripted.received[1], { type: ReqType.NOTIFY, notify_success: false });
    assert.equal(error.cause, thrown);
    assert.match(error.message, /post-dump failed: the network is down/);
    assert.equal(error.errno, 5);
  });

  it('answers which files are external, and fails the dump if a handler answers anything else', async () => {
    const asked = (files: unknown) =>
      script('receive', sends(notification('query-ext-files')), 'receive', sends(dumped)).dump({
        pid: 7,
        imagesDir: scripted.directory,
        notifications: { queryExtFiles: async () => files as readonly string[] },
      });
    await asked(['file[1a:2b]', 'unix[9]']);
    assert.deepEqual(scripted.received[1], {
      type: ReqType.NOTIFY,
      notify_success: true,
      opts: { images_dir_fd: -1, external: ['file[1a:2b]', 'unix[9]'] },
    });
    await asked([]);
    assert.deepEqual(scripted.received[1], { type: ReqType.NOTIFY, notify_success: true });
    const error = await rejected(asked('file[1a:2b]'), 'NOTIFICATION');
    assert.match(error.message, /query-ext-files failed: queryExtFiles returns a list of texts/);
    assert.deepEqual(scripted.received[1], { type: ReqType.NOTIFY, notify_success: false });
  });

  it('gives the master end of a terminal to its handler, and closes it if there is no handler', async () => {
    const steps = [sends(notification('orphan-pts-master'), true), 'receive'];
    const client = script(
      'receive',
      ...steps,
      ...steps,
      sends({ type: ReqType.RESTORE, success: true, restore: { pid: 9 } }),
    );
    let calls = 0;
    await client.restore({
      imagesDir: scripted.directory,
      orphanPtsMaster: true,
      notifications: {
        orphanPtsMaster: (_, master) => {
          calls += 1;
          assert.ok(existsSync(`/proc/self/fd/${master.number}`));
          master.close();
        },
      },
    });
    assert.equal(calls, 2);
    scripted.remove();
    const other = script(
      'receive',
      ...steps,
      sends({ type: ReqType.RESTORE, success: true, restore: { pid: 9 } }),
    );
    await other.restore({ imagesDir: scripted.directory, orphanPtsMaster: true, notifications: {} });
  });

  it('lets CRIU read an end of file if it is aborted between two notifications', async () => {
    const client = script('receive', sends(notification('pre-dump')), 'receive', 'receive');
    const abort = new AbortController();
    const promise = client.dump({
      pid: 7,
      imagesDir: scripted.directory,
      signal: abort.signal,
      notifications: { preDump: () => void setImmediate(() => abort.abort('no time')) },
    });
    const error = await rejected(promise, 'ABORTED');
    assert.equal(error.cause, 'no time');
    await eventually('CRIU reads the end', () => scripted.received.at(-1) === 'eof');
  });

  it('does not wait for a handler after it was aborted', async () => {
    const client = script('receive', sends(notification('pre-dump')), 'receive');
    const abort = new AbortController();
    const promise = client.dump({
      pid: 7,
      imagesDir: scripted.directory,
      signal: abort.signal,
      notifications: {
        preDump: () => {
          setImmediate(() => abort.abort());
          return new Promise(() => {});
        },
      },
    });
    await rejected(promise, 'ABORTED');
    await eventually('CRIU reads the end', () => scripted.received.at(-1) === 'eof');
  });

  it('asks for notifications if it may have to abort', async () => {
    const client = script('receive', sends(dumped));
    await client.dump({ pid: 7, imagesDir: scripted.directory, signal: new AbortController().signal });
    const [request] = scripted.received;
    assert.equal(request !== 'eof' && request?.opts?.notify_scripts, true);
  });

  it('starts nothing if it was aborted before', async () => {
    const client = script('receive', sends(dumped));
    await rejected(
      client.dump({ pid: 7, imagesDir: scripted.directory, signal: AbortSignal.abort() }),
      'ABORTED',
    );
    assert.deepEqual(
      scripted.received.filter((each) => each !== 'eof'),
      [],
    );
  });

  it('rejects with CRIU’s sentence about a failure, and the path of its log', async () => {
    const client = script(
      'receive',
      sends({
        type: ReqType.RESTORE,
        success: false,
        restore: { pid: -1 },
        cr_errno: 17,
        cr_errmsg: 'Error (x.c:1): taken',
      }),
    );
    const error = await rejected(
      client.restore({ imagesDir: scripted.directory, logFile: 'restore.log' }),
      'FAILED',
    );
    assert.deepEqual(
      [error.errno, error.errnoName, error.expected, error.received, error.criuMessage, error.log],
      [17, 'EEXIST', 'RESTORE', 'RESTORE', 'Error (x.c:1): taken', join(scripted.directory, 'restore.log')],
    );
  });

  it('names the type of a wrong reply', async () => {
    const client = script('receive', sends({ type: ReqType.VERSION, success: true }));
    const error = await rejected(client.check(), 'PROTOCOL');
    assert.deepEqual([error.expected, error.received], ['CHECK', 'VERSION']);
  });

  it('takes CRIU’s answer to an unreadable request as a failure', async () => {
    const client = script(
      'receive',
      sends({ type: ReqType.EMPTY, success: false, cr_errno: os.errno.EINVAL }),
    );
    const error = await rejected(client.check(), 'FAILED');
    assert.deepEqual([error.expected, error.received, error.errnoName], ['CHECK', 'EMPTY', 'EINVAL']);
  });

  it('rejects a malformed reply', async () => {
    const client = script('receive', 'send ff');
    assert.match((await rejected(client.check(), 'PROTOCOL')).message, /no criu_resp/);
  });

  it('passes on the last words of an engine that ends without a reply', async () => {
    const client = script('receive', 'stderr It hurts', 'kill 9');
    assert.match((await rejected(client.check(), 'CLOSED')).message, /signal 9; its last words: It hurts/);
  });

  it('runs a series of pre-dumps and the dump that ends it on one connection', async () => {
    const round: CriuResp = { type: ReqType.PRE_DUMP, success: true };
    const client = script('receive', sends(round), 'receive', sends(round), 'receive', sends(dumped));
    const images = scripted.directory;
    const seen: number[] = [];
    for await (const { number, next, dump } of client.preDump({
      pid: 7,
      imagesDir: images,
      trackMem: true,
    })) {
      seen.push(number);
      if (number === 1) next({ parentImg: '../1' });
      else assert.deepEqual(await dump({ parentImg: '../2', trackMem: false }), { restored: false });
    }
    assert.deepEqual(seen, [1, 2]);
    const said = scripted.received.map(
      (each) => each !== 'eof' && [each.type, each.opts?.pid, each.opts?.parent_img, each.opts?.track_mem],
    );
    assert.deepEqual(said, [
      [ReqType.PRE_DUMP, 7, undefined, true],
      [ReqType.PRE_DUMP, 7, '../1', true],
      [ReqType.DUMP, 7, '../2', false],
    ]);
  });

  it('ends a series of pre-dumps when its loop is left', async () => {
    const client = script('receive', sends({ type: ReqType.PRE_DUMP, success: true }), 'receive');
    for await (const { number } of client.preDump({ pid: 7, imagesDir: scripted.directory })) {
      assert.equal(number, 1);
      break;
    }
    await eventually('CRIU reads the end', () => scripted.received.at(-1) === 'eof');
  });

  it('passes descriptors to its private engine under the numbers that CRIU looks up', async () => {
    const client = script('receive', sends({ type: ReqType.RESTORE, success: true, restore: { pid: 9 } }));
    const fd = openSync('/dev/null', 'r');
    await client.restore({ imagesDir: scripted.directory, inheritFd: [{ key: 'a', fd }] });
    closeSync(fd);
    const error = await rejected(
      client.restore({ imagesDir: scripted.directory, inheritFd: [{ key: 'a', fd: 9999 }] }),
      'INVALID',
    );
    assert.match(error.message, /9999 is no open descriptor/);
  });

  it('fails before it starts anything if a directory is missing, or an option is wrong', async () => {
    const client = script('receive');
    const missing = join(scripted.directory, 'missing');
    const error = await rejected(client.dump({ pid: 7, imagesDir: missing }), 'DIRECTORY');
    assert.equal(error.errnoName, 'ENOENT');
    assert.ok(error.message.includes(missing));
    await rejected(client.dump({ pid: 0.5, imagesDir: scripted.directory }), 'INVALID');
    await rejected(client.dump({ imagesDir: scripted.directory }), 'INVALID');
    assert.deepEqual(
      scripted.received.filter((each) => each !== 'eof'),
      [],
    );
  });

  it('reports an address without a listener, and a missing criu', async () => {
    const error = await rejected(new CriuClient({ address: '/nobody/listens' }).version(), 'UNREACHABLE');
    assert.equal(error.errnoName, 'ENOENT');
    assert.match(error.message, /\/nobody\/listens/);
    await rejected(new CriuClient({ criu: '/no/criu' }).version(), 'UNREACHABLE');
  });
});

describe('the client library at a service', () => {
  const service = new ServiceUnderTest();
  before(() => service.start());
  after(() => service.stop());

  it('gets answers to its verbs', async () => {
    const client = new CriuClient({ address: service.address });
    service.engine(
      'receive',
      sends({
        type: ReqType.VERSION,
        success: true,
        version: { major_number: 4, minor_number: 1, sublevel: 1 },
      }),
    );
    assert.deepEqual(await client.version(), { major: 4, minor: 1, sublevel: 1 });
    service.engine(
      'receive',
      sends({
        type: ReqType.FEATURE_CHECK,
        success: true,
        features: { mem_track: false, pidfd_store: true },
      }),
    );
    assert.deepEqual(await client.features(), { memTrack: false, lazyPages: false, pidfdStore: true });
    service.engine('receive', sends({ type: ReqType.PAGE_SERVER, success: true, ps: { port: 27, pid: 0 } }));
    assert.deepEqual(await client.pageServer({ imagesDir: service.directory }), { port: 27, pid: 0 });
    service.engine('receive', sends({ type: ReqType.CPUINFO_DUMP, success: true }));
    await client.cpuinfoDump({ imagesDir: service.directory });
    service.engine('receive', sends({ type: ReqType.CPUINFO_CHECK, success: false, cr_errno: 1 }));
    await rejected(client.cpuinfoCheck({ imagesDir: service.directory }), 'FAILED');
  });

  it('asks for no notifications for a dump of itself, because it could not answer them', async () => {
    service.engine('receive', sends(dumped));
    const client = new CriuClient({ address: service.address });
    await client.dump({ imagesDir: service.directory, signal: new AbortController().signal });
    const [packet] = service.received();
    const decoded = decodeRequest(packet as Buffer, 'strict');
    assert.ok(decoded.kind === 'request');
    assert.ok(decoded.message.opts);
    assert.equal(decoded.message.opts.notify_scripts ?? false, false);
  });

  it('runs a series of pre-dumps and the dump that ends it on one connection', async () => {
    const round: CriuResp = { type: ReqType.PRE_DUMP, success: true };
    service.engine('receive', sends(round), 'receive', sends(round), 'receive', sends(dumped));
    const target = spawn('sleep', ['1000']);
    const client = new CriuClient({ address: service.address });
    for await (const each of client.preDump({ pid: target.pid, imagesDir: service.directory })) {
      if (each.number === 1) each.next({ parentImg: '../1' });
      else await each.dump({ parentImg: '../2' });
    }
    target.kill();
    assert.equal(service.received().length, 3);
  });

  it('reports an engine that has gone', async () => {
    service.engine('receive', 'kill 9');
    const error = await rejected(new CriuClient({ address: service.address }).check(), 'FAILED');
    assert.match(error.message, /ended by signal 9/);
  });
});

describe('the client library as a package', () => {
  const root = join(import.meta.dirname, '..', '..');

  it('has complete declarations: the example compiles with them', () => {
    // skipLibCheck is off there, so a declaration that needs another file of ours fails.
    execFileSync(join(root, 'node_modules', '.bin', 'tsc'), ['-p', join(root, 'examples', 'typescript')], {
      encoding: 'utf8',
    });
  });

  it('is found by its name, and loads only files of its own directory', () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'criu-package-'));
    try {
      mkdirSync(join(elsewhere, 'node_modules'));
      cpSync(join(root, 'build', 'client'), join(elsewhere, 'node_modules', 'criu-service'), {
        recursive: true,
      });
      const program = `
        import { CriuClient, isCriuError } from 'criu-service';
        new CriuClient({ address: '/nobody' }).version().catch((error) => console.log(isCriuError(error, 'UNREACHABLE')));`;
      writeFileSync(join(elsewhere, 'program.mjs'), program);
      const said = execFileSync(process.execPath, [join(elsewhere, 'program.mjs')], { encoding: 'utf8' });
      assert.equal(said, 'true\n');
    } finally {
      rmSync(elsewhere, { recursive: true });
    }
  });
});

describe('a request to services that are killed before they read it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criu-client-'));
  const address = join(directory, 'socket');
  const listener = native.listen(address, 0o600, 8);
  after(() => {
    listener.close();
    rmSync(directory, { recursive: true });
  });

  /** Answers each connection in turn; `killed` closes it with the request unread. */
  function serve(...answers: ('killed' | 'closed' | CriuResp)[]): { asked: number } {
    const served = { asked: 0 };
    listener.watch(Watch.readable, () => {
      const connection = listener.accept();
      if (!connection) return;
      const answer = answers[served.asked++] ?? 'closed';
      connection.watch(Watch.readable, () => {
        if (answer !== 'killed') connection.receive(4096);
        if (typeof answer === 'object') connection.send(encodeResponse(answer));
        connection.close();
      });
    });
    return served;
  }

  const version: CriuResp = {
    type: ReqType.VERSION,
    success: true,
    version: { major_number: 4, minor_number: 1 },
  };

  it('is sent again, because it was not begun', async () => {
    const served = serve('killed', 'killed', version);
    assert.equal((await new CriuClient({ address }).version()).major, 4);
    assert.equal(served.asked, 3);
  });

  it('is sent once if a service has read it, because it may have begun', async () => {
    const served = serve('closed', version);
    await assert.rejects(new CriuClient({ address }).version(), { code: 'CLOSED' });
    assert.equal(served.asked, 1);
  });

  it('is not repeated for ever', async () => {
    const served = serve(...Array.from({ length: 20 }, () => 'killed' as const));
    await assert.rejects(new CriuClient({ address }).version(), { code: 'CLOSED' });
    assert.equal(served.asked, 5);
  });
});
