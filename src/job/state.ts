/** The state of a job, and the next step. Pure: the facts come from the job's directory and /proc. */
import type { End } from './end.ts';

export interface JobFacts {
  /** Its last start or resume; undefined if it was never begun. */
  readonly run: LastRun | undefined;
  readonly end: End | undefined;
  /** The checkpoint that a resume takes. */
  readonly checkpoint: { readonly number: number; readonly ended: boolean } | undefined;
}

export interface LastRun {
  readonly process: 'runs' | 'gone' | 'on-another-machine';
  readonly pid: number;
  readonly host: string;
  /** The checkpoint that it came from. */
  readonly from: number | undefined;
  /** False if nothing can run it any more: the criuctl that watched it, perhaps on another machine, has let go of its lock. */
  readonly mayRunElsewhere: boolean;
}

export type JobState =
  | { readonly is: 'new' }
  | { readonly is: 'running'; readonly pid: number }
  | { readonly is: 'running-elsewhere'; readonly host: string }
  | { readonly is: 'finished'; readonly end: End }
  /** A checkpoint has ended it. */
  | { readonly is: 'suspended'; readonly from: number }
  /** It has ended without its command: a power cut, a kill. */
  | { readonly is: 'interrupted'; readonly from: number | undefined };

export function stateOf({ run, end, checkpoint }: JobFacts): JobState {
  // The root of the tree leaves the end before it exits.
  if (end) return { is: 'finished', end };
  if (run?.process === 'runs') return { is: 'running', pid: run.pid };
  // A checkpoint that the last run came from has ended an earlier run.
  if (checkpoint?.ended && checkpoint.number !== run?.from)
    return { is: 'suspended', from: checkpoint.number };
  if (run?.process === 'on-another-machine' && run.mayRunElsewhere)
    return { is: 'running-elsewhere', host: run.host };
  if (!run && !checkpoint) return { is: 'new' };
  return { is: 'interrupted', from: checkpoint?.number };
}

/** The step of `criuctl run` and `criuctl resume`. */
export type NextStep =
  | { readonly does: 'start' }
  | { readonly does: 'resume'; readonly from: number }
  | { readonly does: 'nothing'; readonly because: 'running' | 'running-elsewhere' | 'finished' };

export function nextStep(state: JobState): NextStep {
  switch (state.is) {
    case 'new':
      return { does: 'start' };
    case 'suspended':
      return { does: 'resume', from: state.from };
    case 'interrupted':
      // Nothing of its work was kept, so its command starts anew.
      return state.from === undefined ? { does: 'start' } : { does: 'resume', from: state.from };
    case 'running':
    case 'running-elsewhere':
    case 'finished':
      return { does: 'nothing', because: state.is };
  }
}
