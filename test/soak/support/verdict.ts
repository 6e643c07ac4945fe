/**
 * The permitted outcomes of a request while the service goes: the right reply, or no effect if the request was not judged yet.
 */
import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { messageIds } from '../../../src/records/record-kinds.ts';
import { run } from '../../system/support/bench.ts';
import type { Party, Turn } from './party.ts';

/**
 * - `right`: one successful reply;
 * - `twice`: the same reply twice: the service was killed right after it had forwarded the reply, and the next forwarded it
 *   again;
 * - `closed`: the connection ended, and nothing was done;
 * - `told`: the caller was told to ask again, and nothing was done.
 */
export type Verdict = 'right' | 'twice' | 'closed' | 'told';

/** @param sinceMs the time of the request, in milliseconds since the epoch. @throws AssertionError for any other outcome. */
export async function judge(
  party: Party,
  turn: Turn,
  sinceMs: number,
  replies: readonly CriuResp[],
): Promise<Verdict> {
  const [reply, ...further] = replies;
  const said = JSON.stringify(replies);
  if (!reply || (reply.type === ReqType.EMPTY && reply.cr_errno === os.errno.EAGAIN)) {
    assert.equal(further.length, 0, said);
    assert.equal(wasAccepted(party, turn, sinceMs), false, `it was accepted, and then came ${said}`);
    await party.assertAsItShouldBe();
    return reply ? 'told' : 'closed';
  }
  assert.equal(reply.success, true, said);
  for (const each of further) assert.ok(isDeepStrictEqual(each, reply), said);
  await party.done(turn, reply);
  return further.length === 0 ? 'right' : 'twice';
}

/** Searches by fields of the record, because journald may no longer know the unit of a service that has ended. */
function wasAccepted(party: Party, { request }: Turn, sinceMs: number): boolean {
  run('journalctl', '--sync');
  const matches = [
    `MESSAGE_ID=${messageIds.accepted}`,
    `CRIU_CALLER_PID=${party.pid}`,
    `CRIU_REQUEST=${ReqType[request.type]}`,
  ];
  const since = `--since=@${(sinceMs / 1000).toFixed(3)}`;
  return run('journalctl', '--output=json', '--no-pager', since, ...matches).trim() !== '';
}
