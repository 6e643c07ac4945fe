import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { version } from '../../src/version.ts';
import { Client, sends } from './support/client.ts';
import { eventually, program, ServiceUnderTest } from './support/service.ts';

function run(...options: string[]) {
  return spawnSync(process.execPath, [program, ...options], { encoding: 'utf8', timeout: 120_000 });
}

describe('command line', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-startup-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  it('--help and --version print and succeed', () => {
    const help = run('--help');
    assert.equal(help.status, 0);
    for (const option of [
      '--address',
      '--pid-file',
      '--daemon',
      '--log-file',
      '--work-dir',
      '--status-fd',
      '-v',
    ]) {
      assert.ok(help.stdout.includes(option), option);
    }
    assert.equal(run('--version').stdout, `criu-service ${version}\n`);
  });

  it('the version is the same as in package.json', () => {
    assert.equal(JSON.parse(readFileSync('package.json', 'utf8')).version, version);
  });

  it('a wrong option is an error that names it, with status 2', () => {
    for (const [words, message] of [
      [['--nonsense'], /nonsense/],
      [['-v', 'loud'], /level/],
      [['--request-timeout', '0'], /request-timeout/],
      [['--status-fd', 'x'], /status-fd/],
      [['dump'], /unknown command 'dump'/],
    ] as const) {
      const { status, stderr } = run(...words);
      assert.equal(status, 2, words.join(' '));
      assert.match(stderr, message);
    }
  });

  it('-d returns when the service answers, and leaves a pid file; SIGTERM removes all of its files', async () => {
    const address = join(directory, 'background');
    const started = run(
      'service',
      '-d',
      '-v4',
      '-W',
      directory,
      '--address',
      'background',
      '--pidfile',
      'pid',
      '-o',
      'log',
    );
    assert.equal(started.status, 0, started.stderr);
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
    const reply = await new Client(address).ask({ type: ReqType.EMPTY });
    assert.equal(reply.success, false);
    await eventually('the log says so', () => readFileSync(join(directory, 'log'), 'utf8').includes('Ready'));
    process.kill(pid, 'SIGTERM');
    await eventually('its files are gone', () => !existsSync(address) && !existsSync(join(directory, 'pid')));
  });

  it('-d fails with the reason when the service cannot start', () => {
    const started = run('-d', '--address', join(directory, 'no', 'such', 'directory'));
    assert.equal(started.status, 1);
    assert.match(started.stderr, /^criu-service: Cannot listen on .*No such file or directory/);
  });

  it('an existing pid file is left alone', () => {
    const pidFile = join(directory, 'taken');
    writeFileSync(pidFile, '1');
    const { status, stderr } = run('--address', join(directory, 'x'), '--pid-file', pidFile);
    assert.equal(status, 1);
    assert.match(stderr, /pid file/);
    assert.equal(readFileSync(pidFile, 'utf8'), '1');
    assert.ok(!existsSync(join(directory, 'x')));
  });
});

describe('the socket that the service binds itself', () => {
  it('accepts connections of all users, like CRIU’s own', async () => {
    const service = await new ServiceUnderTest().start();
    assert.equal(statSync(service.address).mode & 0o777, 0o666);
    await service.stop();
  });

  it('replaces a stale socket', async () => {
    const service = new ServiceUnderTest();
    const stale = spawnSync('python3', [
      '-c',
      `import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind(${JSON.stringify(service.address)})`,
    ]);
    assert.equal(stale.status, 0);
    await service.start();
    service.engine('receive', sends({ type: ReqType.VERSION, success: true }));
    assert.equal((await new Client(service.address).ask({ type: ReqType.VERSION })).success, true);
    await service.stop();
  });

  it('does not replace a live socket, of the service or of another kind', async () => {
    const service = await new ServiceUnderTest().start();
    const second = run('--address', service.address);
    assert.equal(second.status, 1);
    assert.match(second.stderr, /Another process listens/);
    assert.ok(existsSync(service.address), 'the socket of the first is still there');
    await service.stop();

    const directory = mkdtempSync(join(tmpdir(), 'criu-startup-'));
    const path = join(directory, 'stream');
    const stream = createServer().listen(path);
    await new Promise((resolve) => stream.once('listening', resolve));
    assert.match(run('--address', path).stderr, /Another process listens/);
    stream.close();
    rmSync(directory, { recursive: true });
  });

  it('does not replace a file that is no socket', () => {
    const directory = mkdtempSync(join(tmpdir(), 'criu-startup-'));
    const path = join(directory, 'file');
    writeFileSync(path, 'precious');
    assert.match(run('--address', path).stderr, /is no socket/);
    assert.equal(readFileSync(path, 'utf8'), 'precious');
    rmSync(directory, { recursive: true });
  });

  it('refuses a path that does not fit a socket address', () => {
    assert.match(run('--address', `/tmp/${'x'.repeat(120)}`).stderr, /File name too long/);
  });
});

describe('socket activation', () => {
  /** Does systemd's steps between fork and exec. */
  const activated = (python: string) => `import os, socket
${python}
for number, each in enumerate(passed):
    os.dup2(each if isinstance(each, int) else each.fileno(), 3 + number)
    os.set_inheritable(3 + number, True)
os.environ['LISTEN_FDS'] = str(len(passed))
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv('${process.execPath}', ['node', '${program}'])`;

  const wrong: [string, string, RegExp][] = [
    ['no socket at all', 'passed = []', /passed 0 sockets/],
    [
      'two sockets',
      'a = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); a.bind(""); a.listen(); b = socket.socket(); passed = [a, b]',
      /passed 2 sockets/,
    ],
    ['a file', 'passed = [os.open("/dev/null", os.O_RDONLY)]', /is no socket/],
    [
      'a stream socket',
      'a = socket.socket(socket.AF_UNIX); a.bind(""); a.listen(); passed = [a]',
      /no SEQPACKET/,
    ],
    ['an internet socket', 'a = socket.socket(); a.listen(); passed = [a]', /no SEQPACKET/],
    [
      'a socket that does not listen',
      'a = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); a.bind(""); passed = [a]',
      /does not listen/,
    ],
  ];
  for (const [what, python, message] of wrong) {
    it(`with ${what} is a clear error, with an exit status`, () => {
      const { status, stderr } = spawnSync('python3', ['-c', activated(python)], {
        encoding: 'utf8',
        timeout: 120_000,
      });
      assert.equal(status, 1);
      assert.match(stderr, message);
    });
  }

  it('meant for another process is ignored: the service binds its own socket', () => {
    const directory = mkdtempSync(join(tmpdir(), 'criu-startup-'));
    writeFileSync(join(directory, 'file'), '');
    const { stderr } = spawnSync(process.execPath, [program, '--address', join(directory, 'file')], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, LISTEN_FDS: '1', LISTEN_PID: '1' },
      timeout: 120_000,
    });
    assert.match(stderr, /is no socket: it is left alone/);
    rmSync(directory, { recursive: true });
  });
});
