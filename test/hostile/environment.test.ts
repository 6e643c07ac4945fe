/** Environment, files and names around alice's process: engines see nothing of them. */
import assert from 'node:assert/strict';
import { chownSync, copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary, succeeds } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { Attacker, connection } from './support/attacker.ts';
import { assertServed, it } from './support/guarantee.ts';
import { directoryOf, Script, targetOf, uids } from './support/people.ts';

/** alice dumps a process of hers with these variables in her environment. */
async function dumpWithEnvironment(env: Record<string, string>): Promise<void> {
  const target = targetOf('alice');
  const alice = new Attacker('alice', { env });
  await alice.do('open', 10, 0, directoryOf('alice'));
  const reply = await alice.ask(
    { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: target.pid, leave_running: true } },
    ourAddress,
  );
  assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
}

/** Runs the criu program with these variables, as a service that passed them on would. */
function criuWith(env: Record<string, string>): void {
  const target = targetOf('alice');
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const images = directoryOf('root');
  // The dump may fail: scripts and libraries run before CRIU looks at the process.
  succeeds(
    'env',
    ...variables,
    'criu',
    'dump',
    '--tree',
    String(target.pid),
    '--images-dir',
    images,
    '--leave-running',
  );
}

describe('the environment of a caller', () => {
  it('gives engines no configuration, and neither does a file in the home directory', async () => {
    const script = new Script();
    const home = directoryOf('alice');
    mkdirSync(join(home, '.criu'));
    copyFileSync(script.config, join(home, '.criu', 'default.conf'));
    // The real home directory, too: a program without HOME looks there.
    mkdirSync('/home/alice/.criu', { recursive: true });
    copyFileSync(script.config, '/home/alice/.criu/default.conf');
    chownSync('/home/alice/.criu', uids.alice, uids.alice);
    try {
      await dumpWithEnvironment({ HOME: home, CRIU_CONFIG_FILE: script.config });
      await dumpWithEnvironment({ HOME: home });
      assert.equal(script.ran, false);
      criuWith({ CRIU_CONFIG_FILE: script.config });
      assert.equal(script.ranAsRoot, true, 'the attack does not bite: CRIU_CONFIG_FILE');
    } finally {
      rmSync('/home/alice/.criu', { recursive: true });
    }
    const atHome = new Script();
    copyFileSync(atHome.config, join(home, '.criu', 'default.conf'));
    criuWith({ HOME: home });
    assert.equal(atHome.ranAsRoot, true, 'the attack does not bite: ~/.criu/default.conf');
  });

  it('preloads nothing into an engine, and gives it no plugin directory', async () => {
    const directory = directoryOf('alice', 0o777);
    const mark = join(directory, 'mark');
    const library = join(directory, 'mark.so');
    copyFileSync(binary('mark.so'), library);
    const env = {
      MARK: mark,
      LD_PRELOAD: library,
      CRIU_LIBS_DIR: directory,
      LD_LIBRARY_PATH: directory,
      LD_AUDIT: library,
    };
    // The client itself preloads the library; only traces that it leaves later count.
    const target = targetOf('alice');
    const alice = new Attacker('alice', { env: { MARK: mark } });
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('setenv', ...Object.entries(env).map(([name, value]) => `${name}=${value}`));
    await alice.do('exec', binary('attacker'));
    assert.equal(await alice.do('pid'), String(alice.pid));
    rmSync(mark);
    const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true };
    const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    assert.equal(existsSync(mark), false);
    criuWith(env);
    assert.equal(existsSync(mark), true, 'the attack does not bite: LD_PRELOAD');
  });
});

// No bite: CRIU's own service does not read the name either. A service that wrote it into a record, or into a status for systemd,
// would publish lines and fields that the caller made up.
describe('the name of a caller’s socket', () => {
  const names: Record<string, string> = {
    'that of root’s clients': Buffer.from('/org/freedesktop/systemd1').toString('hex'),
    'a line of systemd’s protocol': Buffer.from('\nSTATUS=owned\nSTOPPING=1\nMAINPID=1\n').toString('hex'),
    'as long as a name can be': Buffer.alloc(107, '%n').toString('hex'),
    'bytes that are no text': Buffer.alloc(107, 0xff).toString('hex'),
  };
  for (const [kind, name] of Object.entries(names)) {
    it(`is ignored by the service (${kind})`, async () => {
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      await alice.do('connect', connection, ourAddress, name);
      await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
      const reply = await alice.receive();
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      await assertServed('bob');
    });
  }
});
