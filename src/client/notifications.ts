/** The notifications that CRIU sends while it works, and their handlers. */
/** A step that CRIU announces before it continues. */
export interface Notification {
  /** CRIU's name for the step, for example `post-dump` (action_names in criu/action-scripts.c). */
  readonly script: string;
  /** The root of the restored tree, if CRIU names it: `setup-namespaces` and `post-restore`. */
  readonly pid?: number;
}

/** A descriptor that came with a notification. Its handler owns it, and closes it. */
export interface Descriptor {
  readonly number: number;
  close(): void;
}

/** A handler may return a promise. CRIU goes on when it is fulfilled, and fails the request if the handler throws. */
export type NotificationHandler = (notification: Notification) => void | Promise<void>;

/**
 * Answers which files of the tree CRIU is to leave out, in the spelling of the option `external`: `file[MNT_ID:INODE]`,
 * `unix[INODE]`, both as in `/proc/PID/fdinfo`. The mount is hexadecimal, as is the inode of a file. A restore takes a descriptor
 * with this key (`inheritFd`) in its place.
 */
export type QueryHandler =
  | NotificationHandler
  | ((notification: Notification) => readonly string[] | Promise<readonly string[]>);

/**
 * Handlers of notifications. A notification without a handler is acknowledged. The tree is frozen, or half restored, while a
 * handler runs.
 *
 * If a handler throws, CRIU fails and rolls back, and the request ends with a {@link CriuError} `NOTIFICATION`. After
 * `networkUnlock` and `postResume` CRIU has nothing left to roll back.
 */
export interface Notifications {
  /** Called for each notification, before its own handler: for notifications of later CRIU releases, and for showing progress. */
  readonly any?: NotificationHandler;
  /** dump: before the tree is frozen. */
  readonly preDump?: NotificationHandler;
  /** dump: all images are written, the tree is still frozen. */
  readonly postDump?: NotificationHandler;
  /** dump: the tree is frozen, and CRIU asks for files to leave out. Since 3.19. */
  readonly queryExtFiles?: QueryHandler;
  /** dump: the network of the tree must stop now. */
  readonly networkLock?: NotificationHandler;
  /** restore, and a dump that lets the tree run on: the network may go on. */
  readonly networkUnlock?: NotificationHandler;
  /** For streamed images. */
  readonly preStream?: NotificationHandler;
  /** restore: nothing has been done yet. */
  readonly preRestore?: NotificationHandler;
  /** restore: the root's namespaces exist. Has the pid. */
  readonly setupNamespaces?: NotificationHandler;
  /** restore: the namespaces are filled. */
  readonly postSetupNamespaces?: NotificationHandler;
  /** restore: all tasks exist, and are stopped. Has the pid. */
  readonly postRestore?: NotificationHandler;
  /** restore: the tree runs after the next step. */
  readonly preResume?: NotificationHandler;
  /** restore: the tree runs. */
  readonly postResume?: NotificationHandler;
  /** page server: it listens. */
  readonly statusReady?: NotificationHandler;
  /** restore with `orphanPtsMaster`: the master of a terminal whose holder is not in the images. */
  readonly orphanPtsMaster?: (notification: Notification, master: Descriptor) => void | Promise<void>;
}
