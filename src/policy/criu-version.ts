/** Versions of CRIU and of the kernel, and what does not work with those of this machine. Pure. */

export interface CriuVersion {
  readonly major: number;
  readonly minor: number;
  readonly sublevel: number;
  /** Built from a commit after this version: it may know what the next version knows. */
  readonly isDevelopment?: boolean;
}

type Numbers = readonly [major: number, minor: number, sublevel?: number];

export function isBefore({ major, minor, sublevel }: CriuVersion, [x, y, z = 0]: Numbers): boolean {
  return major !== x ? major < x : minor !== y ? minor < y : sublevel < z;
}

/** `Version: 4.1.1` on the first line of `criu --version`; `GitID: v4.1.1-12-g0123456` on the second, of a build from git. */
export function parseCriuVersion(text: string): CriuVersion | undefined {
  const [, major, minor, sublevel = '0'] = /^Version:\s*(\d+)\.(\d+)(?:\.(\d+))?/m.exec(text) ?? [];
  if (major === undefined) return undefined;
  const isDevelopment = /^GitID:.*-\d+-g[0-9a-f]+/m.test(text);
  return {
    major: Number(major),
    minor: Number(minor),
    sublevel: Number(sublevel),
    ...(isDevelopment ? { isDevelopment } : {}),
  };
}

export function nameOfVersion({ major, minor, sublevel }: CriuVersion): string {
  return [major, minor, ...(sublevel > 0 ? [sublevel] : [])].join('.');
}

/** CRIU before 4.2.1 asks TCP and UDP sockets for an option that Linux 6.17 has for Unix and netlink sockets only (SO_PASSCRED). */
const sockets = { before: [4, 2, 1], linux: [6, 17] } as const;

/** False where the dump of every program fails that has a TCP or UDP socket. */
export function dumpsInternetSockets(criu: CriuVersion, release: string): boolean {
  return !isBefore(criu, sockets.before) || isBefore(parseRelease(release), sockets.linux);
}

/** A row for each known limit: of CRIU before a version, on Linux from a version on. */
const limits: readonly {
  readonly before: Numbers;
  readonly linux?: Numbers;
  readonly what: (criu: string, linux: string) => string;
}[] = [
  {
    before: [4, 2, 1],
    what: (criu) => `CRIU ${criu} has CVE-2026-18107, which 4.2.1 fixes, unless its package has the fix`,
  },
  {
    ...sockets,
    what: (criu, linux) =>
      `CRIU ${criu} cannot dump a TCP or UDP socket on Linux ${linux} ("Can't get 1:16 opt"): 4.2.1 can`,
  },
  {
    before: [4, 2, 1],
    linux: [7, 1],
    what: (criu, linux) => `CRIU ${criu} is too old for Linux ${linux}, where its dumps fail (criu#3002)`,
  },
];

/** @param release as `uname -r` gives it. @returns a sentence for each limit. */
export function limitsOf(criu: CriuVersion, release: string): string[] {
  const linux = parseRelease(release);
  return limits
    .filter(({ before, linux: since }) => isBefore(criu, before) && !(since && isBefore(linux, since)))
    .map(({ what }) => what(nameOfVersion(criu), `${linux.major}.${linux.minor}`));
}

/** @param release as `uname -r` gives it. */
export function parseRelease(release: string): CriuVersion {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return { major: Number(major ?? 0), minor: Number(minor ?? 0), sublevel: 0 };
}
