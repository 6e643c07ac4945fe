import assert from 'node:assert/strict';
import type { NativeBinding } from '../../../src/native/binding.ts';
import type { Restorer } from '../../../src/policy/restored.ts';
import { HeldReader, whyHeld } from '../../../src/session/trees/why-held.ts';

type Read = NativeBinding['readHeld'];

const caller = (uid: number): Restorer => ({
  uid,
  gid: 1500,
  groups: [1500, 1600],
  traits: {
    permitted: 0n,
    bounding: 0n,
    inheritable: 0n,
    ambient: 0n,
    noNewPrivs: false,
    umask: 0o22,
    label: undefined,
  },
  surroundings: { namespaces: { net: 'net:[1]' } },
});

/** Readings that end when the test releases them. */
class Readings {
  readonly asked: Parameters<Read>[] = [];
  readonly #answers: { readonly resolve: (text: string) => void; readonly reject: (error: Error) => void }[] =
    [];

  readonly read: Read = (...what) => {
    this.asked.push(what);
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  };

  answer(at: number, ...fields: string[]): void {
    this.#answers[at]!.resolve(['22', ...fields].map((field) => `${field}\0`).join(''));
  }

  fail(at: number): void {
    this.#answers[at]!.reject(new Error('it failed'));
  }
}

const pipe = ['20', 'fd/0', 'r', 'pipe:[1]', '0', '0', '', '0', '0', '', '', ''];
const held = ['20', 'fd/3', 'rw', '/x', '0', '0', '1500', '27', '61267', '', '13', ''];

/** A deadline that no test reaches, and a short one. */
const [never, soon] = [600_000, 20];

describe('the reader of held files', () => {
  let readings: Readings;
  beforeEach(() => {
    readings = new Readings();
  });

  it('reads the tree without its engine, as the caller, and gives the reason why the tree must not run', async () => {
    const reader = new HeldReader(never, readings.read);
    const looks = [pipe, [...pipe, ...held]].map((fields, at) => {
      const looked = whyHeld([20, 10, 21], 10, caller(1500), reader);
      readings.answer(at, ...fields);
      return looked;
    });
    assert.deepEqual(readings.asked[0], [[20, 21], { uid: 1500, gid: 1500, groups: [1500, 1600] }]);
    assert.deepEqual(await Promise.all(looks), [
      undefined,
      'holds /x (descriptor 3 of process 20), which you could not open for writing by that path (EACCES)',
    ]);
  });

  it('rejects a tree without a complete answer', async () => {
    const reader = new HeldReader(never, readings.read);
    const failing = whyHeld([20], 10, caller(1500), reader);
    readings.fail(0);
    await assert.rejects(failing, /it failed/);
    const short = whyHeld([20], 10, caller(1500), reader);
    readings.answer(1, ...pipe.slice(1));
    await assert.rejects(short, /ends in the middle/);
  });

  it('gives up after the deadline, and starts no other reading for that user before the first has ended', async () => {
    const reader = new HeldReader(soon, readings.read);
    const late = [reader.read([20], caller(1500)), reader.read([21], caller(1500))];
    for (const each of late) await assert.rejects(each, /could not be looked at within 0.02 s/);
    const again = (): Promise<unknown> => reader.read([20], caller(1500));
    await assert.rejects(again(), /an earlier tree/);
    const other = reader.read([30], caller(1501));
    readings.answer(2);
    await other;
    readings.answer(0);
    await assert.rejects(again(), /an earlier tree/);
    readings.fail(1);
    await new Promise((resolve) => setImmediate(resolve));
    const anew = again();
    readings.answer(3);
    await anew;
    assert.equal(readings.asked.length, 4);
  });

  it('loses a limited number of threads to all users together', async () => {
    const reader = new HeldReader(soon, readings.read);
    const users = Array.from({ length: 256 }, (_each, at) => reader.read([20], caller(2000 + at)));
    await Promise.all(users.map((each) => assert.rejects(each, /within/)));
    await assert.rejects(reader.read([20], caller(1500)), /an earlier tree/);
  });
});
