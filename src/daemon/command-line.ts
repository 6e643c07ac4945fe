/** The command line of criu-service: the options of `criu service`, under the same names. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { maxPacketBytes } from '../native/limits.ts';
import { mostSessions } from '../systemd/store-names.ts';
import { defaults, type Printed, type ServiceOptions } from './options.ts';

/** The size of a request with a few options and paths. */
const smallestLimit = 4096;

/**
 * @param argv without the program's name.
 * @returns the options; or the exit status, if help, the version or an error was printed.
 */
export function parseCommandLine(argv: readonly string[], version: string): ServiceOptions | Printed {
  const command = new Command('criu-service')
    .description('A system service that checkpoints and restores processes for its callers, over CRIU RPC')
    .argument('[service]', 'accepted and ignored, so that a command line of `criu service` works')
    .option('--address <path>', 'listen here, unless systemd passes the socket', defaults.address)
    .addOption(new Option('--pid-file <path>', 'write the pid to this file'))
    .addOption(new Option('--pidfile <path>').hideHelp())
    .option(
      '-d, --daemon',
      'run in the background; the command returns when the service is ready',
      defaults.daemon,
    )
    .option('-o, --log-file <file>', 'append the log to this file')
    .addOption(
      new Option('-v [level]', 'log level: 0 errors, 1 warnings, 2 information, 4 everything')
        .argParser(parseVerbosity)
        .preset('')
        .default(defaults.verbosity),
    )
    .option('-W, --work-dir <dir>', 'where relative file names of this command line start')
    .option('--status-fd <fd>', 'write a zero byte to this descriptor when ready', parseNumber)
    .option('--criu <path>', 'the criu program, instead of the one that is installed')
    .option(
      '--allow-no-new-privs',
      'serve callers without root that have no_new_privs set, and may be in a sandbox (Landlock) that cannot be seen',
      defaults.allowNoNewPrivs,
    )
    .option(
      '--restore <who>',
      'who may restore: root alone, root and group=NAME, or all',
      parseRestore,
      defaults.restore,
    )
    .addOption(
      new Option(
        '--yama <rule>',
        'under kernel.yama.ptrace_scope 1, users may dump what the kernel lets them trace (kernel), all that is their own (own), or nothing (none)',
      )
        .choices(['kernel', 'own', 'none'])
        .default(defaults.yama),
    )
    .option(
      '--request-timeout <seconds>',
      'how long a connection may stay silent',
      parseSeconds,
      defaults.timeouts.requestMs / 1000,
    )
    .option(
      '--notify-timeout <seconds>',
      'how long a caller may take to answer a notification',
      parseSeconds,
      defaults.timeouts.notifyMs / 1000,
    )
    .option(
      '--operation-timeout <seconds>',
      'how long a request may take before CRIU is asked to roll back (default: as long as it takes)',
      parseSeconds,
    )
    .option(
      '--max-sessions <n>',
      'connections at once, an eighth of them for root alone',
      parseCount,
      defaults.limits.sessions,
    )
    .option(
      '--max-sessions-per-user <n>',
      'connections of one user at once',
      parseCount,
      defaults.limits.sessionsPerUser,
    )
    .option(
      '--max-engines <n>',
      'CRIU processes at once, an eighth of them for root alone',
      parseCount,
      defaults.limits.engines,
    )
    .option(
      '--max-engines-per-user <n>',
      'CRIU processes of one user at once',
      parseCount,
      defaults.limits.enginesPerUser,
    )
    .option('--max-packet-size <bytes>', 'the largest request', parsePacketSize, defaults.maxPacketBytes)
    .option(
      '--idle-timeout <seconds>',
      'leave after so long with nothing to do, when systemd passed the socket; 0 for never',
      parseIdle,
      defaults.idleTimeoutMs! / 1000,
    )
    .option(
      '--stop-timeout <seconds>',
      'how long a stop waits for work before CRIU is asked to roll back',
      parseSeconds,
      defaults.stopTimeoutMs / 1000,
    )
    .option('--metrics-file <file>', 'keep totals for Prometheus in this file')
    .option(
      '--engines-ahead <count>',
      'how many engines wait for a request, so that it needs not wait (more for a while where more are needed at once)',
      parseAhead,
      defaults.enginesAhead,
    )
    .version(`criu-service ${version}`, '-V, --version')
    .exitOverride();
  try {
    command.parse(argv, { from: 'user' });
    const [word] = command.args;
    if (word !== undefined && word !== 'service') command.error(`error: unknown command '${word}'`);
    const { maxSessions, maxEngines } = command.opts();
    // Each session has at most one engine at work.
    const most = mostSessions(Math.min(maxEngines, maxSessions));
    if (maxSessions > most) {
      command.error(
        `error: --max-sessions ${maxSessions} is too many with --max-engines ${maxEngines}: systemd could not name them all to the next start (LISTEN_FDNAMES); at most ${most}`,
      );
    }
  } catch (error) {
    if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2 };
    throw error;
  }
  const given = command.opts();
  const pidFile: string | undefined = given.pidFile ?? given.pidfile;
  return {
    address: given.address,
    daemon: given.daemon,
    verbosity: given.v,
    allowNoNewPrivs: given.allowNoNewPrivs,
    restore: given.restore,
    yama: given.yama,
    limits: {
      sessions: given.maxSessions,
      sessionsPerUser: given.maxSessionsPerUser,
      engines: given.maxEngines,
      enginesPerUser: given.maxEnginesPerUser,
    },
    timeouts: {
      requestMs: given.requestTimeout * 1000,
      notifyMs: given.notifyTimeout * 1000,
      operationMs: given.operationTimeout === undefined ? undefined : given.operationTimeout * 1000,
    },
    maxPacketBytes: given.maxPacketSize,
    enginesAhead: given.enginesAhead,
    stopTimeoutMs: given.stopTimeout * 1000,
    ...(given.idleTimeout === 0 ? {} : { idleTimeoutMs: given.idleTimeout * 1000 }),
    ...(pidFile === undefined ? {} : { pidFile }),
    ...(given.logFile === undefined ? {} : { logFile: given.logFile }),
    ...(given.metricsFile === undefined ? {} : { metricsFile: given.metricsFile }),
    ...(given.workDir === undefined ? {} : { workDir: given.workDir }),
    ...(given.statusFd === undefined ? {} : { statusFd: given.statusFd }),
    ...(given.criu === undefined ? {} : { criu: given.criu }),
  };
}

/** -v4 sets the level; -v, -vv and so on stand for everything (4). */
function parseVerbosity(value: string): number {
  if (value === '') return 4;
  if (/^v+$/.test(value)) return 4;
  if (/^[0-9]$/.test(value)) return Number(value);
  throw new InvalidArgumentError('a level is a digit.');
}

function parseRestore(value: string): string {
  if (/^(root|all|group=[A-Za-z0-9_][A-Za-z0-9_.-]*)$/.test(value)) return value;
  throw new InvalidArgumentError('it is root, all or group=NAME.');
}

function parseNumber(value: string): number {
  if (!/^[0-9]{1,9}$/.test(value)) throw new InvalidArgumentError('a descriptor is a number.');
  return Number(value);
}

function parseCount(value: string): number {
  if (/^[1-9][0-9]{0,5}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('it is a number from 1 to 999999.');
}

function parsePacketSize(value: string): number {
  const bytes = Number(value);
  if (Number.isInteger(bytes) && bytes >= smallestLimit && bytes <= maxPacketBytes) return bytes;
  throw new InvalidArgumentError(`it is a number of bytes from ${smallestLimit} to ${maxPacketBytes}.`);
}

function parseIdle(value: string): number {
  return value === '0' ? 0 : parseSeconds(value);
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (!(seconds > 0 && seconds <= 86400))
    throw new InvalidArgumentError('a time is a number of seconds, 86400 at most.');
  return seconds;
}

function parseAhead(value: string): number {
  if (/^[0-9]{1,2}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('it is a number, 99 at most.');
}
