/** Would a thing keep a dump from its restore, here and for this user? A row for each kind of thing. Pure. */
import type { DumpedFile, FileHere, Role, Thing } from './things.ts';

export type Verdict =
  | { readonly verdict: 'restores'; readonly option?: string }
  | {
      readonly verdict: 'does-not-restore' | 'cannot-be-told';
      readonly why: string;
      readonly remedy: string;
    };

export interface Circumstances {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** The restore has --tcp-close. */
  readonly tcpClose?: boolean;
}

const restores: Verdict = { verdict: 'restores' };
const never = (why: string, remedy: string): Verdict => ({ verdict: 'does-not-restore', why, remedy });
const unknown = (why: string, remedy: string): Verdict => ({ verdict: 'cannot-be-told', why, remedy });

const anotherDump = 'restore another dump';
const fromWriter = 'copy the directory anew from where it was written, or restore another dump';

/** What CRIU does without an image: it takes most for empty, and restores something else. */
const without: Readonly<Record<Role, string>> = {
  inventory: 'CRIU writes it last: this dump did not finish, or its directory was copied in part',
  tree: 'no process is known without it',
  core: 'it has the registers of the process',
  thread: 'it has the registers of a thread',
  ids: 'it tells which descriptors belong to the process',
  space: 'it has the mappings of the process',
  pagemap: 'it tells where the memory of the process is',
  pages: 'it has the memory of the process',
  descriptors: 'CRIU would take it for empty, and the process would have no open files',
  places: 'CRIU would take it for empty, and the process would have another working directory',
  files: 'CRIU would take it for empty, and no open file is known without it',
  'shared memory': 'it tells where shared memory is',
  'deleted file': 'it has the content of a deleted file',
  connection: 'it has the state of a connection',
  filters: 'it has the seccomp filters of the process',
  cgroups: 'it has the control groups of the process',
  'memory files': 'it tells where the content of a memory file (memfd) is',
};

/** Images of CRIU 4.2; the formats after it keep pages in other ways. */
export const newestVersion = 2;

export function judge(thing: Thing, circumstances: Circumstances): Verdict {
  switch (thing.kind) {
    case 'absent':
      // CRIU without root restores no control groups.
      if (thing.role === 'cgroups' && circumstances.uid !== 0) return restores;
      return never(`${thing.file} is missing: ${without[thing.role]}`, fromWriter);
    case 'fault': {
      const place = thing.offset === undefined ? '' : `at byte ${thing.offset} `;
      const why = `${thing.file} ${place}${thing.why}`;
      return thing.is === 'broken'
        ? never(why, fromWriter)
        : unknown(why, 'put the file itself in its place');
    }
    case 'pages':
      if (thing.strange)
        return unknown(`${thing.file} keeps pages in a way that is unknown here`, 'restore it to see');
      if (thing.bytes < thing.wanted)
        return never(`${thing.file} has ${thing.bytes} bytes of ${thing.wanted}`, fromWriter);
      // CRIU writes no page that it does not list: an end of the list behind a record shows by these.
      return thing.listedBy !== undefined && thing.bytes > thing.wanted
        ? never(
            `${thing.file} has ${thing.bytes} bytes, and ${thing.listedBy} lists ${thing.wanted} of them: one of the two was changed`,
            fromWriter,
          )
        : restores;
    case 'pages in parents': {
      if (thing.missing === 0) return restores;
      const why = `${thing.missing} pages of ${thing.file} are not in the images before, ${thing.directory}`;
      return thing.level === 1
        ? never(why, 'put the images before back in their place, or restore another dump')
        : unknown(why, 'restore it to see');
    }
    case 'listed file':
      switch (thing.is) {
        case 'as it was':
          return restores;
        case 'not read':
          return unknown(`${thing.file} has more holes than are read for a digest`, 'restore it to see');
        case 'compressed':
          return unknown(
            `${thing.file} is compressed, and its pages were not read for their digest`,
            'ask criuctl images verify, or expand it: criuctl images expand',
          );
        case 'absent':
          return never(`${thing.file} is missing: manifest.json lists it`, fromWriter);
        case 'of another size':
          return never(
            `${thing.file} has ${thing.bytes} bytes, and had ${thing.wanted} when the dump was complete`,
            fromWriter,
          );
        case 'changed':
          return never(`${thing.file} was changed after the dump: its digest is another`, fromWriter);
      }
      break;
    case 'compressed pages':
      switch (thing.is) {
        case 'whole':
          return restores;
        case 'broken':
          return never(`${thing.file} cannot be expanded: ${thing.why}`, fromWriter);
        case 'without zstd':
          return never(`${thing.file} is compressed, and zstd is not installed`, 'install zstd');
        case 'unread':
          return unknown(
            `${thing.file} is compressed, and was not read: ${thing.why}`,
            thing.remedy ?? 'ask criuctl images verify again',
          );
      }
      break;
    case 'manifest of another dump':
      return unknown(
        'manifest.json is of an earlier dump into this directory, and says nothing about these images',
        'remove it',
      );
    case 'processor':
      return thing.same
        ? restores
        : unknown(
            `the processor of the dump, ${thing.dumped || 'which has no name'}, has other features than this machine's${thing.here === thing.dumped ? '' : `, ${thing.here}`}`,
            'ask criuctl cpuinfo check, or restore it to see',
          );
    case 'tree':
      if (thing.cut) return unknown('the tree has more processes than are looked at', 'restore it to see');
      return thing.tasks > 0
        ? restores
        : never('there is no process in these images: they are of a pre-dump, or lost', anotherDump);
    case 'unknown file':
      return never(
        `${thing.file} names the open file ${thing.id}, and files.img has no such file`,
        fromWriter,
      );
    case 'version':
      return thing.version <= newestVersion
        ? restores
        : unknown(
            `the images have version ${thing.version}, which is newer than is known here`,
            'restore it to see',
          );
    case 'architecture':
      return thing.dumped === thing.here
        ? restores
        : never(
            `it is a dump of ${thing.dumped}, and this machine is ${thing.here}`,
            'restore it on such a machine',
          );
    case 'namespaces':
      return unknown(
        `the processes have namespaces of their own (${thing.names.join(', ')}), into which nothing looks here`,
        'restore it to see',
      );
    case 'file':
      return aboutFile(thing.path, thing.dumped, thing.here);
    case 'number':
      return aboutNumber(thing);
    case 'port':
      return thing.user === undefined
        ? restores
        : never(
            `${thing.protocol} ${thing.address} is in use by a program of ${thing.user}`,
            `end that program ("ss -lnp" names it)`,
          );
    case 'connection':
      return unknown(
        `the connection from ${thing.local} to ${thing.remote} needs its other end as it was`,
        'restore with --tcp-established, or with --tcp-close to go on without it',
      );
    case 'terminal':
      return thing.outside ? { verdict: 'restores', option: '--shell-job' } : restores;
    case 'external':
      return unknown(
        `${thing.name} was outside of the tree`,
        'give it to the restore with --inherit-fd or --ext-unix-sk, as the dump was told',
      );
    case 'credentials':
      return aboutCredentials(thing, circumstances);
    case 'limit':
      return circumstances.uid === 0 || thing.dumped <= thing.here
        ? restores
        : never(
            `process ${thing.pid} had a hard limit ${thing.name} of ${amount(thing.dumped)}, and yours is ${thing.here}`,
            'restore from a login with that limit, or as root',
          );
  }
}

function amount(limit: number): string {
  return Number.isFinite(limit) ? `${limit}` : 'infinity';
}

const kindBits = 0o170000;
const directoryKind = 0o040000;

/** CRIU compares size, mode and build-id of each file that it opens. */
function aboutFile(path: string, dumped: DumpedFile, here: FileHere): Verdict {
  switch (here.is) {
    case 'absent':
      return dumped.mode !== undefined && (dumped.mode & kindBits) === directoryKind
        ? never(`the directory ${path} is missing`, 'make it again')
        : never(`${path} is missing`, 'put it back as it was at the dump');
    case 'closed':
      return never(
        `you may not ${here.use} ${path}, which the program had open so`,
        'ask its owner for that right (if that changes its mode, restore with --skip-file-rwx-check), or restore as root with --trust-images',
      );
    case 'unseen':
      return unknown(`${path} cannot be looked at: ${here.why}`, 'restore it to see');
    case 'there':
      break;
  }
  if (dumped.mode !== undefined && here.mode !== undefined && dumped.mode !== here.mode) {
    return (dumped.mode & kindBits) === (here.mode & kindBits)
      ? never(
          `${path} has mode ${octal(here.mode)}, and had ${octal(dumped.mode)}`,
          `chmod ${octal(dumped.mode)} it, or restore with --skip-file-rwx-check`,
        )
      : never(`${path} is another kind of file than at the dump`, 'put it back as it was');
  }
  if (dumped.size !== undefined && here.size !== undefined && dumped.size !== here.size)
    return never(
      `${path} has ${here.size} bytes, and had ${dumped.size} at the dump`,
      here.size > dumped.size && dumped.buildId === undefined
        ? `keep the rest of it elsewhere, and truncate it: truncate -s ${dumped.size}`
        : 'put back the file of the dump',
    );
  if (dumped.buildId !== undefined && here.buildId !== undefined && dumped.buildId !== here.buildId)
    return never(`${path} is another build than at the dump`, 'install the version that the program had');
  return restores;
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function aboutNumber({ number, of, usedAs, by }: Extract<Thing, { kind: 'number' }>): Verdict {
  const holder = by ? `process ${by.pid} (${by.name}) of ${by.user}` : 'another process';
  switch (usedAs) {
    case undefined:
    case 'service':
      // The service moves away from a pid that a restore needs.
      return restores;
    case 'process':
      return never(
        `pid ${number}, which a ${of} needs, is that of ${holder}`,
        'end that process, or wait for its end',
      );
    case 'thread':
      return never(
        `pid ${number}, which a ${of} needs, is that of a thread of ${holder}`,
        'end that process',
      );
    default:
      return never(
        `pid ${number}, which a ${of} needs, is the number of the ${usedAs} of ${holder}`,
        `end the processes of that ${usedAs}`,
      );
  }
}

function aboutCredentials(
  { pid, uids, gids, groups }: Extract<Thing, { kind: 'credentials' }>,
  mine: Circumstances,
): Verdict {
  if (mine.uid === 0) return restores;
  if (uids.some((uid) => uid !== mine.uid))
    return never(`process ${pid} is of uid ${uids[1]}`, 'restore as that user, or as root');
  if (gids.some((gid) => gid !== mine.gid))
    return never(
      `process ${pid} has gid ${gids[1]}, and you have ${mine.gid}`,
      'restore with that group (newgrp), or as root',
    );
  const difference = [
    ...groups.filter((gid) => !mine.groups.includes(gid)),
    ...mine.groups.filter((gid) => !groups.includes(gid)),
  ].filter((gid) => gid !== mine.gid);
  return difference.length === 0
    ? restores
    : never(
        `process ${pid} has other supplementary groups than you (${difference.slice(0, 5).join(', ')})`,
        'restore from a login with the groups of the dump, or as root',
      );
}
