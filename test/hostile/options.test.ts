/** Options by which the engine would act for alice beyond her own rights. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import { eventually, run } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, besideReference, it, type Outcome, show } from './support/guarantee.ts';
import { directoryOf, Script, targetOf, uids } from './support/people.ts';

/** A dump of alice's own, into her own directory, with a further option; script notifications come before anything can fail. */
async function dumpWith(
  address: string,
  opts: Partial<CriuOpts>,
  succeeded: (log: string) => boolean | Promise<boolean>,
): Promise<Outcome> {
  const target = targetOf('alice');
  const images = directoryOf('alice');
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, images);
  await alice.do('open', 11, 0, '/dev/null');
  const reply = await alice.ask(
    {
      type: ReqType.DUMP,
      opts: {
        images_dir_fd: 10,
        pid: target.pid,
        leave_running: true,
        log_level: 4,
        log_file: 'dump.log',
        ...opts,
      },
    },
    address,
  );
  const log = join(images, 'dump.log');
  const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
  return { reply, succeeded: await succeeded(text), survivor: target };
}

/** Whether CRIU's log appears in the journal of that service: CRIU's own, where it does so sooner or later, or ours. */
async function logInJournal(address: string): Promise<boolean> {
  const unit = address === ourAddress ? 'criu.service' : 'criu-reference.service';
  const appears = (): boolean => {
    run('journalctl', '--sync');
    const text = run('journalctl', '--unit', unit, '--output=cat', '--no-pager');
    return text.includes('Dumping processes (pid: ');
  };
  if (address !== ourAddress) await eventually('the log appears', appears);
  return appears();
}

describe('an option that alice may not use', () => {
  besideReference();

  let script: Script;
  beforeEach(() => {
    script = new Script();
  });

  show({
    guarantee: 'config_file: a script of hers never runs in an engine, let alone as root',
    carriedOut: (address) => dumpWith(address, { config_file: script.config }, () => script.ranAsRoot),
    refused: /config_file: it would run programs/,
    bites: true,
  });

  show({
    guarantee: 'log_file "-" does not write into the service’s output',
    carriedOut: (address) => dumpWith(address, { log_file: '-' }, () => logInJournal(address)),
    refused: /log_file: the engine's stdout/,
    bites: true,
  });

  show({
    guarantee: 'log_to_stderr does not write into the service’s errors',
    carriedOut: (address) =>
      dumpWith(address, { log_file: undefined as never, log_to_stderr: true }, () => logInJournal(address)),
    refused: /log_to_stderr: the engine's stderr/,
    // CRIU's own service closes its log and opens the log of the request; only its command line reads log_to_stderr.
    bites: false,
  });

  show({
    guarantee: 'ps.fd: an engine gets no descriptor of hers, and uses no descriptor of the service',
    carriedOut: (address) =>
      dumpWith(address, { ps: { fd: 11 } }, (log) => /connection of fd|page server|ps_fd/i.test(log)),
    refused: /ps\.fd: descriptors of a caller/,
    // CRIU's own service takes its own descriptor of that number, and the dump fails because that is no page server.
    bites: false,
  });

  // No bite: CRIU's own service ignores these options in a DUMP, or waits for ever (lazy_pages). The tests show that the table is
  // consulted before an engine is started.
  const others: readonly [CriuOpts, RegExp][] = [
    [{ images_dir_fd: 10, exec_cmd: ['/bin/sh', '-c', 'id'] }, /exec_cmd: it would run programs/],
    [{ images_dir_fd: 10, pidfd_store_sk: 11 }, /pidfd_store_sk: the descriptor would be taken/],
    [{ images_dir_fd: 10, rst_sibling: true }, /rst_sibling: the restored process would become a child/],
    [{ images_dir_fd: 10, lazy_pages: true }, /lazy_pages: pages that come later/],
  ];
  for (const [opts, sentence] of others) {
    const [, name] = Object.keys(opts);
    for (const type of [ReqType.DUMP, ReqType.PRE_DUMP, ReqType.RESTORE]) {
      it(`${name}: is refused in ${ReqType[type]}, before an engine is started`, async () => {
        const target = targetOf('alice');
        const images = directoryOf('alice');
        const alice = new Attacker('alice');
        await alice.do('open', 10, 0, images);
        await alice.do('open', 11, 0, '/dev/null');
        const pid = type === ReqType.RESTORE ? {} : { pid: target.pid };
        assertRefused(await alice.ask({ type, opts: { ...opts, ...pid } }, ourAddress), sentence);
        assert.equal(existsSync(join(images, 'criu.log')), false);
        await target.assertCountsOn();
      });
    }
  }
});

describe('a forbidden request of alice’s in a later message of a dialog', () => {
  besideReference();

  /** A harmless request with keep_open, then a request that alice could not have begun with; for a loop see pre-dumps.test.ts. */
  async function afterVersion(
    address: string,
    later: (own: number) => { message: CriuReq | Uint8Array; succeeded: () => boolean },
  ): Promise<Outcome> {
    const own = targetOf('alice');
    const alice = new Attacker('alice');
    await alice.do('open', 11, 0, directoryOf('alice'));
    const first = await alice.ask({ type: ReqType.VERSION, keep_open: true }, address);
    assert.ok(first !== 'closed' && first.success, JSON.stringify(first));
    const { message, succeeded } = later(own.pid);
    await alice.send(message);
    const reply = await alice.receive();
    if (reply !== 'closed' && reply.success) {
      await eventually('the dump has its effect', () => succeeded() || !own.alive);
    }
    return { reply, succeeded: succeeded(), survivor: own };
  }

  show({
    guarantee: 'another process than the first message named is judged anew',
    carriedOut: (address) => {
      const victim = targetOf('root');
      return afterVersion(address, () => ({
        message: { type: ReqType.DUMP, opts: { images_dir_fd: 11, pid: victim.pid } },
        succeeded: () => !victim.alive,
      }));
    },
    refused: /has the uid 0/,
    bites: true,
  });

  show({
    guarantee: 'a config_file is found in the second message, too',
    carriedOut: (address) => {
      const script = new Script();
      return afterVersion(address, (pid) => ({
        message: { type: ReqType.DUMP, opts: { images_dir_fd: 11, pid, config_file: script.config } },
        succeeded: () => script.ranAsRoot,
      }));
    },
    refused: /config_file/,
    bites: true,
  });

  show({
    guarantee: 'a field given twice is found in the second message, too',
    carriedOut: (address) => {
      const victim = targetOf('root');
      return afterVersion(address, (pid) => ({
        message: Buffer.concat([
          encodeRequest({ type: ReqType.DUMP, opts: { images_dir_fd: 11, pid } }),
          encodeRequest({ type: ReqType.DUMP, opts: { images_dir_fd: 11, pid: victim.pid } }),
        ]),
        succeeded: () => !victim.alive,
      }));
    },
    refused: /is given twice/,
    bites: true,
  });

  // No bite: CRIU's own service takes any message that is no NOTIFY as a no, as ours does.
  it('another request in place of an answer counts as a no', async () => {
    const own = targetOf('alice');
    const victim = targetOf('root');
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const opts = { images_dir_fd: 10, pid: own.pid, notify_scripts: true };
    const notified = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assert.ok(notified !== 'closed' && notified.type === ReqType.NOTIFY);
    await alice.send({ type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: victim.pid } });
    const reply = await alice.receive();
    assert.ok(reply !== 'closed' && !reply.success);
    await own.assertCountsOn();
    await victim.assertCountsOn();
    assert.equal(statSync(`/proc/${own.pid}`).uid, uids.alice);
  });
});
