import assert from 'node:assert/strict';
import { decisiveFirst, errorLinesOf, weightOf } from '../../../src/protocol/error-lines.ts';

const failed = 'Error (criu/cr-restore.c:2320): Restoring FAILED.';
const unexpected = 'Error (compel/src/lib/infect.c:1620): Task 2696 is in unexpected state: b7f';
const limit = "Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted";
const groups = "pie: 2696: Error (criu/pie/restorer.c:225): Can't setgroups([2 gids]): -1";

describe('the error lines of CRIU’s log', () => {
  it('are found beside a line of any length, at the cost of a short one', () => {
    const long = `(1.1)${' '.repeat(1 << 20)}`;
    assert.deepEqual(errorLinesOf(`${long}\nError (criu/a.c:1): why`), ['Error (criu/a.c:1): why']);
  });

  it('are those of CRIU, of its restored tasks, and of its code in them, without their times', () => {
    const text = [
      '(00.250351) pie: 14: Error (criu/pie/restorer.c:297): of the restorer',
      '(00.000002)     42: Error (criu/files.c:1): of a task',
      '   123: Error (criu/files.c:2): of a task, without a time',
      'Error (criu/a.c:1): of CRIU\u001b[31m',
      'Error (criu/a.c:1): of CRIU\u001b[31m',
      'Warn  (criu/a.c:2): no error',
      'An Error (no line of CRIU)',
    ].join('\n');
    assert.deepEqual(errorLinesOf(text), [
      'pie: 14: Error (criu/pie/restorer.c:297): of the restorer',
      '42: Error (criu/files.c:1): of a task',
      '123: Error (criu/files.c:2): of a task, without a time',
      'Error (criu/a.c:1): of CRIU [31m',
    ]);
  });

  it('begin with those that may say why, in their order, and end with those that never do', () => {
    const other = 'Error (criu/files.c:1): no such file';
    assert.deepEqual(decisiveFirst([limit, unexpected, failed, groups, other]), [
      groups,
      other,
      failed,
      limit,
      unexpected,
    ]);
    assert.deepEqual([groups, failed, unexpected, limit].map(weightOf), [0, 1, 2, 2]);
  });
});
