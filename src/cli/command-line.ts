/** criuctl's command line: commander's program, made from the option table. */
import { Command, CommanderError, Option } from 'commander';
import type { AnyOptions } from '../client/options.ts';
import { version } from '../version.ts';
import { exitCodes } from './exit-codes.ts';
import type { OwnOptions } from './invocation.ts';
import { type OptionRow, type Verb, verbs } from './options/row.ts';
import { optionsOf, optionTable } from './options/table.ts';
import {
  parseCount,
  parseInterval,
  parsePid,
  parsePositive,
  parseRounds,
  parseSeconds,
  parseSignal,
  parseStatus,
  ValueError,
} from './options/values.ts';

export interface Parsed {
  readonly verb: Verb | 'completion';
  /** `dump` or `check` of cpuinfo, an action of images, the name of a job, the shell of completion. */
  readonly action?: string;
  /** The directory or file of images. */
  readonly path?: string;
  /** The command of a job. */
  readonly command?: readonly string[];
  /** The directory that is compared with it. */
  readonly other?: string;
  readonly options: AnyOptions;
  readonly own: OwnOptions;
}

/** The help, the version or an error was printed; there is nothing else to do. */
export interface Printed {
  readonly exitCode: number;
}

interface VerbText {
  readonly summary: string;
  readonly argument?: readonly [name: string, help: string];
  /** The values that the argument may have. */
  readonly choices?: readonly string[];
  /** A second argument, which is a path. */
  readonly path?: readonly [name: string, help: string];
  /** All words that follow. */
  readonly rest?: readonly [name: string, help: string];
  /** A third argument, another path. */
  readonly other?: readonly [name: string, help: string];
}

export const verbTexts: Readonly<Record<Verb, VerbText>> = {
  look: {
    summary: 'tell if a process tree would come back, and what it needs',
    argument: ['[pid]', 'the root of the tree, as -t'],
  },
  dump: {
    summary: 'write a process tree into images, and end it',
    argument: ['[pid]', 'the root of the tree, as -t'],
  },
  'pre-dump': {
    summary: 'write the memory of a tree into images, and let it run on',
    argument: ['[pid]', 'the root of the tree, as -t'],
  },
  restore: { summary: 'bring a process tree back from its images' },
  attach: {
    summary: 'give a program whose terminal waits this terminal',
    argument: ['<target>', 'the root of its tree, or a job'],
  },
  check: { summary: 'check that the kernel is good enough' },
  version: { summary: 'print the versions of CRIU and criuctl' },
  features: { summary: 'print the optional features that CRIU and the kernel have' },
  cpuinfo: {
    summary: 'write the features of this CPU, or compare it with those written',
    argument: ['<action>', 'dump or check'],
    choices: ['dump', 'check'],
  },
  'page-server': { summary: 'receive the pages of a dump over the network' },
  images: {
    summary: 'show, verify, decode, compare, merge or compress images, tell their sizes, and remove old ones',
    argument: ['<action>', 'show, verify, decode, compare, size, merge, prune, compress or expand'],
    choices: ['show', 'verify', 'decode', 'compare', 'size', 'merge', 'prune', 'compress', 'expand'],
    path: ['[path]', 'the directory (default: this one), or the image to decode'],
    other: ['[other]', 'the directory of later images to compare, or the new directory of merge'],
  },
  status: { summary: 'show the state of the service, and its last requests' },
  run: {
    summary: 'start a job that outlives logouts and reboots, or go on with it',
    argument: ['<name>', 'its name'],
    rest: ['[command...]', 'its command, after --'],
  },
  jobs: { summary: 'show jobs, and their checkpoints' },
  checkpoint: { summary: 'take a checkpoint of a job, and let it run on', argument: ['<name>', 'the job'] },
  suspend: { summary: 'take a checkpoint of a job, and end it', argument: ['<name>', 'the job'] },
  resume: { summary: 'go on with a job from its last checkpoint', argument: ['<name>', 'the job'] },
  logs: { summary: 'show the output of a job', argument: ['<name>', 'the job'] },
  wait: { summary: 'wait until a job does not run any more', argument: ['<name>', 'the job'] },
  remove: { summary: 'remove a job, with its checkpoints and logs', argument: ['<name>', 'the job'] },
};

export const shells = ['bash', 'zsh', 'fish'] as const;

const footer = `
Exit status: ${exitCodes.done} done; ${exitCodes.failed} CRIU failed; ${exitCodes.usage} wrong command line; ${exitCodes.refused} refused; \
${exitCodes.unreachable} no service; ${exitCodes.directory} a directory is missing; ${exitCodes.ended} restored, and ended at once; ${exitCodes.interrupted} interrupted.`;

/** An option with its value, in the order of the command line. */
type Given = [OptionRow, string];

/** @param argv without the program's name. */
export function parseCommandLine(argv: readonly string[]): Parsed | Printed {
  const found: {
    verb?: Verb | 'completion';
    words?: readonly (string | undefined)[];
    rest?: readonly string[];
    command?: Command;
  } = {};
  const given: Given[] = [];
  const program = new Command('criuctl')
    .description('Checkpoints and restores processes, through the checkpoint service of this machine')
    .version(`criuctl ${version}`, '-V, --version')
    .helpOption('-h, --help')
    .addHelpText('after', footer)
    .exitOverride();
  const needed = verbsWithOptions(argv);
  for (const verb of verbs) {
    const { summary, argument, choices, path, other, rest } = verbTexts[verb];
    const command = program.command(verb).description(summary).exitOverride();
    if (argument) {
      const made = command.createArgument(...argument);
      command.addArgument(choices ? made.choices(choices) : made);
    }
    for (const each of [path, other]) if (each) command.addArgument(command.createArgument(...each));
    if (rest) command.addArgument(command.createArgument(...rest));
    if (needed.includes(verb))
      for (const row of optionsOf(verb)) command.addOption(commanderOption(row, given));
    command.action((...words: unknown[]) => {
      const named = [argument, path, other].filter(Boolean).length;
      Object.assign(found, {
        verb,
        command,
        words: words.slice(0, named),
        ...(rest ? { rest: words[named] } : {}),
      });
    });
  }
  program
    .command('completion', { hidden: true })
    .addArgument(program.createArgument('<shell>').choices(shells))
    .action((word) => {
      Object.assign(found, { verb: 'completion', command: program, words: [word] });
    });
  try {
    program.parse(attached(argv), { from: 'user' });
    return assemble(found.verb!, found.words ?? [], given, found.command!, found.rest);
  } catch (error) {
    if (error instanceof CommanderError)
      return { exitCode: error.exitCode === 0 ? exitCodes.done : exitCodes.usage };
    throw error;
  }
}

/** Hundreds of options take commander longer than all the rest of a start, and a help of all verbs alone shows that they have any. */
function verbsWithOptions([first, ...others]: readonly string[]): readonly Verb[] {
  const verb = verbs.find((each) => each === first);
  if (verb) return [verb];
  return others.length === 0 && (first === '--version' || first === '-V') ? [] : verbs;
}

function commanderOption(row: OptionRow, given: Given[]): Option {
  const { long, short, value, help, group, impossible } = row;
  const flags = `${short === undefined ? '' : `-${short}, `}--${long}`;
  const argument = value === undefined ? '' : value.optional ? ` [${value.name}]` : ` <${value.name}>`;
  const option = new Option(flags + argument, help).helpGroup(`${group}:`);
  if (impossible !== undefined) option.hideHelp();
  // Commander calls this for values only; all() finds the switches.
  return option.argParser((text: string) => {
    given.push([row, text ?? '']);
    return text;
  });
}

/**
 * getopt(3), which criu uses, takes an optional value only where it is attached; commander would take the next word. So an option
 * that stands alone gets an empty value, and `-Rv4` becomes `-R -v4`.
 */
function attached(argv: readonly string[]): string[] {
  const optional = optionTable.filter(({ value }) => value?.optional);
  const shorts = optional.flatMap(({ short }) => short ?? []).join('');
  const separate: string[] = [];
  for (const [index, word] of argv.entries()) {
    if (word === '--') return [...separate, ...argv.slice(index)];
    const cluster = new RegExp(`^(-[A-Za-z]+?)([${shorts}].*)$`).exec(word);
    const switches = cluster?.[1]?.slice(1).split('') ?? [];
    if (cluster && switches.every((short) => optionTable.some((row) => row.short === short && !row.value))) {
      separate.push(cluster[1]!, `-${cluster[2]}`);
    } else separate.push(word);
  }
  return separate.map((word) => {
    const row = optional.find(
      ({ long, short }) => word === `--${long}` || (short !== undefined && word === `-${short}`),
    );
    return row ? `--${row.long}=` : word;
  });
}

function assemble(
  verb: Verb | 'completion',
  [word, path, other]: readonly (string | undefined)[],
  given: readonly Given[],
  command: Command,
  rest: readonly string[] | undefined,
): Parsed {
  const options: Record<string, unknown> = {};
  const own = new Map<string, string>();
  const actionScripts: string[] = [];
  if (word !== undefined && (takesPid(verb) || (verb === 'attach' && /^\d+$/.test(word)))) {
    options.pid = checked('the pid', word, parsePid, command);
  }
  for (const [row, text] of all(given, command)) {
    const name = `--${row.long}`;
    if (row.impossible !== undefined) command.error(`error: option '${name}': ${row.impossible}`);
    if (row.request) merge(options, checked(name, text, row.request, command));
    else if (row.long === 'action-script') actionScripts.push(text);
    else own.set(row.long, text);
  }
  if (takesPid(verb) && options.pid === undefined) {
    command.error(`error: which process? Say criuctl ${verb} PID`);
  }
  if (typeof options.logFile === 'string' && options.logFile.includes('/')) {
    command.error(`error: option '--log-file' takes a name; its directory is --work-dir`);
  }
  const parsed = <T>(long: string, parse: (text: string) => T): T | undefined =>
    own.has(long) ? checked(`--${long}`, own.get(long)!, parse, command) : undefined;
  const lines = checked('--lines', own.get('lines') ?? '10', parseCount, command);
  return {
    verb,
    ...(word === undefined ? {} : { action: word }),
    ...(path === undefined ? {} : { path }),
    ...(rest === undefined ? {} : { command: rest }),
    ...(other === undefined ? {} : { other }),
    options: options as AnyOptions,
    own: {
      json: own.has('json'),
      service: own.get('service'),
      trustImages: own.has('trust-images'),
      force: own.has('force'),
      noVerify: own.has('no-verify'),
      replace: own.has('replace'),
      digestPages: own.has('digest-pages'),
      compress: own.has('compress'),
      live: parsed('live', parseRounds),
      displayStats: own.has('display-stats'),
      pidfile: own.get('pidfile'),
      detach: own.get('detach'),
      terminal: own.get('terminal'),
      stdin: own.get('stdin'),
      stdout: own.get('stdout'),
      stderr: own.get('stderr'),
      actionScripts,
      restoreFiles: own.has('restore-files'),
      wait: own.has('wait'),
      keep: parsed('keep', parsePositive),
      dryRun: own.has('dry-run'),
      lines,
      job: {
        dir: own.get('dir'),
        every: parsed('every', parseInterval),
        foreground: own.has('foreground'),
        onSignal: parsed('on-signal', parseSignal),
        suspendedStatus: parsed('exit-code', parseStatus) ?? exitCodes.suspended,
        timeLimit: parsed('time-limit', parseSeconds),
        from: parsed('from', parsePositive),
        follow: own.has('follow'),
        inUnit: own.has('in-unit'),
        takeOver: own.has('take-over'),
        pty: own.has('pty'),
      },
    },
  };
}

function takesPid(verb: Verb | 'completion'): boolean {
  return verb !== 'completion' && /^[[<]pid[\]>]$/.test(verbTexts[verb].argument?.[0] ?? '');
}

/** Returns the switches, which commander keeps itself, then the options with values in their order. */
function all(given: readonly Given[], command: Command): readonly Given[] {
  const switches = optionTable.filter(
    ({ value, long }) => value === undefined && command.getOptionValueSource(attributeOf(long)) === 'cli',
  );
  return [...switches.map((row): Given => [row, '']), ...given];
}

/** As commander calls it: `--no-x` turns `x` off. */
function attributeOf(long: string): string {
  return long.replace(/^no-/, '').replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

function checked<T>(what: string, text: string, parse: (text: string) => T, command: Command): T {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof ValueError) command.error(`error: ${what}: ${error.message}`);
    throw error;
  }
}

/**
 * Merges options: lists are joined, objects (the page server's address and port) are merged, and for other values the last
 * counts.
 */
function merge(into: Record<string, unknown>, more: object): void {
  for (const [name, value] of Object.entries(more)) {
    const before = into[name];
    if (Array.isArray(value)) into[name] = [...((before as unknown[]) ?? []), ...value];
    else if (typeof value === 'object') into[name] = { ...(before as object), ...value };
    else into[name] = value;
  }
}
