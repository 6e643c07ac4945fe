import assert from 'node:assert/strict';
import { mayHoldCapability } from '../../../src/engine/cgroup-names.ts';
import { isTreeCgroup } from '../../../src/engine/our-cgroups.ts';

describe('cgroups of engines', () => {
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
    assert.ok(isTreeCgroup('/user.slice/user-1000.slice/criu-restore-abc.scope'));
    assert.ok(isTreeCgroup('/criu-restore-abc.scope'));
    assert.ok(
      !isTreeCgroup('/user.slice/user-1000.slice/user@1000.service/app.slice/criu-restore-abc.scope'),
    );
    assert.ok(!isTreeCgroup('/user.slice/user-1000.slice/criu-restore-abc.scope/below'));
    assert.ok(!isTreeCgroup('/user.slice/criu-restore-abc.service'));
    assert.ok(!isTreeCgroup('/'));
  });
});
