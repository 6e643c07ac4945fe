import { strict as assert } from 'node:assert';
import { setImmediate as turn } from 'node:timers/promises';
import { GrantTurns } from '../../../src/session/engines/grant-turns.ts';

/** A grant that the test ends. */
class Given {
  readonly answer: Promise<string>;
  readonly gone: Promise<void>;
  say: (answer: string) => void = () => {};
  go: () => void = () => {};

  constructor() {
    this.answer = new Promise((resolve) => {
      this.say = resolve;
    });
    this.gone = new Promise((resolve) => {
      this.go = resolve;
    });
  }

  end(): void {
    this.go();
    this.say('done');
  }
}

describe('the grants of a user', () => {
  const [alice, bob] = [1500, 1501];
  let turns: GrantTurns;
  let started: Given[];

  beforeEach(() => {
    turns = new GrantTurns();
    started = [];
  });

  const ask = (uid = alice): Promise<string | undefined> =>
    turns.during(uid, () => {
      const given = new Given();
      started.push(given);
      return given;
    });

  it('are two at once: the third waits for the end of one, and another user waits for none', async () => {
    const asked = [ask(), ask(), ask()];
    await turn();
    assert.equal(started.length, 2);
    const bobs = ask(bob);
    assert.equal(started.length, 3);
    started[0]!.end();
    await turn();
    assert.equal(started.length, 4);
    for (const given of started) given.end();
    assert.deepEqual(await Promise.all([...asked, bobs]), ['done', 'done', 'done', 'done']);
  });

  it('are refused while two that were given up are still there', async () => {
    const asked = [ask(), ask(), ask()];
    for (const given of started) given.say('late');
    assert.deepEqual(await Promise.all(asked), ['late', 'late', undefined]);
    assert.equal(await ask(), undefined);
    started[1]!.go();
    await turn();
    const next = ask();
    await turn();
    started[2]!.end();
    assert.equal(await next, 'done');
  });

  it('end with a start that fails', async () => {
    for (let times = 0; times < 5; times += 1) {
      await assert.rejects(
        turns.during(alice, () => {
          throw new Error('it cannot be started');
        }),
        /it cannot be started/,
      );
    }
    const next = ask();
    started[0]!.end();
    assert.equal(await next, 'done');
  });
});
