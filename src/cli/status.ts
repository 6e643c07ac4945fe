/** criuctl status: the service as systemd knows it, and its last requests from the journal. The service itself is not asked. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { userName } from './people.ts';
import { restoredTrees } from './restored-trees.ts';
import { inTime } from './words.ts';

const execute = promisify(execFile);

/** Enough for the records of a hundred thousand requests. */
const mostBytes = 64 << 20;

const serviceProperties = [
  'LoadState',
  'ActiveState',
  'SubState',
  'UnitFileState',
  'MainPID',
  'StatusText',
  'ActiveEnterTimestamp',
  'ExecStart',
];
const socketProperties = [
  'LoadState',
  'ActiveState',
  'SubState',
  'UnitFileState',
  'Listen',
  'SocketMode',
  'SocketGroup',
];

type Properties = Readonly<Record<string, string>>;

/** A request, as src/records/records.ts writes it. */
export interface RecentRequest {
  /** ISO 8601. */
  readonly time: string;
  readonly request: string | undefined;
  readonly result: string | undefined;
  readonly callerPid: number | undefined;
  readonly callerUid: number | undefined;
  readonly targetPid: number | undefined;
  readonly restoredPid: number | undefined;
  readonly errno: number | undefined;
  readonly durationUsec: number | undefined;
  readonly message: string;
}

export async function run({ own }: Invocation): Promise<Outcome> {
  const [{ ExecStart = '', ...service }, socket, trees, recent] = await Promise.all([
    show('criu.service', serviceProperties),
    show('criu.socket', socketProperties),
    restoredTrees(),
    recentRequests(own.lines),
  ]);
  const limits = await limitsOf(ExecStart);
  const listening = socket.ActiveState === 'active';
  const available = listening || service.ActiveState === 'active';
  return {
    sentence: [
      `criu.socket   ${describeSocket(socket)}`,
      `criu.service  ${describeService(service)}`,
      ...(service.StatusText ? [`              ${service.StatusText}`] : []),
      ...(limits ? [`limits        ${describeLimits(limits)}`] : []),
      ...(trees.length > 0 ? [`running       ${trees.join(', ')}`] : []),
      ...(available ? [] : ['', 'Start it, as root: systemctl enable --now criu.socket']),
      '',
      ...describeRecent(recent),
    ].join('\n'),
    value: available ? (listening ? 'listening' : 'active') : 'inactive',
    json: { verb: 'status', service, socket, limits, trees, recent },
    exitCode: available ? exitCodes.done : exitCodes.unreachable,
  };
}

function describeSocket({
  LoadState,
  ActiveState,
  UnitFileState,
  Listen,
  SocketMode,
  SocketGroup,
}: Properties): string {
  if (LoadState === 'not-found') return 'is not installed';
  const where = Listen?.replace(/ \(.*$/, '') ?? '';
  const who = SocketGroup ? `${SocketMode}, group ${SocketGroup}` : SocketMode;
  return ActiveState === 'active'
    ? `listens on ${where} (${who}), ${UnitFileState}`
    : `${ActiveState}, ${UnitFileState}`;
}

function describeService({
  LoadState,
  ActiveState,
  SubState,
  MainPID,
  ActiveEnterTimestamp,
}: Properties): string {
  if (LoadState === 'not-found') return 'is not installed';
  if (ActiveState !== 'active') return `${ActiveState}: it starts with the next connection`;
  return `${SubState} since ${ActiveEnterTimestamp}, process ${MainPID}`;
}

function describeRecent(recent: readonly RecentRequest[] | undefined): string[] {
  if (!recent)
    return ['The journal, which has the last requests, is root’s and of the groups adm and systemd-journal'];
  if (recent.length === 0) return ['No request yet'];
  return recent.map(
    ({
      time,
      request = '?',
      result = '?',
      callerPid,
      callerUid,
      targetPid,
      restoredPid,
      durationUsec,
      message,
    }) => {
      const who = callerUid === undefined ? 'somebody' : `${userName(callerUid)} (pid ${callerPid})`;
      const what = targetPid ?? restoredPid;
      const took = durationUsec === undefined ? '' : inTime(durationUsec);
      const why =
        result === 'done'
          ? ''
          : message.replace(/^.*? (?:failed|refused)[^:]*: /, '').replace(/^[A-Z_]+ refused: /, '');
      const when = time.replace('T', ' ').replace(/\..*$/, '');
      return `${when}  ${result.padEnd(7)}  ${request.padEnd(15)} ${String(what ?? '').padEnd(8)} ${who.padEnd(20)} ${took.padEnd(9)} ${why}`.trimEnd();
    },
  );
}

/** The settings on the unit's command line. */
interface ServiceLimits {
  readonly sessions: number;
  readonly sessionsPerUser: number;
  readonly engines: number;
  readonly enginesPerUser: number;
  /** The option --restore: the users that may restore without root. */
  readonly restore: string;
}

/**
 * @param execStart as systemd shows it: `{ path=... ; argv[]=PROGRAM WORD... ; ... }`; undefined if it is no command line of this
 * service.
 */
export async function limitsOf(execStart: string): Promise<ServiceLimits | undefined> {
  const words = /argv\[\]=(.*?) ;/.exec(execStart)?.[1]?.split(' ').slice(1);
  if (!words) return undefined;
  const { parseCommandLine } = await import('../daemon/command-line.ts');
  const options = parseCommandLine(words, '');
  return 'exitCode' in options ? undefined : { ...options.limits, restore: options.restore };
}

function describeLimits({
  sessions,
  sessionsPerUser,
  engines,
  enginesPerUser,
  restore,
}: ServiceLimits): string {
  const users =
    { all: 'everybody may restore', root: 'only root may restore' }[restore] ??
    `root and ${restore.replace('=', ' ')} may restore`;
  return `${sessions} connections, ${sessionsPerUser} of one user; ${engines} CRIU processes, ${enginesPerUser} of one user; ${users}`;
}

async function show(unit: string, properties: readonly string[]): Promise<Properties> {
  try {
    const { stdout } = await execute('systemctl', ['show', `--property=${properties.join(',')}`, unit]);
    const lines = stdout.split('\n').filter((line) => line.includes('='));
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  } catch (error) {
    throw new Obstacle(
      exitCodes.unreachable,
      `systemd cannot be asked: ${(error as Error).message.split('\n')[0]}`,
      'criuctl version says whether a service answers',
    );
  }
}

/** @returns undefined if the journal may not be read. */
async function recentRequests(lines: number): Promise<RecentRequest[] | undefined> {
  const results = ['done', 'failed', 'refused'].map((result) => `CRIU_RESULT=${result}`);
  const words = ['--unit=criu.service', '--output=json', '--no-pager', `--lines=${lines}`, ...results];
  try {
    const { stdout, stderr } = await execute('journalctl', words, { maxBuffer: mostBytes });
    if (stdout === '' && /permission/i.test(stderr)) return undefined;
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map(asRequest);
  } catch {
    return undefined;
  }
}

function asRequest(line: string): RecentRequest {
  const entry = JSON.parse(line) as Record<string, unknown>;
  const text = (name: string): string | undefined =>
    typeof entry[name] === 'string' ? entry[name] : undefined;
  const number = (name: string): number | undefined =>
    text(name) === undefined ? undefined : Number(text(name));
  return {
    time: new Date(Number(text('__REALTIME_TIMESTAMP')) / 1000).toISOString(),
    request: text('CRIU_REQUEST'),
    result: text('CRIU_RESULT'),
    callerPid: number('CRIU_CALLER_PID'),
    callerUid: number('CRIU_CALLER_UID'),
    targetPid: number('CRIU_TARGET_PID'),
    restoredPid: number('CRIU_RESTORED_PID'),
    errno: number('CRIU_ERRNO'),
    durationUsec: number('CRIU_DURATION_USEC'),
    message: text('MESSAGE') ?? '',
  };
}
