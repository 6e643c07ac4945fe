import assert from 'node:assert/strict';
import { isEngineScope, mayHoldCapability, sliceOf } from '../../../src/engine/engine-cgroup.ts';

describe('cgroups of engines', () => {
  it('are charged to the slice of their caller', () => {
    for (const [path, slice] of [
      ['/', '-.slice'],
      ['/init.scope', '-.slice'],
      ['/system.slice/cron.service', 'system.slice'],
      ['/user.slice/user-1000.slice/session-2.scope', 'user-1000.slice'],
      ['/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope', 'user-1000.slice'],
    ] as const) {
      assert.equal(sliceOf(path), slice, path);
    }
  });

  it('may hold the capability of engines if their name says so', () => {
    assert.ok(mayHoldCapability('/user.slice/criu-restore-capable-0123456789ab-1.scope'));
    for (const path of [
      '/user.slice/criu-restore-0123456789ab-1.scope',
      '/criu-restore-capable-1.slice/criu-restore-0123456789ab-1.scope',
      '/user.slice/criu-page-server-capable-0123456789ab-1.scope',
    ]) {
      assert.ok(!mayHoldCapability(path), path);
    }
  });

  it('are scopes of the system, not scopes of a user with the same name', () => {
    assert.ok(isEngineScope('/user.slice/user-1000.slice/criu-restore-abc.scope'));
    assert.ok(isEngineScope('/criu-restore-abc.scope'));
    assert.ok(
      !isEngineScope('/user.slice/user-1000.slice/user@1000.service/app.slice/criu-restore-abc.scope'),
    );
    assert.ok(!isEngineScope('/user.slice/user-1000.slice/criu-restore-abc.scope/below'));
    assert.ok(!isEngineScope('/user.slice/criu-restore-abc.service'));
    assert.ok(!isEngineScope('/'));
  });
});
