/** A row of the table of criuctl's options, and the verbs that options belong to. */
import type { AnyOptions } from '../../client/options.ts';

export const verbs = [
  'look',
  'dump',
  'pre-dump',
  'restore',
  'attach',
  'check',
  'version',
  'features',
  'cpuinfo',
  'page-server',
  'images',
  'status',
  'run',
  'jobs',
  'checkpoint',
  'suspend',
  'resume',
  'logs',
  'wait',
  'remove',
] as const;

export type Verb = (typeof verbs)[number];

/** The values that a shell offers for completion. */
export type Completion = 'pid' | 'directory' | 'file' | 'nothing' | readonly string[];

export interface OptionRow {
  /** Without its dashes. */
  readonly long: string;
  readonly short?: string;
  /** Absent for a switch. An optional value is attached: -v4, --cpu-cap=all. */
  readonly value?: { readonly name: string; readonly optional?: true; readonly completion: Completion };
  readonly verbs: readonly Verb[];
  /** The heading in the help. */
  readonly group:
    | 'Images'
    | 'Tree'
    | 'Resources'
    | 'Memory'
    | 'Cgroups'
    | 'Page server'
    | 'Jobs'
    | 'Output'
    | 'criuctl';
  readonly help: string;
  /**
   * The fields of the request for this value. Lists of several occurrences are joined. Absent for options that criuctl itself
   * uses.
   */
  readonly request?: (value: string) => Partial<AnyOptions>;
  /** Present for options of criu(8) that are impossible here: the reason, and an alternative. */
  readonly impossible?: string;
}

export const dumps: readonly Verb[] = ['dump', 'pre-dump'];
/** Verbs with a process as their argument. */
export const targets: readonly Verb[] = ['look', ...dumps];
export const trees: readonly Verb[] = ['dump', 'pre-dump', 'restore'];
export const images: readonly Verb[] = [...trees, 'cpuinfo', 'page-server'];
/** Verbs of jobs that ask the service. */
export const jobRequests: readonly Verb[] = ['run', 'checkpoint', 'suspend', 'resume'];
export const jobVerbs: readonly Verb[] = [...jobRequests, 'jobs', 'logs', 'wait', 'remove'];
export const asking: readonly Verb[] = [...images, 'check', 'version', 'features', ...jobRequests];
