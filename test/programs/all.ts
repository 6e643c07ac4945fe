/** Runs the battery inside the container: each program, as root and as alice; prints the table, and leaves it in BENCH_OUT. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { User } from '../hostile/support/people.ts';
import { payload, run } from '../system/support/bench.ts';
import { builds } from './list/builds.ts';
import { clients } from './list/clients.ts';
import { interpreters } from './list/interpreters.ts';
import { kernel } from './list/kernel.ts';
import { pipes } from './list/pipes.ts';
import { servers } from './list/servers.ts';
import { terminals } from './list/terminals.ts';
import { outcomeOf, type Trial, wordsFor } from './outcome.ts';
import type { Program } from './program.ts';
import { failures, type Row, sentenceOf, tableOf } from './table.ts';
import { tryOut } from './trial.ts';

const users: readonly User[] = ['root', 'alice'];
const programs: readonly Program[] = [
  ...interpreters,
  ...servers,
  ...terminals,
  ...pipes,
  ...builds,
  ...kernel,
  ...clients,
];

const out = process.env.BENCH_OUT ?? '/bench/out';
/** Each trial has a port of its own: a closed connection may hold the port of the last. */
const firstPort = 21_000;

const wanted = new RegExp(readFileSync(join(payload, 'programs'), 'utf8').trim());
const rows: Row[] = [];
let port = firstPort;
for (const program of programs.filter(({ name }) => wanted.test(name))) {
  program.build?.();
  const trials = new Map<User, Trial>();
  for (const user of program.users ?? users) {
    const began = Date.now();
    const trial = await tryOut(program, user, port++);
    trials.set(user, trial);
    const words = [trial.verdict ?? '', wordsFor(outcomeOf(trial)), sentenceOf(trial).split('\n')[0]];
    console.log(
      `${program.name}, ${user}: ${words.join('; ')} (${((Date.now() - began) / 1000).toFixed(1)} s)`,
    );
    appendFileSync(join(out, 'trials.jsonl'), `${JSON.stringify({ program: program.name, user, trial })}\n`);
  }
  rows.push({ program: program.name, trials });
}
const criu = run('criu', '--version').split('\n')[0]!.replace('Version: ', 'CRIU ');
const suite = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Debian';
const table = tableOf(rows, users, `Programs on ${suite}, ${criu}, Linux ${run('uname', '-r').trim()}`);
writeFileSync(join(out, 'programs.md'), table);
console.log(`\n${table}`);
const failed = failures(rows);
for (const failure of failed) console.log(`FAILED: ${failure}`);
process.exitCode = failed.length > 0 ? 1 : 0;
