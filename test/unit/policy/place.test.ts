import assert from 'node:assert/strict';
import { placeFor, sliceOf } from '../../../src/policy/place.ts';

const domain = 'domain';
const job = '/system.slice/job1.service';
const session = '/user.slice/user-1500.slice/session-3.scope';
const own = `${job}/criu-restore-0123456789ab-1`;

describe('the place of an engine', () => {
  for (const [what, path] of [
    ['of a system unit', job],
    ['of a batch job', '/system.slice/slurmstepd.scope/job_1/step_0/user/task_0'],
    ['of a user’s own unit', '/user.slice/user-1500.slice/user@1500.service/app.slice/x.service'],
    ['that another program has named like a login session', '/system.slice/session-3.scope'],
    [
      'that a user’s manager has named like a scope of ours',
      '/user.slice/user-1500.slice/user@1500.service/criu-restore-1.scope',
    ],
    ['without a slice', '/init.scope'],
  ] as const) {
    it(`is in the cgroup ${what}, for a tree that stays as well`, () => {
      for (const stays of [true, false])
        assert.deepEqual(placeFor({ path, type: domain }, stays), { is: 'within', cgroup: path });
    });
  }

  it('is in the slice for a tree that is restored in a login session, and in the session for a dump', () => {
    for (const path of [session, '/user.slice/user-1500.slice/criu-restore-0123456789ab-1.scope']) {
      assert.deepEqual(placeFor({ path, type: domain }, true), { is: 'scope', slice: 'user-1500.slice' });
      assert.deepEqual(placeFor({ path, type: domain }, false), { is: 'within', cgroup: path });
    }
  });

  it('is beside the tree for a restored process that asks, and not one level deeper each time', () => {
    assert.deepEqual(placeFor({ path: own, type: domain, nestedIn: job }, true), {
      is: 'within',
      cgroup: job,
    });
  });

  it('is this service’s own for a caller without a unit', () => {
    for (const path of ['/', '/system.slice']) {
      assert.deepEqual(placeFor({ path, type: undefined }, false), { is: 'service' });
      assert.equal(placeFor({ path, type: undefined }, true).is, 'scope');
    }
  });

  it('is refused where no cgroup for it can be below that of its caller', () => {
    for (const type of ['threaded', 'domain threaded', 'domain invalid', undefined])
      assert.equal(placeFor({ path: job, type }, true).is, 'refused', type);
    assert.equal(placeFor({ path: '/../x', type: domain }, true).is, 'refused');
  });

  it('is charged to the slice of its caller, where it is a scope', () => {
    for (const [path, slice] of [
      ['/', '-.slice'],
      ['/init.scope', '-.slice'],
      ['/system.slice/cron.service', 'system.slice'],
      [session, 'user-1500.slice'],
      ['/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope', 'user-1000.slice'],
    ] as const) {
      assert.equal(sliceOf(path), slice, path);
    }
  });
});
