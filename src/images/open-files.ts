/** The open files of a dump: how many of each kind, and those that a person asks for. */
import { type InternetSocket, internetSocket, unixName } from './addresses.ts';
import { List, type Listed } from './bounded.ts';
import type { Reading } from './reading.ts';

export interface ShownFile {
  readonly path: string;
  /** At the dump; absent for what has none. */
  readonly size: number | undefined;
  readonly position: number;
  readonly use: 'read' | 'write' | 'read-write' | 'path';
}

export interface UnixSocket {
  /** Empty without a name. */
  readonly name: string;
  /** Its other end was outside of the tree. */
  readonly external: boolean;
}

export interface Terminal {
  readonly kind: string;
  /** Of a pseudo terminal: N of /dev/pts/N. */
  readonly index: number | undefined;
  readonly session: number;
}

export interface OpenFiles {
  /** Numbers of open files, for example {"regular": 20}. */
  readonly counts: Readonly<Record<string, number>>;
  readonly regular: Listed<ShownFile>;
  readonly internet: Listed<InternetSocket>;
  readonly unix: Listed<UnixSocket>;
  readonly terminals: Listed<Terminal>;
  /** Files that had no name any more. */
  readonly ghosts: number;
  readonly locks: number;
}

const most = 1000;

/** The kinds of FdTypes in words. */
const kindNames: Readonly<Record<string, string>> = {
  REG: 'regular',
  INETSK: 'internet',
  UNIXSK: 'unix',
  NETLINKSK: 'netlink',
  PACKETSK: 'packet',
  EXT: 'external',
  NS: 'namespace',
  TUNF: 'tun',
  BPFMAP: 'bpf-map',
};

/** USK_EXTERN of CRIU's sockets.h. */
const externalFlag = 1;

/**
 * @param wanted gets the paths of these ids.
 * @internal
 */
export function readOpenFiles(reading: Reading, wanted: Map<number, string>): OpenFiles {
  const counts: Record<string, number> = {};
  const regular = new List<ShownFile>(most);
  const internet = new List<InternetSocket>(most);
  const unix = new List<UnixSocket>(most);
  const terminals = new List<Terminal>(most);
  let ghosts = 0;
  let locks = 0;
  reading.each('files.img', 'FILES', ({ message }) => {
    const type = message.number('type')!;
    const name = typeName(message.type.byName.get('type')?.content, type);
    counts[name] = (counts[name] ?? 0) + 1;
    const file = message.message('reg');
    const socket = message.message('isk');
    const local = message.message('usk');
    if (file) {
      const path = file.text('name')!;
      const id = file.number('id')!;
      if (wanted.has(id)) wanted.set(id, path);
      const use = uses[file.number('flags')! & 3]!;
      regular.add({
        path,
        size: file.number('size'),
        position: file.number('pos')!,
        use: file.number('flags')! & pathOnly ? 'path' : use,
      });
    } else if (socket) internet.add(internetSocket(socket));
    else if (local)
      unix.add({
        name: unixName(local.data('name')!),
        external: (local.number('uflags')! & externalFlag) !== 0,
      });
  });
  reading.each('tty-info.img', 'TTY_INFO', ({ message }) => {
    const content = message.type.byName.get('type')!.content;
    const type = message.number('type')!;
    terminals.add({
      kind: (content.is === 'enum' && content.names.get(type)?.toLowerCase()) || `type ${type}`,
      index: message.message('pty')?.number('index'),
      session: message.number('sid')!,
    });
  });
  reading.each('remap-fpath.img', 'REMAP_FPATH', ({ message }) => {
    if (message.number('remap_type') !== 2) ghosts += 1;
  });
  reading.each('filelocks.img', 'FILE_LOCKS', () => {
    locks += 1;
  });
  return { counts, regular, internet, unix, terminals, ghosts, locks };
}

const uses = ['read', 'write', 'read-write', 'read-write'] as const;
/** O_PATH */
const pathOnly = 0o10000000;

function typeName(
  content: { readonly is: string; readonly names?: ReadonlyMap<number, string> } | undefined,
  type: number,
): string {
  const name = content?.names?.get(type);
  return name === undefined ? 'unknown' : (kindNames[name] ?? name.toLowerCase());
}
