/** Is a directory of images complete? Each image tells which others a restore reads; CRIU takes most that are absent for empty. */
import { sizeOfPages } from './compressed.ts';
import type { ImageRecord } from './image-file.ts';
import type { Message } from './message.ts';
import { judgeParents } from './parents.ts';
import type { Reading } from './reading.ts';
import { coreFacts, isOver, readPagemap, readTree, spaceFacts } from './task-images.ts';
import type { Role, Thing } from './things.ts';
import type { Tree, TreeTask } from './tree.ts';
import { newestVersion } from './verdicts.ts';

/** Facts about the tasks for the checks of this machine. */
export interface Dumped {
  readonly tree: Tree;
  /** Kinds of namespaces that the tasks had for themselves, for example `mnt`. */
  readonly namespaces: ReadonlySet<string>;
  /** Open files with another file in their place, and what kind that is. */
  readonly remapped: ReadonlyMap<number, Remap>;
}

export type Remap = 'linked' | 'ghost' | 'procfs';

/** VMA_AREA_REGULAR and the others of CRIU's image.h. */
const regular = 1 << 0;
const fileBacked = (1 << 6) | (1 << 7);
const sharedAnonymous = 1 << 8;
/** System V memory, rings of sockets and of asynchronous I/O: their numbers are no open files. */
const otherObjects = (1 << 10) | (1 << 11) | (1 << 13);

/** More than programs have. Beyond it nothing is claimed. */
const mostFiles = 200_000;
const mostShared = 100_000;

export class Completeness {
  readonly #reading: Reading;
  readonly #tell: (thing: Thing) => void;
  /** Images of the whole tree that were looked for. */
  readonly #named = new Set<string>();
  /** Tables of descriptors that were read, by the numbers in the names of their images. */
  readonly #tables = new Set<number>();
  /** Open files by their number, and the first image that names each. */
  readonly #wanted = new Map<number, string>();
  readonly #shared = new Set<number>();
  readonly #incremental: string[] = [];
  readonly #namespaces = new Set<string>();
  readonly #remapped = new Map<number, Remap>();
  #rootIds: Message | undefined;
  #pageSize = 4096;
  /** Memory was read that tells the size of pages, and the format is one that keeps them one behind the other. */
  #sizesTell = false;
  #version = 0;
  #rootCgroups: number | undefined;
  #ownCgroups = false;
  #memoryFiles = false;
  #filtered = false;
  /** CRIU wrote no states of connections, or will read none. */
  #closing: boolean;

  /** @param tcpClose the restore has --tcp-close. */
  constructor(reading: Reading, tell: (thing: Thing) => void, tcpClose = false) {
    this.#reading = reading;
    this.#tell = tell;
    this.#closing = tcpClose;
  }

  judge(): Dumped {
    this.#needed('inventory.img', 'INVENTORY', 'inventory', ({ message }) => {
      this.#version = message.number('img_version')!;
      this.#tell({ kind: 'version', version: this.#version });
      this.#rootIds = message.message('root_ids')?.copy();
      this.#rootCgroups = message.number('root_cg_set');
      this.#closing ||= message.bool('tcp_close');
    });
    const tree = readTree(this.#reading);
    if (this.#needed('pstree.img', 'PSTREE', 'tree'))
      this.#tell({ kind: 'tree', tasks: tree.tasks.length, cut: tree.cut });
    for (const task of tree.tasks) this.#task(task);
    if (this.#filtered) this.#needed('seccomp.img', 'SECCOMP', 'filters');
    if (this.#ownCgroups) this.#needed('cgroup.img', 'CGROUP', 'cgroups');
    this.#remaps();
    this.#files();
    const memfds = this.#reading.each('memfd.img', 'MEMFD_INODE', ({ message }) => {
      // CRIU writes no pages of an empty one.
      if (message.number('size')! > 0) this.#share(message.number('shmid')!);
    });
    if (memfds === 'absent' && this.#memoryFiles)
      this.#tell({ kind: 'absent', file: 'memfd.img', role: 'memory files' });
    for (const id of this.#shared) this.#pagemap(`pagemap-shmem-${id}.img`, 'shared memory');
    judgeParents(this.#reading, this.#incremental, this.#pageSize, this.#tell);
    this.#others();
    return { tree, namespaces: this.#namespaces, remapped: this.#remapped };
  }

  #task(task: TreeTask): void {
    const { pid } = task;
    let over = false;
    this.#needed(`core-${pid}.img`, 'CORE', 'core', ({ message }) => {
      const { state, filtered, cgroups = 0 } = coreFacts(message);
      over = isOver(state);
      this.#filtered ||= filtered && !over;
      // CRIU takes 0 as the set of the parent; a user's dump has no other.
      this.#ownCgroups ||= cgroups !== 0 && cgroups !== this.#rootCgroups;
    });
    if (over) return;
    for (const tid of task.threads) {
      if (tid === pid) continue;
      this.#needed(`core-${tid}.img`, 'CORE', 'thread', ({ message }) => {
        this.#filtered ||= coreFacts(message).filtered;
      });
    }
    this.#needed(`mm-${pid}.img`, 'MM', 'space', ({ message }) => this.#space(message, `mm-${pid}.img`));
    this.#pagemap(`pagemap-${pid}.img`, 'pagemap');
    const filesId = this.#filesId(pid);
    const descriptors = `fdinfo-${filesId}.img`;
    // Tasks of a tree may share a table of descriptors.
    if (!this.#tables.has(filesId))
      this.#needed(descriptors, 'FDINFO', 'descriptors', ({ message }) =>
        this.#want(message.number('id')!, descriptors),
      );
    this.#tables.add(filesId);
    this.#needed(`fs-${pid}.img`, 'FS', 'places', ({ message }) => {
      this.#want(message.number('cwd_id')!, `fs-${pid}.img`);
      this.#want(message.number('root_id')!, `fs-${pid}.img`);
    });
  }

  #space(space: Message, file: string): void {
    this.#pageSize = spaceFacts(space).pageSize;
    this.#sizesTell = this.#version <= newestVersion;
    this.#want(space.number('exe_file_id')!, file);
    for (const vma of space.messages('vmas')) {
      const status = vma.number('status')!;
      const id = vma.number('shmid')!;
      if ((status & regular) === 0 || status & otherObjects) continue;
      if (status & sharedAnonymous) this.#share(id);
      else if (status & fileBacked) this.#want(id, file);
    }
  }

  /** The number in the name of the image with the descriptors. */
  #filesId(pid: number): number {
    let filesId = pid;
    this.#needed(`ids-${pid}.img`, 'IDS', 'ids', ({ message }) => {
      filesId = message.number('files_id')!;
      for (const kind of ['pid', 'net', 'ipc', 'uts', 'mnt', 'user']) {
        const root = this.#rootIds?.number(`${kind}_ns_id`);
        const own = message.number(`${kind}_ns_id`);
        if (root !== undefined && own !== undefined && own !== root) this.#namespaces.add(kind);
      }
    });
    return filesId;
  }

  #pagemap(file: string, role: Role): void {
    const pages = readPagemap(this.#reading, file);
    if (pages === 'absent') this.#tell({ kind: 'absent', file, role });
    if (typeof pages === 'string') return;
    if (pages.inParent > 0) this.#incremental.push(file);
    const name = `pages-${pages.pagesId}.img`;
    const bytes = this.#reading.guarded(() => sizeOfPages(this.#reading.directory, name));
    if (bytes === undefined) return;
    // CRIU opens the pages also where a pagemap is empty.
    if (bytes === 'absent') this.#tell({ kind: 'absent', file: name, role: 'pages' });
    else
      this.#tell({
        kind: 'pages',
        file: name,
        bytes,
        wanted: pages.here * this.#pageSize,
        ...(this.#sizesTell ? { listedBy: file } : {}),
        strange: pages.strange,
      });
  }

  /** CRIU calls the image of a deleted file by a hexadecimal number. */
  #remaps(): void {
    this.#reading.each('remap-fpath.img', 'REMAP_FPATH', ({ message }) => {
      const type = message.number('remap_type') ?? 0;
      const id = message.number('remap_id')!;
      const remap = (['linked', 'ghost', 'procfs'] as const)[type] ?? 'linked';
      if (this.#remapped.size < mostFiles) this.#remapped.set(message.number('orig_id')!, remap);
      if (remap === 'ghost') this.#needed(`ghost-file-${id.toString(16)}.img`, 'GHOST_FILE', 'deleted file');
    });
  }

  #files(): void {
    // CRIU before 3.4 had an image for each kind of file.
    if (!this.#reading.directory.stat('files.img') && this.#reading.directory.stat('reg-files.img')) return;
    const found = new Set<number>();
    const whole = this.#needed('files.img', 'FILES', 'files', ({ message }) => {
      if (found.size < mostFiles) found.add(message.number('id')!);
      this.#memoryFiles ||= message.has('memfd');
      const socket = message.message('isk');
      const connected =
        socket?.number('proto') === 6 && socket.number('state') === 1 && socket.number('dst_port') !== 0;
      if (socket && connected && !this.#closing)
        this.#needed(`tcp-stream-${socket.number('ino')!.toString(16)}.img`, 'TCP_STREAM', 'connection');
    });
    if (!whole || found.size >= mostFiles) return;
    for (const [id, file] of this.#wanted) if (!found.has(id)) this.#tell({ kind: 'unknown file', file, id });
  }

  /** Images whose names have no number: CRIU reads those of the whole tree. */
  #others(): void {
    const { directory } = this.#reading;
    for (const { name } of directory.entries()) {
      const kind = this.#named.has(name) ? undefined : wholeTree.get(name);
      if (kind !== undefined) this.#reading.each(name, kind, () => undefined);
    }
  }

  /** @returns true if the image was read. */
  #needed(
    file: string,
    kind: string,
    role: Role,
    visit: (record: ImageRecord) => void = () => undefined,
  ): boolean {
    if (wholeTree.has(file)) this.#named.add(file);
    const outcome = this.#reading.each(file, kind, visit);
    if (outcome === 'absent') this.#tell({ kind: 'absent', file, role });
    return outcome === 'read';
  }

  #want(id: number, file: string): void {
    if (this.#wanted.size < mostFiles && !this.#wanted.has(id)) this.#wanted.set(id, file);
  }

  #share(id: number): void {
    if (this.#shared.size < mostShared) this.#shared.add(id);
  }
}

const wholeTree: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'cgroup.img': 'CGROUP',
    'tty-info.img': 'TTY_INFO',
    'tty-data.img': 'TTY_DATA',
    'pipes-data.img': 'PIPES_DATA',
    'fifo-data.img': 'FIFO_DATA',
    'sk-queues.img': 'SK_QUEUES',
    'filelocks.img': 'FILE_LOCKS',
    'seccomp.img': 'SECCOMP',
    'apparmor.img': 'APPARMOR',
    'cpuinfo.img': 'CPUINFO',
    'bpfmap-data.img': 'BPFMAP_DATA',
  }),
);
