/** Options of the verbs of jobs. */
import { names } from './builders.ts';
import { type Completion, jobVerbs, type OptionRow, type Verb } from './row.ts';

function job(
  spelling: string,
  name: string | undefined,
  verbs: readonly Verb[],
  help: string,
  completion: Completion = 'nothing',
): OptionRow {
  return {
    ...names(spelling),
    ...(name === undefined ? {} : { value: { name, completion } }),
    verbs,
    group: 'Jobs',
    help,
  };
}

export const jobOptions: readonly OptionRow[] = [
  job(
    '--every',
    'duration',
    ['run'],
    'take a checkpoint this long after the last, as in 10min, or auto: by its cost',
  ),
  job(
    '--foreground',
    undefined,
    ['run', 'resume'],
    'stay with the job, pass signals on, and exit with its status',
  ),
  job('--pty', undefined, ['run'], 'give the command a terminal of its own, for criuctl attach'),
  job(
    '--on-signal',
    'signal',
    ['run', 'resume'],
    'in the foreground, suspend the job when this signal comes',
  ),
  job('--time-limit', 'duration', ['run', 'resume'], 'in the foreground, suspend the job after this time'),
  job(
    '--exit-code',
    'status',
    ['run', 'resume', 'wait'],
    'exit status for a job that is suspended (default: 85)',
  ),
  job('--dir', 'directory', jobVerbs, 'directory of the jobs (default: ~/.local/state/criu)', 'directory'),
  job('--from', 'number', ['resume'], 'go on from this checkpoint'),
  job(
    '--take-over',
    undefined,
    ['resume'],
    'go on here although the job ran on another machine last, which is gone for good',
  ),
  job('-f, --follow', undefined, ['logs'], 'show what comes, until the job ends'),
  job(
    '--in-unit',
    undefined,
    ['resume', 'checkpoint', 'suspend'],
    'for criu-job@.service: be a command of its unit',
  ),
];
