/** What is root's, everybody else gets a refusal for, with a sentence that says why, and nothing happens to it. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { it } from './support/it.ts';
import { pycriuUnder } from './support/pycriu.ts';
import { Target } from './support/targets.ts';

const { EINVAL, EPERM } = constants.errno;

interface Answers {
  readonly pid: number;
  readonly replies: Record<
    string,
    { type: string; success: boolean; cr_errno: number; cr_errmsg: string; closed: boolean }
  >;
}

/** EMPTY and NOTIFY are no requests, whoever sends them. */
const noRequest = ['EMPTY', 'NOTIFY'];

/** What these tell is no secret, and they do nothing to anybody. */
const forEverybody = ['VERSION', 'FEATURE_CHECK'];

/** Each type that does something to somebody else has its refusal; `why` is in its sentence. */
function assertRefused({ replies }: Answers, why: RegExp): void {
  assert.ok(Object.keys(replies).length >= 13);
  for (const [type, reply] of Object.entries(replies)) {
    assert.equal(reply.closed, true, type);
    if (forEverybody.includes(type)) {
      assert.deepEqual([reply.type, reply.success], [type, true], type);
    } else if (noRequest.includes(type)) {
      assert.deepEqual([reply.type, reply.success, reply.cr_errno], ['EMPTY', false, EINVAL], type);
    } else if (type === 'WAIT_PID') {
      assert.equal(reply.success, false);
    } else {
      const answeredAs = type === 'PAGE_SERVER_CHLD' ? 'PAGE_SERVER' : type;
      assert.deepEqual([reply.type, reply.success, reply.cr_errno], [answeredAs, false, EPERM], type);
      assert.match(reply.cr_errmsg, new RegExp(`^${type} refused: `), type);
      assert.match(reply.cr_errmsg, why, type);
    }
  }
}

describe('a caller that is not root', () => {
  for (const name of ['alice', 'bob']) {
    it(`gets EPERM and a sentence for whatever is root’s, with each type of request (${name})`, async () => {
      const target = Target.start();
      assertRefused(pycriuUnder(['runuser', '-u', name, '--'], 'every_type', target.pid), /./);
      await target.assertCountsOn();
    });
  }

  it('gets them as root, too, without all of root’s capabilities', async () => {
    const target = Target.start();
    const less = ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-all', '--'];
    assertRefused(pycriuUnder(less, 'every_type', target.pid), /capabilities/);
    await target.assertCountsOn();
  });
});
