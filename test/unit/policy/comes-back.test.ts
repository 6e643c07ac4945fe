import assert from 'node:assert/strict';
import { obstaclesAround } from '../../../src/policy/comes-back.ts';
import type { Surroundings } from '../../../src/proc/surroundings.ts';

const kinds = ['user', 'mnt', 'net', 'ipc', 'uts', 'pid', 'pid_for_children', 'cgroup'];
const caller: Surroundings = {
  pid: 1,
  namespaces: Object.fromEntries(kinds.map((name) => [name, `${name}:[1]`])),
  root: '/ mnt_id 28',
  label: undefined,
  hardLimits: new Map([
    ['Max open files', 4096],
    ['Max processes', Number.POSITIVE_INFINITY],
  ]),
};
const around = (process: Partial<Surroundings>) =>
  obstaclesAround({ ...caller, pid: 500, ...process }, caller).map(({ consequence, what }) => [
    consequence,
    what,
  ]);
const elsewhere = (...names: string[]) => ({
  namespaces: { ...caller.namespaces, ...Object.fromEntries(names.map((name) => [name, `${name}:[2]`])) },
});

describe('the surroundings of a process that is to come back', () => {
  it('are no obstacle if they are its caller’s', () => {
    assert.deepEqual(around({}), []);
  });

  for (const name of ['user', 'mnt', 'net', 'ipc', 'uts', 'pid']) {
    it(`keep it from being dumped without root if its ${name} namespace is another`, () => {
      assert.equal(around(elsewhere(name))[0]?.[0], 'no-dump');
    });
  }

  for (const name of ['cgroup', 'pid_for_children']) {
    it(`keep it from coming back if its ${name} namespace is another`, () => {
      const [[consequence] = []] = around(elsewhere(name));
      assert.equal(consequence, 'no-restore');
    });
  }

  it('name a container’s user namespace before its other namespaces', () => {
    assert.match(
      around(elsewhere('cgroup', 'mnt', 'user'))[0]?.[1] ?? '',
      /^lives in a user namespace of its own/,
    );
  });

  it('keep it from coming back with another root directory or label', () => {
    assert.deepEqual(
      [around({ root: '/srv mnt_id 28' }), around({ label: 'confined_t' })].map((found) => found[0]?.[0]),
      ['no-restore', 'no-restore'],
    );
  });

  it('lower each hard limit above its caller’s, by its name', () => {
    const hardLimits = new Map([
      ['Max open files', 8192],
      ['Max processes', Number.POSITIVE_INFINITY],
    ]);
    assert.deepEqual(around({ hardLimits }), [
      [
        'changed',
        'has hard limits above yours, and gets yours when you restore it: RLIMIT_NOFILE 8192 (yours: 4096)',
      ],
    ]);
    assert.deepEqual(around({ hardLimits: new Map([['Max open files', 10]]) }), []);
    assert.match(
      around({ hardLimits: new Map([['Max open files', Number.POSITIVE_INFINITY]]) })[0]?.[1] ?? '',
      /RLIMIT_NOFILE unlimited \(yours: 4096\)/,
    );
  });
});
