import assert from 'node:assert/strict';
import { readFileSync, readlinkSync } from 'node:fs';
import { groupName } from '../../../src/proc/groups.ts';
import { answerAtOnce } from '../../../src/proc/reading.ts';
import { parseHardLimits, readSurroundings } from '../../../src/proc/surroundings.ts';

describe('surroundings', () => {
  it('are those that the kernel shows, without the namespaces of time', () => {
    const [own] = answerAtOnce(readSurroundings([process.pid]), '/proc');
    assert.equal(own?.pid, process.pid);
    assert.equal(own.namespaces.uts, readlinkSync('/proc/self/ns/uts'));
    assert.ok('mnt' in own.namespaces && 'pid_for_children' in own.namespaces);
    assert.ok(!('time' in own.namespaces) && !('time_for_children' in own.namespaces));
    assert.match(own.root, /^\/ mnt_id \d+$/);
    assert.deepEqual(own.hardLimits, parseHardLimits(readFileSync('/proc/self/limits', 'latin1')));
    assert.ok(own.hardLimits.size >= 16);
  });

  it('leave out a process that has ended', () => {
    const read = answerAtOnce(readSurroundings([4_000_000, process.pid]), '/proc');
    assert.deepEqual(
      read.map(({ pid }) => pid),
      [process.pid],
    );
  });

  it('have hard limits by the names of the kernel’s table', () => {
    const text = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 524288               files     
Max nice priority         0                    0                    
`;
    assert.deepEqual(
      [...parseHardLimits(text)],
      [
        ['Max cpu time', Number.POSITIVE_INFINITY],
        ['Max open files', 524288],
        ['Max nice priority', 0],
      ],
    );
  });
});

describe('the name of a group', () => {
  it('is that of /etc/group', () => {
    const text = 'root:x:0:\nvideo:x:44:alice,bob\n#44:x:9:\n';
    assert.deepEqual(
      [groupName(text, 44), groupName(text, 45), groupName(text, 4)],
      ['video', undefined, undefined],
    );
  });
});
