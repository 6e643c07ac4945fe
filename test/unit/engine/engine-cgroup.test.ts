import assert from 'node:assert/strict';
import { chownSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { mayHoldCapability } from '../../../src/engine/cgroup-names.ts';
import { isTreeCgroup, restorerOf, unifiedMount } from '../../../src/engine/our-cgroups.ts';
import { cannotShow } from '../../native/support.ts';

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

  it('tell who has restored the tree in them, if they are root’s', function () {
    const name = 'criu-restore-1500-0123456789ab-1';
    const path = `/${name}.scope`;
    try {
      mkdirSync(join(unifiedMount(), path));
    } catch (error) {
      cannotShow(this, `no cgroup can be made here: ${(error as Error).message}`);
    }
    try {
      assert.equal(restorerOf(path), 1500);
      for (const other of [`/${name}`, `/user.slice/user-1500.slice/user@1500.service/${name}.scope`, '/'])
        assert.equal(restorerOf(other), undefined, other);
      chownSync(join(unifiedMount(), path), 1500, 1500);
      assert.equal(restorerOf(path), undefined);
    } finally {
      rmdirSync(join(unifiedMount(), path));
    }
  });
});
