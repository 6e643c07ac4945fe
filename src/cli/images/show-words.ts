/** Contents of images in words: the table for people, the object for programs. Pure. */
import type { Listed } from '../../images/bounded.ts';
import type { Contents, TaskContents } from '../../images/contents.ts';
import type { Fault } from '../../images/fault.ts';
import type { Manifest } from '../../images/manifest/format.ts';
import { sanitize } from '../../systemd/log.ts';
import { columns, counted, inBytes } from '../words.ts';

const mostTasks = 50;
const mostLines = 20;

export function tableOf(
  contents: Contents,
  manifest: Manifest | undefined,
  userName: (uid: number) => string,
): string {
  const { tasks, files, space, compressed, parents, needs, faults } = contents;
  return [
    headline(contents),
    ...(tasks.length > 0 ? ['', ...treeTable(contents, userName)] : []),
    '',
    ...labelled([
      ['Files', kindsOf(files.counts)],
      ['Deleted files', files.ghosts > 0 ? `${files.ghosts}, whose content is in the images` : ''],
      ['Sockets', socketsOf(contents)],
      [
        'Terminals',
        listed(files.terminals, ({ kind, index, session }) =>
          index === undefined ? `${kind} of session ${session}` : `/dev/pts/${index} of session ${session}`,
        ),
      ],
      ['File locks', files.locks > 0 ? `${files.locks}` : ''],
      ['Shared memory', contents.sharedMemory > 0 ? inBytes(contents.sharedMemory) : ''],
      ['Restore with', [...new Set([...needs, ...(manifest?.restoreWith ?? [])])].join(' ')],
      ['Manifest', manifest ? manifestInWords(manifest) : ''],
      ['On disk', sizeOf(space)],
      [
        'Compressed',
        compressed.files > 0
          ? `${counted(compressed.files, 'image')} of pages, ${inBytes(compressed.bytes)} that are ${inBytes(compressed.expanded)} when a restore, or criuctl images expand, has expanded them`
          : '',
      ],
      ...parents
        .slice(0, mostLines)
        .map((parent, index): [string, string] => [
          index === 0 ? 'Parents' : '',
          `${sanitize(parent.directory)}: ${sizeOf(parent)}`,
        ]),
      ['', parents.length > mostLines ? `and ${parents.length - mostLines} more` : ''],
    ]),
    ...faults.map(inWords),
  ].join('\n');
}

function manifestInWords({ user, machine, files, leftRunning }: Manifest): string {
  return sanitize(
    [
      `${counted(files.length, 'file')} of a dump by ${user.name}`,
      `on ${machine.host || 'a host without a name'}`,
      ...(machine.cpu.model === '' ? [] : [`with ${machine.cpu.model}`]),
      ...(leftRunning ? ['after which the processes ran on'] : []),
    ].join(' '),
  );
}

function headline({ directory, is, written, criu, kernel, architecture }: Contents): string {
  const what = {
    dump: 'a dump',
    'pre-dump': 'a pre-dump: memory only, as parent of a dump',
    incomplete: 'no finished dump: inventory.img is missing or broken',
  }[is];
  const by = [
    ...(written === undefined ? [] : [`written ${written.replace('T', ' ').replace(/\..*/, ' UTC')}`]),
    ...(criu === undefined ? [] : [`CRIU ${sanitize(criu)}`]),
    ...(kernel === undefined ? [] : [sanitize(kernel)]),
    ...(architecture === undefined ? [] : [architecture]),
  ];
  return [`${sanitize(directory)}: ${what}`, ...(by.length > 0 ? [by.join(', ')] : [])].join('\n');
}

function treeTable({ tasks, cut }: Contents, userName: (uid: number) => string): string[] {
  const depths = depthsOf(tasks);
  const rows = tasks
    .slice(0, mostTasks)
    .map((task) => [
      `${task.pid}`,
      task.uid === undefined ? '?' : userName(task.uid),
      `${task.threads.length}`,
      inBytes(task.memory.here),
      inBytes(task.memory.inParents),
      task.descriptors === undefined ? '?' : `${task.descriptors}`,
      `${'  '.repeat(Math.min(depths.get(task.pid) ?? 0, 20))}${programOf(task)}`,
    ]);
  const more = tasks.length - rows.length;
  return [
    ...columns([['PID', 'USER', 'THREADS', 'MEMORY', 'IN PARENTS', 'DESCRIPTORS', 'PROGRAM'], ...rows]),
    ...(more > 0 || cut ? [`and ${cut ? `more than ${more}` : more} more tasks`] : []),
  ];
}

/** A parent stands before its children; a circle of parents has no depth. */
function depthsOf(tasks: readonly TaskContents[]): ReadonlyMap<number, number> {
  const depths = new Map<number, number>();
  for (const { pid, ppid } of tasks) depths.set(pid, (depths.get(ppid) ?? -1) + 1);
  return depths;
}

function programOf({ name, commandLine, executable, state }: TaskContents): string {
  const words = commandLine.length > 0 ? commandLine.join(' ') : (executable ?? name ?? '?');
  const text = sanitize(words.length > 100 ? `${words.slice(0, 100)}…` : words);
  return state === undefined || state === 'running' ? text : `${text} (${state})`;
}

function kindsOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
}

function socketsOf({ files: { internet, unix } }: Contents): string {
  const named = unix.items.filter(({ name }) => name !== '');
  return [
    listed(internet, ({ protocol, state, local, remote }) =>
      state === 'connected' ? `${protocol} ${local} to ${remote}` : `${protocol} ${local} ${state}`,
    ),
    listed({ items: named, more: unix.more }, ({ name, external }) =>
      external ? `${name} (its other end was outside)` : name,
    ),
  ]
    .filter((text) => text !== '')
    .join(', ');
}

function listed<T>({ items, more }: Listed<T>, tell: (item: T) => string): string {
  const told = items.slice(0, mostLines).map((item) => sanitize(tell(item)));
  const left = items.length - told.length + more;
  return [...told, ...(left > 0 ? [`${left} more`] : [])].join(', ');
}

function sizeOf({ files, bytes, disk }: Contents['space']): string {
  const holes = disk < bytes ? `, ${inBytes(disk)} without holes` : '';
  return `${counted(files, 'file')}, ${inBytes(bytes)}${holes}`;
}

export function inWords({ file, offset, why }: Fault): string {
  return sanitize(`${file} ${offset === undefined ? '' : `at byte ${offset} `}${why}`);
}

function labelled(lines: readonly (readonly [string, string])[]): string[] {
  const kept = lines.filter(([, text]) => text !== '');
  const width = Math.max(...kept.map(([label]) => label.length));
  return kept.map(([label, text]) => `${label.padEnd(width)}  ${text}`);
}

/** The object of --json; man criuctl describes it. */
export function asJson({ space, parents, ...contents }: Contents, manifest: Manifest | undefined): object {
  return {
    verb: 'images',
    action: 'show',
    ...contents,
    space,
    parents,
    manifest: manifest && told(manifest),
  };
}

/** The tree and the files are those of the images. */
function told({ tasks, moreTasks, files, ...facts }: Manifest): object {
  return { ...facts, files: files.length };
}
