/** The words for a failure: the line that says why, wherever CRIU wrote it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chownSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { messageIds } from '../../src/records/record-kinds.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, startCounting, type User, uids } from '../hostile/support/people.ts';
import { binary, eventually, freshDirectory, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { cursor, records } from './support/journal.ts';
import { childrenOf, isFree, statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

async function askAs(user: User, directory: string, message: CriuReq): Promise<CriuResp> {
  const asker = new Attacker(user);
  await asker.do('open', 10, 0, directory);
  const reply = await asker.ask(message, ourAddress);
  await asker.end();
  assert.ok(reply !== 'closed');
  return reply;
}

const restoreFrom10: CriuReq = { type: ReqType.RESTORE, opts: { images_dir_fd: 10, log_level: 4 } };

/** A dumped process of two threads, and a process that has the id of the second. */
async function withTakenThread(user: User): Promise<string> {
  const images = directoryOf(user);
  const trace = join(directoryOf(user), 'trace');
  const [file, ...argv] = [...as(user, ...(user === 'root' ? [] : unshackled())), binary('targets')];
  const pid = Number(run(file!, ...argv, 'breathe', trace));
  const second = readdirSync(`/proc/${pid}/task`).find((tid) => tid !== String(pid))!;
  must(criuctlAs(user, 'dump', `${pid}`, '-D', images));
  await eventually('the process is gone', () => isFree(pid));
  const count = join(freshDirectory(), 'count');
  new Target(Number(run(binary('targets'), 'at', second, count)), count);
  return images;
}

const taken = /pie: \d+: Error \(criu\/pie\/restorer\.c:\d+\): Unable to create a thread/;

describe('the reason of a failure', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`is the restorer’s line if it failed there, in ${user}’s reply and in the journal`, async () => {
      const images = await withTakenThread(user);
      const since = cursor();
      const reply = await askAs(user, images, restoreFrom10);
      assert.equal(reply.success, false);
      assert.match(reply.cr_errmsg ?? '', taken);
      const about = [`--after-cursor=${since}`, `MESSAGE_ID=${messageIds.failed}`, 'CRIU_REQUEST=RESTORE'];
      const [record] = await records(1, ...about);
      assert.match(record!.CRIU_ENGINE_LOG!.split('\n')[0]!, taken);
      assert.match(record!.CRIU_REASON!, taken);
    });
  }

  it('is told by the library of engines where CRIU would not notice', async () => {
    const images = directoryOf('alice');
    const bare = ['setpriv', '--reuid=alice', '--regid=alice', '--clear-groups', '--inh-caps=-all', '--'];
    const file = join(directoryOf('alice'), 'count');
    const pid = Number(run('setpriv', '--no-new-privs', ...bare, binary('counter'), file));
    const target = new Target(pid, file);
    run(bare[0]!, ...bare.slice(1), 'criuctl', 'dump', `${pid}`, '-D', images);
    await target.assertGone();
    const reply = await askAs('alice', images, restoreFrom10);
    assert.match(reply.cr_errmsg ?? '', /^The images are of a process without supplementary groups/);
  });

  it('is the directory in which no log can be written, with EACCES', async () => {
    const target = startCounting('alice', unshackled(), binary('counter'));
    const images = directoryOf('alice');
    must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', images));
    await target.assertGone();
    chownSync(images, uids.root, uids.root);
    run('find', images, '-name', '*.log', '-delete');
    const reply = await askAs('alice', images, restoreFrom10);
    const words = `The log criu.log cannot be written in ${images}: EACCES. Name a directory`;
    assert.equal(reply.cr_errmsg?.slice(0, words.length), words);
    assert.equal(reply.cr_errno, 13);
    const refused = criuctlAs('alice', 'restore', '-D', images);
    assert.match(refused.stderr, /RESTORE failed: The log restore\.log cannot be written in .*: EACCES.*-W/);
    must(criuctlAs('alice', 'restore', '-D', images, '-W', directoryOf('alice')));
    await target.assertCountsOn();
  });

  it('comes with the option that CRIU suggests on its standard output', async () => {
    const terminal = spawn('script', ['-qec', 'sleep 1000; true', '/dev/null'], { stdio: 'ignore' });
    try {
      // Its session is that of the shell, which is not dumped.
      const sleeping = () =>
        childrenOf(terminal.pid!)
          .flatMap(childrenOf)
          .find((pid) => statusLine(pid, 'Name') === 'sleep');
      await eventually('it runs', () => sleeping() !== undefined);
      const opts = { images_dir_fd: 10, pid: sleeping()! };
      const reply = await askAs('root', freshDirectory(), { type: ReqType.DUMP, opts });
      assert.match(
        reply.cr_errmsg ?? '',
        /Found dangling tty .* \(Task attached to shell terminal\. .*--shell-job/,
      );
    } finally {
      terminal.kill('SIGKILL');
    }
  });
});

describe('a refusal of a caller in a sandbox', () => {
  const sandboxes: [what: string, properties: string[], RegExp][] = [
    ['PrivateTmp=', ['PrivateTmp=yes'], /lives in a mount namespace of its own \(PrivateTmp=, .*login shell/],
    ['PrivateNetwork=', ['PrivateNetwork=yes'], /lives in a (mount|network) namespace of its own/],
    ['NoNewPrivileges=', ['NoNewPrivileges=yes'], /has no_new_privs set \(NoNewPrivileges=.*login shell/],
    [
      'SystemCallFilter=',
      ['SystemCallFilter=~reboot'],
      /is under a seccomp filter \(SystemCallFilter=.*login shell/,
    ],
  ];
  for (const [what, properties, words] of sandboxes) {
    it(`names ${what} and the way out`, async () => {
      const unit = ['--quiet', '--pipe', '--wait', '--property=User=alice', '--property=Environment=HOME=/'];
      const ended = spawnSyncText('systemd-run', [
        ...unit,
        ...properties.map((each) => `--property=${each}`),
        'criuctl',
        'restore',
        '-D',
        '/home/alice',
      ]);
      assert.match(ended, words);
    });
  }
});

function spawnSyncText(file: string, argv: readonly string[]): string {
  try {
    return run(file, ...argv);
  } catch (error) {
    return String((error as { readonly stderr?: string }).stderr);
  }
}
