/** Programs with a terminal: criuctl brings them back at its own. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { directoryOf, type User } from '../hostile/support/people.ts';
import { eventually } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { examplesOf } from './support/manual.ts';
import { childrenOf, isAlive, isFree, statusLine } from './support/proc.ts';
import { atTerminal, Program, type Seen, type Step } from './support/session.ts';

const users = ['root', 'alice'] as const;

/** A shell with a job in the foreground: the shell leads the session of its terminal. */
const shell = 'bash --norc -i';
/** Answers a line with its length, and tells a signal. */
const echoing =
  'python3 -uc \'while True:\\n try: print(len(input()))\\n except KeyboardInterrupt: print("interrupted")\''.replaceAll(
    '\\n',
    '\n',
  );

function start(user: User, command: string, name: string, keys = ''): Promise<Program> {
  return Program.start(user, user === 'root' ? [] : unshackled(), command, name, keys);
}

function endedWith(seen: Seen, status: number): void {
  assert.deepEqual([seen.status, seen.missed], [status, undefined], seen.screen);
}

/** The first example of the manual, for this process and directory. */
function example(pid: number, images: string): string[][] {
  return examplesOf('criuctl.1')[0]!
    .split('\n')
    .map((line) =>
      line.split(' ').map((word) => (word === '4711' ? `${pid}` : word === 'images' ? images : word)),
    );
}

describe('a program at a terminal', () => {
  for (const user of users) {
    it(`comes back to ${user} at another terminal: keys, Ctrl-Z, Ctrl-C, the size, and its status`, async () => {
      const program = await start(user, shell, 'bash', 'sleep 1000\n');
      const images = directoryOf(user);
      let job: number | undefined;
      try {
        await eventually('its job runs', () => {
          job = childrenOf(program.pid).find((pid) => statusLine(pid, 'Name') === 'sleep');
          return job !== undefined;
        });
        must(criuctlAs(user, 'dump', `${program.pid}`, '-j', '-D', images));
      } finally {
        program.end();
      }
      await eventually('their pids are free', () => isFree(program.pid) && isFree(job!));
      const before = contents(images);
      const steps: Step[] = [
        ['expect', `Process ${program.pid} runs again`],
        ['type', '\x1a'],
        ['expect', 'Stopped +sleep 1000'],
        ['type', 'stty size\n'],
        ['expect', '24 80\r\n'],
        ['size', 30, 90],
        ['type', 'until [ "$(stty size)" = "30 90" ]; do :; done; echo it has\\ room\n'],
        ['expect', 'it has room'],
        ['type', 'fg\n'],
        ['expect', 'sleep 1000\r\n'],
        ['press', '\x03', '[$#] '],
        ['type', 'exit 7\n'],
        ['expect', `Process ${program.pid} ended`],
      ];
      const seen = atTerminal(user, steps, 'criuctl', 'restore', '-D', images);
      // Kernels before 6.15 do not tell the status.
      endedWith(seen, /cannot be known/.test(seen.screen) ? 0 : 7);
      assert.equal(isAlive(program.pid), false);
      assert.deepEqual(contents(images), before, 'the images are as they were, and nothing is beside them');
    });

    it(`comes back to ${user} by the first example of the manual, though a shell had started it and has its old terminal still`, async () => {
      const program = await start(user, shell, 'python3', `${echoing}\n`);
      const images = directoryOf(user);
      try {
        const [[, ...dump], [, ...restore]] = example(program.pid, images) as [string[], string[]];
        must(criuctlAs(user, ...dump));
        await eventually('its pid is free', () => isFree(program.pid));
        const steps: Step[] = [
          ['expect', 'runs again'],
          ['type', 'hello\n'],
          ['expect', '\n5\r\n'],
          ['press', '\x03', 'interrupted'],
          ['type', '\x1c'],
          ['expect', `Process ${program.pid} `],
        ];
        const seen = atTerminal(user, steps, 'criuctl', ...restore);
        endedWith(seen, /cannot be known/.test(seen.screen) ? 0 : 131);
      } finally {
        program.end();
      }
    });
  }

  it('is not restored without a terminal: nothing is asked, and a sentence says so', async () => {
    const program = await start('alice', shell, 'bash');
    const images = directoryOf('alice');
    try {
      must(criuctlAs('alice', 'dump', `${program.pid}`, '-j', '-D', images));
    } finally {
      program.end();
    }
    failed(criuctlAs('alice', 'restore', '-D', images), 3, /had a terminal/, /at a terminal/);
    assert.equal(readdirSync(images).includes('restore.log'), false);
  });
});

/** The images, byte by byte, and the names of all other files except the logs and statistics of CRIU. */
function contents(directory: string): Record<string, string> {
  const names = readdirSync(directory).filter((name) => !/^(restore\.log|stats-restore)$/.test(name));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), 'latin1')]));
}
