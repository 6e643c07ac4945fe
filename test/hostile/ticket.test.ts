/**
 * sudo asks for no password while a ticket is younger than `timestamp_timeout`, by CLOCK_BOOTTIME, and knows the session or parent
 * that has the ticket by its pid and start time, which /proc tells by the reader's clock. A user who chooses the pids and the
 * clock of a process of hers is as old a session of hers as she likes.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, eventually, inVm, run } from '../system/support/bench.ts';
import { clocksImage, uptime } from '../system/support/clocks.ts';
import { criuctlAs, must } from '../system/support/criuctl.ts';
import { Target } from '../system/support/targets.ts';
import { it } from './support/guarantee.ts';
import { unshackled } from './support/images.ts';
import { as, directoryOf } from './support/people.ts';

const rules = '/etc/sudoers.d/ticket-test';
const timeoutSeconds = 15;

interface Ticket {
  readonly pid: number;
  /** In hundredths of a second. */
  readonly started: number;
  readonly seen: number;
}

/** A session of alice's in which she has told sudo her password; it has ended. The container's alice is no user of sudo's. */
function ticketOf(file: string): Ticket {
  if (!inVm) return { pid: 0, started: Math.round(uptime() * 100), seen: Math.round(uptime() * 100) };
  run('sh', '-c', 'echo alice:secret | chpasswd');
  const timeout = `Defaults:alice timestamp_timeout=${timeoutSeconds / 60}\n`;
  writeFileSync(rules, `alice ALL=(ALL) ALL\n${timeout}`, { mode: 0o440 });
  const [program, ...argv] = [...as('alice'), binary('ticket'), 'authenticate', 'secret', file];
  run(program!, ...argv);
  const [pid, started, seen] = readFileSync(file, 'utf8').split(' ').map(Number);
  return { pid: pid!, started: started!, seen: seen! };
}

const told = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');

// The bite: with the clock of the dump, however old, sudo asks for no password.
describe('a ticket of sudo’s that has expired', () => {
  it('stays expired for a process that alice restores with the clock of an earlier moment', async () => {
    const directory = directoryOf('alice');
    const ticket = ticketOf(join(directory, 'ticket'));
    const expired = ticket.seen / 100 + timeoutSeconds;
    await eventually('the ticket has expired', () => uptime() > expired + 1);

    const file = join(directory, 'told');
    const moments = [ticket.pid, ticket.started, ticket.seen].map(String);
    const [program, ...argv] = [...as('alice', ...unshackled()), binary('ticket'), 'waits', ...moments, file];
    const waiting = new Target(Number(run(program!, ...argv)), file);
    await eventually('it waits', () => told(file) === 'late');
    const images = directoryOf('alice');
    must(criuctlAs('alice', 'dump', String(waiting.pid), '-D', images));
    await waiting.assertGone();
    rmSync(file);

    const before = BigInt(Math.floor(ticket.started / 100) - 20);
    rmSync(join(images, 'manifest.json'));
    writeFileSync(join(images, 'timens-0.img'), clocksImage([before, 0n]));
    must(criuctlAs('alice', 'restore', '-D', images));
    try {
      await eventually('it tells of its clock', () => told(file) !== '');
      if (inVm && told(file) !== 'late') {
        // So many processes later the kernel would have come to this pid by itself.
        await eventually('it forks', () => existsSync(`${file}.fork`));
        writeFileSync('/proc/sys/kernel/ns_last_pid', String(ticket.pid - 12));
        writeFileSync(`${file}.forked`, '');
        await eventually('it has asked sudo', () => /sudo|missed/.test(told(file)));
      }
      assert.equal(told(file), 'late');
    } finally {
      await waiting.kill();
      rmSync(rules, { force: true });
    }
  });
});
