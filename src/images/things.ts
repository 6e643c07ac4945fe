/** Everything that a restore depends on, as facts: about the images, and about this machine. */

/** The use that CRIU makes of an image that is not there. */
export type Role =
  | 'inventory'
  | 'tree'
  | 'core'
  | 'thread'
  | 'ids'
  | 'space'
  | 'pagemap'
  | 'pages'
  | 'descriptors'
  | 'places'
  | 'files'
  | 'shared memory'
  | 'deleted file'
  | 'connection'
  | 'filters'
  | 'cgroups'
  | 'memory files';

export interface Named {
  readonly pid: number;
  readonly name: string;
  readonly user: string;
}

export interface DumpedFile {
  readonly size: number | undefined;
  /** With the kind of the file. */
  readonly mode: number | undefined;
  /** Hexadecimal. */
  readonly buildId: string | undefined;
}

export type FileHere =
  | ({ readonly is: 'there' } & DumpedFile)
  | { readonly is: 'absent' }
  /** You may not open it as the program had it open. */
  | { readonly is: 'closed'; readonly use: 'read' | 'write' }
  | { readonly is: 'unseen'; readonly why: string };

export type Thing =
  | { readonly kind: 'absent'; readonly file: string; readonly role: Role; readonly pid?: number }
  | {
      readonly kind: 'fault';
      readonly file: string;
      readonly offset: number | undefined;
      readonly why: string;
      /** Unread: this reader refuses what CRIU might read. */
      readonly is: 'broken' | 'unread';
    }
  | {
      readonly kind: 'pages';
      readonly file: string;
      readonly bytes: number;
      readonly wanted: number;
      /** The image that lists them, if that has to list all of them. */
      readonly listedBy?: string;
      /** Pages are kept in a way that is unknown here. */
      readonly strange: boolean;
    }
  | {
      readonly kind: 'pages in parents';
      readonly file: string;
      readonly directory: string;
      readonly missing: number;
      /** 1 for the parent of the dump, 2 for its parent. */
      readonly level: number;
    }
  /** A file that the manifest lists. */
  | {
      readonly kind: 'listed file';
      readonly file: string;
      /** A file of more holes than are read is not read, and a compressed file without zstd neither. */
      readonly is: 'as it was' | 'absent' | 'changed' | 'not read' | 'compressed';
    }
  | {
      readonly kind: 'listed file';
      readonly file: string;
      readonly is: 'of another size';
      readonly bytes: number;
      readonly wanted: number;
    }
  /** An image of pages that a restore expands first. */
  | {
      readonly kind: 'compressed pages';
      readonly file: string;
      /** Unread: its pages are perhaps whole. */
      readonly is: 'whole' | 'broken' | 'without zstd' | 'unread';
      /** Why it is broken, or unread. */
      readonly why?: string;
      /** What lets it be read. */
      readonly remedy?: string;
    }
  | { readonly kind: 'manifest of another dump' }
  | {
      readonly kind: 'processor';
      readonly dumped: string;
      readonly here: string;
      /** Their features are the same. */
      readonly same: boolean;
    }
  | { readonly kind: 'tree'; readonly tasks: number; readonly cut: boolean }
  | { readonly kind: 'unknown file'; readonly file: string; readonly id: number }
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'architecture'; readonly dumped: string; readonly here: string }
  | { readonly kind: 'namespaces'; readonly names: readonly string[] }
  | { readonly kind: 'file'; readonly path: string; readonly dumped: DumpedFile; readonly here: FileHere }
  | {
      readonly kind: 'number';
      readonly number: number;
      readonly of: 'process' | 'thread';
      readonly usedAs: 'process' | 'thread' | 'process group' | 'session' | 'service' | undefined;
      readonly by: Named | undefined;
    }
  | {
      readonly kind: 'port';
      readonly protocol: string;
      readonly address: string;
      /** The user that has it. */
      readonly user: string | undefined;
    }
  | { readonly kind: 'connection'; readonly local: string; readonly remote: string }
  | { readonly kind: 'terminal'; readonly name: string; readonly outside: boolean }
  | { readonly kind: 'external'; readonly name: string }
  | {
      readonly kind: 'credentials';
      readonly pid: number;
      readonly uids: readonly number[];
      readonly gids: readonly number[];
      readonly groups: readonly number[];
    }
  | {
      readonly kind: 'limit';
      readonly pid: number;
      readonly name: string;
      readonly dumped: number;
      readonly here: number;
    };
