/**
 * Requests about processes of root's by other users: each is refused with a sentence that says why, and the processes are
 * unharmed.
 */
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

/** These answers are no secret, and the requests change nothing. */
const forEverybody = ['VERSION', 'FEATURE_CHECK'];

/** Requires a refusal for each type that affects other processes, with `why` in its sentence. */
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
    it(`gets EPERM and a sentence for each type of request about a process of root’s (${name})`, async () => {
      const target = Target.start();
      assertRefused(pycriuUnder(['runuser', '-u', name, '--'], 'every_type', target.pid), /./);
      await target.assertCountsOn();
    });
  }

  it('gets them with uid 0, too, without all of root’s capabilities', async () => {
    const target = Target.start();
    const less = ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-all', '--'];
    assertRefused(pycriuUnder(less, 'every_type', target.pid), /capabilities/);
    await target.assertCountsOn();
  });
});
