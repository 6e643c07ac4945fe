/** Ways for alice to have her tree write into an engine of hers. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { eventually } from '../../system/support/bench.ts';
import { ourAddress } from '../../system/support/client.ts';
import { engines } from '../../system/support/it.ts';
import { isAlive, pageServers } from '../../system/support/proc.ts';
import { Attacker } from './attacker.ts';
import { AlicesImages, alicesEngine, restoreUntil, waitFor, waitForReply } from './images.ts';
import type { Intruder } from './intruder.ts';
import { directoryOf, targetOf } from './people.ts';

/** How long the test waits for a restore that has yet to be answered, and may itself have to wait for the held engine. */
const patienceMs = 60_000;

/** An engine that she controls while her tree runs, and the action that makes it go on. */
export interface Victim {
  readonly pid: number;
  /** Called once. When it returns, the engine has executed all code that it will. */
  readonly goOn: () => Promise<unknown>;
}

export const victims: Readonly<Record<string, (intruder: Intruder) => Promise<Victim>>> = {
  'dumps another process, and waits for her answer': async (intruder) => {
    intruder.reply({ type: ReqType.DUMP, success: true });
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const opts = { images_dir_fd: 10, pid: target.pid, notify_scripts: true };
    await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    return { pid: alicesEngine(), goOn: () => answerAll(alice) };
  },
  'restores another tree, and waits for her answer': async (intruder) => {
    intruder.reply({ type: ReqType.RESTORE, success: false });
    const images = await AlicesImages.make();
    const { alice, engine } = await restoreUntil(images, 'pre-restore');
    const goOn = async (): Promise<void> => {
      await answerAll(alice);
      await images.end();
    };
    return { pid: engine, goOn };
  },
  'waits for pages': async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const reply = await alice.ask({ type: ReqType.PAGE_SERVER, opts: { images_dir_fd: 10 } }, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    const [pid] = pageServers();
    const goOn = async (): Promise<void> => {
      const connection = connect(reply.ps!.port!, '127.0.0.1');
      connection.on('error', () => {}).end();
      await eventually('the page server has served', () => !isAlive(pid!));
    };
    return { pid: pid!, goOn };
  },
};

export async function answerAll(alice: Attacker): Promise<CriuResp | 'closed'> {
  await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  return waitForReply(alice);
}

/** The tree writes into the engine that restores it. @returns how far the attack came. */
export async function takeOverOwnEngine(intruder: Intruder): Promise<string> {
  const { alice, engine } = await restoreUntil(intruder.images, 'pre-restore');
  intruder.aimAt(engine);
  intruder.reply({ type: ReqType.RESTORE, success: true, restore: { pid: intruder.images.pid } });
  await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  const how = await whileItRuns(intruder, alice);
  await eventually('the engine has left', () => engines().length === 0);
  return how;
}

/** Has the tree write while it runs and alice has yet to answer, if that moment comes. */
async function whileItRuns(intruder: Intruder, alice: Attacker): Promise<string> {
  try {
    await waitFor(alice, 'post-resume');
  } catch (error) {
    return (error as Error).message;
  }
  const how = await intruder.go();
  await answerAll(alice);
  return how;
}

/** The tree writes into another engine of hers. @returns how far the attack came. */
export async function takeOver(intruder: Intruder, begin: (typeof victims)[string]): Promise<string> {
  const { pid, goOn } = await begin(intruder);
  intruder.aimAt(pid);
  // The restore may be refused, or begin only after the other engine's session.
  const reply = await Promise.race([intruder.images.restore(), sleep(patienceMs, 'none', { ref: false })]);
  const how = `${JSON.stringify(reply)}, ${await intruder.go()}`;
  await goOn();
  await eventually('the engines have left', () => engines().length === 0);
  return how;
}
