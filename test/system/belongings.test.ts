/** A restored process may hold everything that its user may hold: a test for each kind. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { unshackled } from '../hostile/support/images.ts';
import { directoryOf, startCounting } from '../hostile/support/people.ts';
import { binary } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import type { Target } from './support/targets.ts';

/** Each key is a function of clients/belongings.c. */
const kinds: Readonly<Record<string, string>> = {
  files: 'files that she may read, write or find',
  mappings: 'mappings of files',
  deleted: 'deleted files of hers, and mappings of them',
  memory: 'a memfd, shared memory, and a deleted file in /dev/shm',
  pipes: 'pipes and a FIFO',
  sockets: 'sockets of the Unix domain',
  events: 'sets of events, timers and signals',
  devices: 'devices that every user may open',
  terminal: 'a terminal of its own',
  processes: 'files of /proc: its own, its child’s, and public files',
  pidfd: 'a pidfd',
  aio: 'a ring of asynchronous requests',
  workplace: 'a working directory that only she may enter',
  'deleted-workplace': 'a working directory that was deleted',
  threads: 'threads that share its files',
};

/** The targets of its descriptors, without the numbers that the kernel chooses. */
function belongings({ pid }: Target): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`.replace(/:\[\d+\]$/, ''))
    .sort();
}

// Without root CRIU 4.1.1 cannot dump a watch of inotify(7), nor, on Linux 6.16 and later, a socket of the Internet.
describe('alice gets back a process that holds', () => {
  for (const [kind, what] of Object.entries(kinds)) {
    it(what, async () => {
      const target = startCounting('alice', unshackled(), binary('belongings'), kind);
      // When the process counts, it has closed the pipe that reported its readiness.
      await target.assertCountsOn();
      const before = belongings(target);
      const images = directoryOf('alice');
      for (const type of [ReqType.DUMP, ReqType.RESTORE]) {
        const alice = new Client('alice');
        await alice.do('open', 10, 0, images);
        const opts = {
          images_dir_fd: 10,
          log_level: 4,
          log_file: `${ReqType[type]}.log`,
          file_locks: true,
          ...(type === ReqType.DUMP ? { pid: target.pid } : {}),
        };
        const reply = await alice.ask({ type, opts }, ourAddress);
        assert.ok(reply !== 'closed' && reply.success, `${ReqType[type]}: ${JSON.stringify(reply)}`);
        await alice.end();
        if (type === ReqType.DUMP) await target.assertGone();
      }
      await target.assertCountsOn();
      assert.deepEqual(belongings(target), before);
    });
  }
});
