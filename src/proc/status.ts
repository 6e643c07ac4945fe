/** Pure parsers of /proc/PID files, see proc_pid_status(5) and getauxval(3). */

/**
 * Returns a line of a status file, except the first. The first line, `Name:`, is chosen by the process, and the kernel escapes
 * only newlines there: for a regular expression with `m`, a carriage return in the name would begin a line, too.
 */
export function statusField(text: string, name: string): string | undefined {
  const at = text.indexOf(`\n${name}:`);
  if (at === -1) return undefined;
  const begin = at + name.length + 2;
  const end = text.indexOf('\n', begin);
  return text.slice(begin, end === -1 ? text.length : end).trim();
}

/** The credentials of a thread, from /proc/PID/task/TID/status. */
export interface ThreadStatus {
  readonly tid: number;
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly number[];
  /** Real, effective, saved and file system gid. */
  readonly gids: readonly number[];
  /** Supplementary groups, ascending. */
  readonly groups: readonly number[];
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
  readonly umask: number;
  readonly noNewPrivs: boolean;
  /** 0 none, 1 strict, 2 filter (prctl(2), PR_SET_SECCOMP). */
  readonly seccomp: number;
}

/** @throws Error if a line that every supported kernel writes is absent. Fails closed: then nothing is known about the thread. */
export function parseThreadStatus(text: string): ThreadStatus {
  const optional = (name: string): string | undefined => statusField(text, name);
  const field = (name: string): string => {
    const value = optional(name);
    if (value === undefined) throw new Error(`/proc status has no line ${name}`);
    return value;
  };
  const numbers = (name: string): number[] =>
    field(name)
      .split(/\s+/)
      .filter((word) => word !== '')
      .map(Number);
  const capabilities = (name: string): bigint => BigInt(`0x${field(name)}`);
  return {
    tid: Number(field('Pid')),
    uids: numbers('Uid'),
    gids: numbers('Gid'),
    groups: numbers('Groups'),
    inheritable: capabilities('CapInh'),
    permitted: capabilities('CapPrm'),
    effective: capabilities('CapEff'),
    bounding: capabilities('CapBnd'),
    ambient: capabilities('CapAmb'),
    // Linux 4.7. The umask of a task that exits is not shown.
    umask: Number.parseInt(optional('Umask') ?? '077', 8),
    noNewPrivs: field('NoNewPrivs') === '1',
    // A kernel without CONFIG_SECCOMP has no such line, and no filters.
    seccomp: Number(optional('Seccomp') ?? '0'),
  };
}

/** The changing state of a thread, which is no credential: whether it runs, and its tracer. */
export interface Tracing {
  /** The letter of `State:`. */
  readonly state: string;
  /** TracerPid, 0 without a tracer. */
  readonly tracer: number;
}

export function parseTracing(text: string): Tracing {
  const state = statusField(text, 'State')?.[0];
  const tracer = statusField(text, 'TracerPid');
  if (state === undefined || tracer === undefined)
    throw new Error('/proc status says nothing of State or TracerPid');
  return { state, tracer: Number(tracer) };
}

/** AT_SECURE from a 64-bit /proc/PID/auxv. An auxv that cannot be read (a kernel thread, a process that exits) is empty: secure. */
export function parseAuxvSecure(auxv: Buffer): boolean {
  const atSecure = 23n;
  for (let offset = 0; offset + 16 <= auxv.length; offset += 16) {
    if (auxv.readBigUInt64LE(offset) === atSecure) return auxv.readBigUInt64LE(offset + 8) !== 0n;
  }
  return true;
}
