import assert from 'node:assert/strict';
import { OwnProcMount, parseHiding } from '../../../src/proc/proc-mount.ts';

const other = '22 1 0:20 / /sys rw,nosuid - sysfs sysfs rw,hidepid=invisible';
const proc = (options: string, point = '/proc'): string =>
  `24 1 0:22 / ${point} rw,nosuid shared:5 - proc proc rw${options}`;

describe('OwnProcMount', () => {
  for (const [options, hides, exceptGid] of [
    ['', false, 0],
    [',hidepid=off', false, 0],
    [',hidepid=0', false, 0],
    [',hidepid=1', true, 0],
    [',hidepid=noaccess', true, 0],
    [',gid=4,hidepid=invisible', true, 4],
    [',hidepid=2,gid=4', true, 4],
    [',hidepid=ptraceable', true, 0],
  ] as const) {
    it(`tells if /proc hides processes, and the exempt group ("${options}")`, () => {
      const text = [other, proc(',hidepid=2', '/proc/fs'), proc(options), ''].join('\n');
      assert.deepEqual(parseHiding(text), { hides, exceptGid });
    });
  }

  it('parseHiding: uses the last mount, and hides everything without one', () => {
    assert.equal(parseHiding([proc(',hidepid=2'), proc('')].join('\n')).hides, false);
    assert.equal(parseHiding([proc(''), proc(',hidepid=2')].join('\n')).hides, true);
    assert.deepEqual(parseHiding(other), { hides: true, exceptGid: 0 });
  });

  it('hides nothing from the exempt group', () => {
    const mount = new OwnProcMount();
    assert.equal(typeof mount.hidesFrom([1500]), 'boolean');
    assert.equal(mount.hidesFrom([1500, 0]), false);
  });
});
