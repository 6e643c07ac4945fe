import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  apartName,
  mayHoldCapability,
  nestedKind,
  newName,
  restorerIn,
  treeOfApart,
} from '../../../src/engine/cgroup-names.ts';
import { CgroupRegister } from '../../../src/engine/cgroup-register.ts';

const job = '/system.slice/job1.service';
const tree = `${job}/criu-restore-0123456789ab-1`;
const apart = `${job}/criu-apart-criu-restore-0123456789ab-1`;

describe('the register of cgroups', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-register-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const open = (): CgroupRegister => {
    const register = new CgroupRegister();
    register.open(directory);
    return register;
  };

  it('tells the next start which cgroups are the service’s', () => {
    const register = open();
    for (const path of [tree, apart, `${job}/criu-engine-0123456789ab-2`]) register.add(path);
    register.remove(apart);
    const next = open();
    assert.equal(next.kindOf(tree), 'restore');
    assert.equal(next.kindOf(apart), undefined);
    assert.deepEqual(next.of('engine', 'apart'), [`${job}/criu-engine-0123456789ab-2`]);
  });

  it('knows no cgroup by its name alone', () => {
    const register = open();
    register.add(tree);
    assert.equal(
      register.kindOf('/user.slice/user-1500.slice/user@1500.service/criu-restore-0123456789ab-1'),
      undefined,
    );
  });

  it('drops a file that was not written to its end', () => {
    writeFileSync(join(directory, 'unrelated'), '');
    open();
    const cgroups = join(directory, 'cgroups');
    for (const [name, path] of [
      ['criu-restore-0123456789ab-1', ''],
      ['criu-restore-0123456789ab-2', tree],
      ['criu-restore-0123456789ab-3', `/../criu-restore-0123456789ab-3`],
      ['other', '/other'],
    ] as const)
      writeFileSync(join(cgroups, name), path);
    assert.deepEqual(open().of('restore'), []);
    assert.deepEqual(readdirSync(cgroups), []);
  });

  it('takes no name but the service’s own', () => {
    assert.throws(() => open().add('/system.slice/cron.service'), TypeError);
  });

  it('is kept in memory without a directory', () => {
    const register = new CgroupRegister();
    register.open(undefined);
    register.add(tree);
    assert.equal(register.kindOf(tree), 'restore');
  });
});

describe('the names of cgroups', () => {
  it('tell the kind, and if a tree may hold the capability of engines, or who has restored it', () => {
    for (const kind of ['restore', 'page-server', 'engine'] as const) {
      for (const mayHold of [true, false]) {
        const name = newName(kind, { uid: 1500, mayHold });
        assert.equal(nestedKind(name), kind);
        const restorer = kind === 'restore' && !mayHold ? 1500 : undefined;
        for (const path of [`${job}/${name}`, `/user.slice/${name}.scope`])
          assert.equal(restorerIn(path), restorer, path);
        assert.equal(restorerIn(`${job}/${name}/below`), undefined);
        assert.equal(mayHoldCapability(`${job}/${name}`), kind === 'restore' && mayHold);
        assert.equal(treeOfApart(apartName(name)), name);
        assert.equal(nestedKind(apartName(name)), 'apart');
      }
    }
    for (const name of ['criu-restore-1.scope', 'engine-0123456789ab-1', 'criu-engine-x', 'cron.service'])
      assert.equal(nestedKind(name), undefined, name);
  });
});
