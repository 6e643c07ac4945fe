/**
 * Measures `criuctl images verify`: directories of real programs, intact and damaged, the verdict against the restore that follows. Prints
 * the table, and leaves it in BENCH_OUT.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { User } from '../../hostile/support/people.ts';
import { payload, run } from '../../system/support/bench.ts';
import { interpreters } from '../list/interpreters.ts';
import { kernel } from '../list/kernel.ts';
import { pipes } from '../list/pipes.ts';
import { servers } from '../list/servers.ts';
import { type Measured, tableOf, wrongOf } from './judgement.ts';
import { leastDamages, measure } from './measure.ts';

/** Programs of each kind whose dump and restore take little time. */
const chosen = new Set([
  'python3, a loop',
  'python3, threads and shared memory',
  'python3, a child process with a pipe',
  'python3 with memfd, eventfd and a socket pair',
  'python3 with a zombie',
  'python3, an asyncio server on a Unix socket',
  'bash, a script with sleep',
  'perl',
  'lua',
  'ruby',
  'php',
  'tcl',
  'gawk',
  'sh, started by nohup and setsid',
  'python3 with a large deleted file',
  'python3 with a UDP socket',
  'tail -f of a growing file',
  'a FIFO between two programs',
  'redis-server on a Unix socket',
  'memcached on a Unix socket',
  'lighttpd on TCP',
  'sqlite3 in a transaction',
]);

const users: readonly User[] = ['root', 'alice'];
const leastDirectories = 30;
const out = process.env.BENCH_OUT ?? '/bench/out';
const wanted = new RegExp(readFileSync(join(payload, 'programs'), 'utf8').trim());
const programs = [...interpreters, ...kernel, ...pipes, ...servers].filter(
  ({ name }) => chosen.has(name) && wanted.test(name),
);

const pairs = programs.flatMap((program) => (program.users ?? users).map((user) => ({ program, user })));

const all: Measured[] = [];
const faults: string[] = [];
let port = 22_000;
let directories = 0;
/** Directories that were damaged in enough ways. */
let enough = 0;
for (const { program, user } of pairs) {
  const began = Date.now();
  try {
    const measured = await measure(program, user, port++, directories);
    directories += 1;
    all.push(...measured);
    for (const each of measured) appendFileSync(join(out, 'verdicts.jsonl'), `${JSON.stringify(each)}\n`);
    const words = `${measured.length} states, ${wrongOf(measured).length} disagreements`;
    console.log(`${program.name}, ${user}: ${words} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    for (const line of wrongOf(measured)) console.log(`  ${line}`);
    if (measured.length > leastDamages) enough += 1;
    else faults.push(`${program.name}, ${user}: ${words} only`);
  } catch (error) {
    faults.push(`${program.name}, ${user}: ${(error as Error).message.split('\n')[0]}`);
    console.log(`NOT MEASURED: ${faults.at(-1)}`);
  }
}
const criu = run('criu', '--version').split('\n')[0]!.replace('Version: ', 'CRIU ');
const heading = `Verdicts of criuctl images verify, ${criu}, Linux ${run('uname', '-r').trim()}`;
const table = tableOf(all, heading, faults);
writeFileSync(join(out, 'verdicts.md'), table);
console.log(`\n${table}`);
const isWhole = enough >= Math.min(leastDirectories, pairs.length);
if (!isWhole) console.log(`FAILED: ${enough} directories of ${pairs.length} were measured`);
process.exitCode = wrongOf(all).length > 0 || !isWhole ? 1 : 0;
