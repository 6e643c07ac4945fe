/** A program that asks for its own dump by a command. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User } from '../hostile/support/people.ts';
import { cannotShowHere, eventually, inVm, run } from './support/bench.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { endProcess, isFree } from './support/proc.ts';

/** A shell of its own session that has this done, and then counts into the file `count` of its directory. */
async function shellThat(
  user: User,
  does: string,
): Promise<{ readonly pid: number; readonly at: (name: string) => string }> {
  const directory = directoryOf(user);
  const counting = 'n=0; while :; do n=$((n + 1)); echo $n >count; sleep 0.05; done';
  const body = `cd ${directory}; exec </dev/null >/dev/null 2>&1; echo $$ >pid.new; mv pid.new pid; ${does}; ${counting}`;
  const options = user === 'root' ? [] : unshackled();
  const [file, ...rest] = [...as(user, ...options), 'setsid', '--fork', 'sh', '-c', body];
  run(file!, ...rest);
  const at = (name: string): string => join(directory, name);
  await eventually('the shell runs', () => existsSync(at('pid')));
  return { pid: Number(readFileSync(at('pid'), 'utf8')), at };
}

const numberIn = (path: string): number => Number(existsSync(path) ? readFileSync(path, 'utf8') : 0);

describe('a program that dumps itself by criuctl', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`is dumped for ${user} from outside of its tree, and comes back`, async function () {
      if (user === 'alice' && !inVm)
        cannotShowHere(
          this,
          'a container’s bounding set lets users dump only processes with no_new_privs, which may not ask',
        );
      const { pid, at } = await shellThat(user, 'criuctl dump $$ -D images --detach=result');
      try {
        await eventually('it has ended', () => isFree(pid));
        await eventually(
          'the result is there',
          () => existsSync(at('result')) && readFileSync(at('result'), 'utf8') !== '',
        );
        assert.equal(readFileSync(at('result'), 'utf8'), `${at('images')}\n`);
        const before = numberIn(at('count'));
        must(criuctlAs(user, 'restore', '-D', at('images')));
        await eventually('it counts on', () => numberIn(at('count')) > before);
      } finally {
        endProcess(pid);
      }
    });
  }

  it('runs on, and is told how to ask, if criuctl is in its tree', async () => {
    const { pid, at } = await shellThat('alice', 'criuctl dump $$ -D images 2>said; echo $? >status');
    try {
      await eventually('it counts', () => numberIn(at('count')) > 0);
      assert.equal(numberIn(at('status')), 3);
      assert.match(
        readFileSync(at('said'), 'utf8'),
        new RegExp(
          `^criuctl: DUMP refused: criuctl is in the tree of process ${pid} itself\nAsk with --detach: `,
        ),
      );
      assert.deepEqual(readdirSync(at('images')), []);
    } finally {
      endProcess(pid);
    }
  });
});
