/** What CRIU announces while it works, and who hears it. */
/** One step that CRIU announces and waits with. */
export interface Notification {
  /** CRIU's name for it, for example `post-dump` (action_names in criu/action-scripts.c). */
  readonly script: string;
  /** The root of the restored tree, where CRIU names it: `setup-namespaces` and `post-restore`. */
  readonly pid?: number;
}

/** A descriptor that came with a notification. Its handler owns it, and closes it. */
export interface Descriptor {
  readonly number: number;
  close(): void;
}

/** What a handler returns is awaited; CRIU goes on when it has ended, and fails the request when it throws. */
export type NotificationHandler = (notification: Notification) => void | Promise<void>;

/**
 * Handlers of notifications. A missing one acknowledges. The tree is frozen, or half restored, while a handler runs.
 *
 * One that throws makes CRIU fail and roll back, and the request ends with a {@link CriuError} `NOTIFICATION`. After
 * `networkUnlock` and `postResume` CRIU has nothing left to roll back.
 */
export interface Notifications {
  /** Each notification, before the handler of its own: for those that CRIU may have some day, and for showing progress. */
  readonly any?: NotificationHandler;
  /** dump: before the tree is frozen. */
  readonly preDump?: NotificationHandler;
  /** dump: all images are written, the tree is still frozen. */
  readonly postDump?: NotificationHandler;
  /** dump: files that CRIU cannot dump, and might be told to leave out. */
  readonly queryExtFiles?: NotificationHandler;
  /** dump: the network of the tree is to be held still. */
  readonly networkLock?: NotificationHandler;
  /** restore, and a dump that lets the tree run on: the network may go on. */
  readonly networkUnlock?: NotificationHandler;
  /** With images that are streamed. */
  readonly preStream?: NotificationHandler;
  /** restore: before anything is done. */
  readonly preRestore?: NotificationHandler;
  /** restore: the root's namespaces exist. Has the pid. */
  readonly setupNamespaces?: NotificationHandler;
  /** restore: the namespaces are filled. */
  readonly postSetupNamespaces?: NotificationHandler;
  /** restore: all tasks are there, and stopped. Has the pid. */
  readonly postRestore?: NotificationHandler;
  /** restore: the tree runs with the next step. */
  readonly preResume?: NotificationHandler;
  /** restore: the tree runs. */
  readonly postResume?: NotificationHandler;
  /** page server: it listens. */
  readonly statusReady?: NotificationHandler;
  /** restore with `orphanPtsMaster`: the master of a terminal whose holder is not in the images. */
  readonly orphanPtsMaster?: (notification: Notification, master: Descriptor) => void | Promise<void>;
}
