/** CRIU's own service is the specification: the same request, sent to both services, gets the same reply. */
import assert from 'node:assert/strict';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { compareTable, type Outcome, type Row } from './compare-table.ts';
import { eventually, needsSoftDirty, run } from './support/bench.ts';
import { Client, ourAddress } from './support/client.ts';
import { it } from './support/it.ts';
import { endProcess, isAlive, isFree, pageServers } from './support/proc.ts';
import { referenceAddress, startReference, stopReference } from './support/reference.ts';
import { killTargets } from './support/targets.ts';
import { closeWorld, makeWorld, type World, withFreshDirectories } from './support/world.ts';

/** Type, success, errno and the submessages of a reply, with those of their values that do not depend on chance. */
function outcomeOf(reply: CriuResp): Outcome {
  const outcome: Record<string, unknown> = { type: reply.type, success: reply.success };
  // An errno of 0 means the same as a missing errno.
  if (reply.cr_errno) outcome.errno = reply.cr_errno;
  if (reply.dump) outcome.dump = reply.dump.restored;
  if (reply.restore) outcome.restored = reply.restore.pid;
  if (reply.ps) outcome.pageServer = { port: (reply.ps.port ?? 0) > 0, pid: (reply.ps.pid ?? 0) > 0 };
  if (reply.version) outcome.version = { ...reply.version };
  if (reply.features) outcome.features = { ...reply.features };
  if (reply.status != null) outcome.status = reply.status;
  if (reply.notify) outcome.notify = reply.notify.script;
  return outcome;
}

/** Sends a row to one of the services, takes the first reply, and undoes its effect. */
async function play(row: Row, address: string, shared: Omit<World, 'images' | 'work'>): Promise<Outcome> {
  const message = row.send(withFreshDirectories(shared));
  const client = new Client(address);
  if (message instanceof Uint8Array) client.sendBytes(message);
  else client.send(message);
  const reply = await client.next();
  client.close();
  if (reply === 'closed') return reply;
  if (reply.ps) for (const pid of pageServers()) await kill(pid);
  if (reply.type === ReqType.RESTORE && reply.success) await kill(shared.dumpedPid);
  return outcomeOf(reply);
}

async function kill(pid: number): Promise<void> {
  if (isAlive(pid)) endProcess(pid);
  await eventually(`process ${pid} is gone`, () => isFree(pid));
}

describe('a request gets the same reply from criu service and from ours', () => {
  let shared: Omit<World, 'images' | 'work'>;
  let isCriu42: boolean;

  before(async () => {
    const [, major, minor] = /^Version: (\d+)\.(\d+)/m.exec(run('criu', '--version')) ?? [];
    assert.ok(major && minor);
    isCriu42 = Number(major) > 4 || (Number(major) === 4 && Number(minor) >= 2);
    await startReference();
    shared = await makeWorld();
  });

  after(async () => {
    await killTargets();
    closeWorld();
    stopReference();
  });

  for (const row of compareTable) {
    const title = row.differs ? `${row.what}: differs, because ${row.differs.why}` : row.what;
    it(title, async function () {
      if (row.softDirty) needsSoftDirty(this);
      const criu = await play(row, referenceAddress, shared);
      const ours = await play(row, ourAddress, shared);
      if (row.differs) {
        const { criu: before42, since42 = before42, ours: expected } = row.differs;
        assert.deepEqual({ criu, ours }, { criu: isCriu42 ? since42 : before42, ours: expected });
      } else {
        assert.deepEqual(ours, criu);
      }
      await shared.target.assertCountsOn();
    });
  }
});
