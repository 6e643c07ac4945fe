import assert from 'node:assert/strict';
import { needsTakenPid, takenPidIn } from '../../../src/policy/taken-pid.ts';
import { type CriuResp, ReqType } from '../../../src/protocol/messages.ts';

describe('the pid that a failed restore needs', () => {
  const reply = (cr_errmsg: string, more: Partial<CriuResp> = {}): CriuResp => ({
    type: ReqType.RESTORE,
    success: false,
    cr_errno: 17,
    cr_errmsg,
    ...more,
  });
  const line = "Error (criu/cr-restore.c:1230): Can't fork for 4711: File exists\n";

  it('is in CRIU’s line about a pid that is taken, and in no other', () => {
    assert.equal(takenPidIn('Error: another', line), 4711);
    for (const other of [
      "Can't fork for 4711: Resource temporarily unavailable",
      "Can't fork for 47110000000: File exists",
      '',
    ])
      assert.equal(takenPidIn(other), undefined, other);
  });

  it('is taken according to the failure of a restore with the errno EEXIST, and to no other reply', () => {
    assert.equal(needsTakenPid(reply(line)), true);
    for (const other of [{ success: true }, { type: ReqType.DUMP }, { cr_errno: 1 }])
      assert.equal(needsTakenPid(reply(line, other)), false, JSON.stringify(other));
  });
});
