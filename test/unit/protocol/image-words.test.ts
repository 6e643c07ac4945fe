import assert from 'node:assert/strict';
import { explain, wordsOf } from '../../../src/engine/engine-words.ts';
import { afterCrash } from '../../../src/protocol/image-words.ts';
import { ReqType } from '../../../src/protocol/messages.ts';

const absent = 'Error (criu/protobuf.c:72): Unexpected EOF on (empty-image)';
const failed = 'Error (criu/cr-restore.c:2320): Restoring FAILED.';
const crashed = 'Error (criu/cr-restore.c:1262): 7 killed by signal 11: Segmentation fault';

function told(type: ReqType, ...lines: string[]): string | undefined {
  const log = lines.map((line) => `criu-service log: ${line}`);
  return explain({ type, success: false, cr_errmsg: lines[0]! }, wordsOf(log))?.message;
}

describe('the words about images in the reply to a failed restore', () => {
  it('name the inventory if CRIU has not begun, and some image if it has', () => {
    assert.match(told(ReqType.RESTORE, absent)!, /^inventory\.img is missing: .* \(Error .*empty-image\)\)$/);
    assert.match(told(ReqType.RESTORE, absent, failed)!, /^an image is missing; "criuctl images verify DIR"/);
    const unread = explain({ type: ReqType.RESTORE, success: false, cr_errmsg: absent }, wordsOf([]));
    assert.match(unread!.message, /^an image is missing; /);
  });

  it('name an image that CRIU names, and lead to images verify where it names none', () => {
    const cut =
      'Error (criu/protobuf.c:93): Read 7 bytes while 8 expected from /a: b/fdinfo-2.img: No such file';
    assert.match(told(ReqType.RESTORE, cut)!, /^fdinfo-2\.img is cut off: a record has 7 bytes of 8 \(Error/);
    const empty = 'Error (criu/image.c:882): Unexpected EOF';
    const left = 'Error (criu/cr-restore.c:1258): 7 exited, status=1';
    const core = "Error (criu/cr-restore.c:510): Can't open core data for 7";
    assert.match(told(ReqType.RESTORE, left, failed)!, /^CRIU gives no reason, as it does without pagemap-/);
    assert.match(told(ReqType.RESTORE, empty, core)!, /^core-7\.img is damaged \(/);
    for (const line of [empty, failed, crashed, left])
      assert.match(told(ReqType.RESTORE, line)!, /images verify/);
  });

  it('are no words about a crash that has another cause, or about another request', () => {
    const cause = 'Error (criu/files.c:1): no such file';
    assert.equal(told(ReqType.RESTORE, crashed, cause), cause);
    assert.equal(told(ReqType.DUMP, absent, failed), undefined);
  });

  it('follow the end of an engine that CRIU crashed in', () => {
    assert.match(afterCrash('The engine was ended by signal 11; its last words: x'), /pstree\.img; /);
    for (const end of ['The engine was ended by signal 9', 'The engine was ended by signal 115'])
      assert.equal(afterCrash(end), end);
  });
});
