/** Programs whose terminal is nobody's for a while: left, restored without a terminal, and given one again. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chownSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User, uids } from '../hostile/support/people.ts';
import { cannotShowHere, eventually, run } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive, isFree, processesOf } from './support/proc.ts';
import { atTerminal, atTerminalMeanwhile, Program, type Seen, type Step } from './support/session.ts';

const users = ['root', 'alice'] as const;
const leave: Step = ['type', '\x1dd'];
const unknown = /cannot be known/;

/** A shell that was dumped: its directory of images, and its pid. */
async function dumped(user: User): Promise<{ readonly images: string; readonly pid: number }> {
  const program = await Program.start(user, user === 'root' ? [] : unshackled(), 'bash --norc -i', 'bash');
  const images = directoryOf(user);
  try {
    must(criuctlAs(user, 'dump', `${program.pid}`, '-j', '-D', images));
  } finally {
    program.end();
  }
  await eventually('its pid is free', () => isFree(program.pid));
  return { images, pid: program.pid };
}

function did(seen: Seen): Seen {
  assert.deepEqual([seen.status, seen.missed], [0, undefined], seen.screen);
  return seen;
}

/** The program is ended by the keys that end a shell, and the attached criuctl has its status. */
function endedWith(seen: Seen, status: number): void {
  assert.deepEqual(
    [seen.status, seen.missed],
    [unknown.test(seen.screen) ? 0 : status, undefined],
    seen.screen,
  );
}

function exit(user: User, pid: number, status: number): void {
  if (!isAlive(pid)) return;
  const steps: Step[] = [
    ['expect', 'at this terminal'],
    ['type', `exit ${status}\n`],
    ['expect', `Process ${pid} `],
  ];
  endedWith(atTerminal(user, steps, 'criuctl', 'attach', `${pid}`), status);
  assert.equal(isAlive(pid), false);
}

function holderOf(pid: number): number {
  const [holder, ...others] = holders(pid);
  assert.ok(holder !== undefined && others.length === 0);
  return holder;
}

describe('criuctl attach', () => {
  for (const user of users) {
    it(`gives ${user} the program again that was left by Ctrl-] d: with its last output, and its new size`, async () => {
      const { images, pid } = await dumped(user);
      const first = did(
        atTerminal(
          user,
          [
            ['expect', 'runs again'],
            ['type', 'echo before=$((40 + 2))\n'],
            ['expect', 'before=42'],
            leave,
            ['expect', `Process ${pid} runs on`],
          ],
          'criuctl',
          'restore',
          '-D',
          images,
        ),
      );
      assert.match(first.screen, new RegExp(`criuctl attach ${pid}`));
      assert.ok(isAlive(pid));
      did(
        atTerminal(
          user,
          [
            ['expect', 'before=42'],
            ['expect', 'at this terminal'],
            ['size', 31, 91],
            ['type', 'until [ "$(stty size)" = "31 91" ]; do :; done; (sleep 1; echo after=$((6 * 9))) &\n'],
            ['expect', '[$#] '],
            leave,
            ['expect', 'runs on'],
          ],
          'criuctl',
          'attach',
          `${pid}`,
        ),
      );
      endedWith(
        atTerminal(
          user,
          [
            ['expect', 'after=54'],
            ['type', 'exit 7\n'],
            ['expect', `Process ${pid} `],
          ],
          'criuctl',
          'attach',
          `${pid}`,
        ),
        7,
      );
      assert.equal(isAlive(pid), false);
      failed(criuctlAs(user, 'attach', `${pid}`), 2, /not started at one/);
    });

    it(`gives ${user} a terminal for a program that was restored without one, by a script`, async () => {
      const { images, pid } = await dumped(user);
      const { stdout } = must(criuctlAs(user, 'restore', '-D', images, '--terminal=none'));
      assert.equal(stdout, `${pid}\n`);
      assert.ok(isAlive(pid));
      exit(user, pid, 9);
      await eventually('its holder has ended', () => holders(pid).length === 0);
    });
  }

  it('leaves all output in a file that was named, also that of an attached terminal', async () => {
    const { images, pid } = await dumped('alice');
    const file = join(images, 'output');
    must(criuctlAs('alice', 'restore', '-D', images, `--terminal=${file}`));
    did(
      atTerminal(
        'alice',
        [
          ['expect', 'at this'],
          ['type', 'echo seen=$((2 * 3))\n'],
          ['expect', 'seen=6'],
          leave,
          ['expect', 'runs on'],
        ],
        'criuctl',
        'attach',
        `${pid}`,
      ),
    );
    exit('alice', pid, 0);
    const written = readFileSync(file, 'utf8');
    assert.match(written, /seen=6/);
    assert.match(written, /exit/);
  });

  it('refuses a second terminal while a program has one, and names the process that is at it', async () => {
    const { images, pid } = await dumped('alice');
    must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
    const [begun, done] = [join(images, 'begun'), join(images, 'done')];
    const first = atTerminalMeanwhile(
      'alice',
      [
        ['expect', 'at this terminal'],
        ['type', `touch ${begun}; until [ -e ${done} ]; do sleep 0.1; done; echo went=on\n`],
        ['expect', '[^ ]went=on'],
        ['type', 'exit\n'],
        ['expect', `Process ${pid} `],
      ],
      'criuctl',
      'attach',
      `${pid}`,
    );
    await eventually('the first is at it', () => existsSync(begun));
    const second = atTerminal('alice', [], 'criuctl', 'attach', `${pid}`);
    assert.equal(second.status, 3);
    assert.match(second.screen, /has a terminal already: criuctl with pid \d+/);
    writeFileSync(done, '');
    did(await first);
  });

  it('is possible again after an attached criuctl was killed', async () => {
    const { images, pid } = await dumped('alice');
    must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
    const killed = atTerminal(
      'alice',
      [
        ['expect', 'at this terminal'],
        ['signal', 9],
      ],
      'criuctl',
      'attach',
      `${pid}`,
    );
    assert.equal(killed.status, -9);
    exit('alice', pid, 4);
  });

  it('gives no program to another user', async () => {
    const { images, pid } = await dumped('alice');
    must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
    try {
      for (const user of ['bob', 'root'] as const) {
        const seen = atTerminal(user, [], 'criuctl', 'attach', `${pid}`);
        assert.equal(seen.status, 3);
        assert.match(seen.screen, /no terminal of a process \d+ waits for you/);
      }
    } finally {
      exit('alice', pid, 0);
    }
  });
});

describe('a restore without a terminal', () => {
  it('takes the place of a holder that was killed', async () => {
    const { images, pid } = await dumped('alice');
    must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
    endProcess(holderOf(pid));
    await eventually('the program has hung up', () => isFree(pid));
    must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
    exit('alice', pid, 0);
  });

  it('is refused before anything is asked if the file or the directory of the terminal cannot be had', async () => {
    const { images } = await dumped('alice');
    failed(
      criuctlAs('alice', 'restore', '-D', images, '--terminal=/proc/nothing'),
      5,
      /\/proc\/nothing cannot be written/,
    );
    const directories = [`/run/user/${uids.alice}/criuctl`, `/tmp/criuctl-${uids.alice}`].filter(
      (directory) => existsSync(dirname(directory)),
    );
    // Another user has made them first.
    for (const directory of directories) {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { mode: 0o777 });
      chownSync(directory, uids.bob, uids.bob);
    }
    try {
      failed(
        criuctlAs('alice', 'restore', '-D', images, '--terminal=none'),
        3,
        /no directory for the socket/,
        /XDG_RUNTIME_DIR/,
      );
    } finally {
      for (const directory of directories) rmSync(directory, { recursive: true, force: true });
    }
    assert.equal(existsSync(join(images, 'restore.log')), false);
  });

  it('works where only root may open /dev/pts/ptmx, as on most machines', async function () {
    if (lstatSync('/dev/ptmx').isSymbolicLink())
      cannotShowHere(this, '/dev/ptmx is a link to /dev/pts/ptmx in a container');
    const mode = run('stat', '-c', '%a', '/dev/pts/ptmx').trim();
    const { images, pid } = await dumped('alice');
    run('chmod', '000', '/dev/pts/ptmx');
    try {
      must(criuctlAs('alice', 'restore', '-D', images, '--terminal=none'));
      const again = directoryOf('alice');
      must(criuctlAs('alice', 'dump', `${pid}`, '-j', '-D', again));
      await eventually('its pid is free', () => isFree(pid));
      must(criuctlAs('alice', 'restore', '-D', again, '--terminal=none'));
      exit('alice', pid, 5);
    } finally {
      run('chmod', mode, '/dev/pts/ptmx');
    }
  });
});

describe('criuctl restore --wait', () => {
  for (const user of users) {
    it(`has the exit status of ${user}’s program`, async () => {
      const { images, pid } = await dumped(user);
      const [file, ...rest] = [
        ...as(user),
        'criuctl',
        'restore',
        '-D',
        images,
        '--terminal=none',
        '--wait',
        '--json',
      ];
      const ended = spawn(file!, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      ended.stdout.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      const code = new Promise<number | null>((resolve) => ended.once('close', resolve));
      await eventually(
        'it runs, and criuctl waits',
        () => isAlive(pid) && holders(pid).length === 1 && forwards(ended.pid!),
      );
      exit(user, pid, 6);
      const status = await code;
      const result = JSON.parse(text) as { status: number | null };
      assert.ok(result.status === null ? status === 0 : status === 6 && result.status === 6, text);
    });
  }

  it('passes a signal on to the program, and ends with it', async () => {
    const program = await Program.start('alice', unshackled(), 'sleep 1000', 'sleep');
    const images = directoryOf('alice');
    try {
      must(criuctlAs('alice', 'dump', `${program.pid}`, '-j', '-D', images));
    } finally {
      program.end();
    }
    await eventually('its pid is free', () => isFree(program.pid));
    const [file, ...rest] = [...as('alice'), 'criuctl', 'restore', '-D', images, '--terminal=none', '--wait'];
    const waiting = spawn(file!, rest, { stdio: 'ignore' });
    const code = new Promise<number | null>((resolve) => waiting.once('close', (status) => resolve(status)));
    await eventually(
      'the program runs, and criuctl waits',
      () => isAlive(program.pid) && forwards(waiting.pid!),
    );
    waiting.kill('SIGTERM');
    const status = await code;
    assert.equal(isAlive(program.pid), false);
    assert.ok(status === 128 + 15 || status === 0, `${status}`);
  });
});

function holders(pid: number): number[] {
  return processesOf((words) => words.at(-2) === 'hold-terminal' && words.at(-1) === `${pid}`);
}

/** criuctl catches SIGUSR1 only while it passes signals on. */
function forwards(pid: number): boolean {
  const caught = /^SigCgt:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return (BigInt(`0x${caught![1]}`) & (1n << 11n)) !== 0n;
}
