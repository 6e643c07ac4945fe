/**
 * The options of each verb: criu_opts of rpc.proto, under the same names in camelCase. An absent option has CRIU's own default,
 * or the value in CRIU's configuration files. "Since" names the first CRIU release with the option; an option without "Since"
 * exists in every release with RPC.
 *
 * Paths are the engine's, and relative paths start at the work directory; this process opens only `imagesDir` and `workDir`. A
 * descriptor is a number of this process.
 */
import type { Directory } from './directory.ts';
import type { Notifications } from './notifications.ts';

/** Options of every verb. */
export interface CallOptions {
  /**
   * Ends the request: the promise is rejected with a {@link CriuError} `ABORTED`, and CRIU rolls back at its next notification.
   * Between two notifications CRIU cannot be stopped: after its last notification, a dump is completed.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The place of the images, and CRIU's reports. */
export interface ImageOptions extends CallOptions {
  /** Directory of the images. */
  readonly imagesDir: Directory;
  /** Directory for the log, statistics and pid files. Absent: the images directory. Since 1.2. */
  readonly workDir?: Directory | undefined;
  /** Verbosity of the log: 0 silent, 1 errors, 2 warnings (the default), 3 information, 4 debugging. */
  readonly logLevel?: number | undefined;
  /** A file name in the work directory, without slashes. Default: `criu.log`. */
  readonly logFile?: string | undefined;
  /** Logs to the standard error of the engine, unless `logFile` is given. Root only. Since 3.19. */
  readonly logToStderr?: boolean | undefined;
  /** Prints the statistics, too, to the standard output of the engine. Since 3.19. */
  readonly displayStats?: boolean | undefined;
  /** A configuration file whose options overrule these. Root only. Since 3.11. */
  readonly configFile?: string | undefined;
  /** Accepts the limits of running without root. The service sets it for users without root. Since 3.18. */
  readonly unprivileged?: boolean | undefined;
}

/** The way of pages to a page server, and where it listens. The tls options serve both. */
export interface PageServerAddress {
  /**
   * Host name or IP address. A page server without an address listens on every interface; that of a user without root, through
   * the service, on 127.0.0.1.
   */
  readonly address?: string | undefined;
  /** TCP port, 0 to 65535; 0 lets the kernel choose. */
  readonly port?: number | undefined;
  /** A connected socket to use instead: a descriptor. Root only. */
  readonly fd?: number | undefined;
}

/** Since 3.13. */
export interface TlsOptions {
  /** Encrypts and authenticates the page server's connection. */
  readonly tls?: boolean | undefined;
  /** Certificate authority, a PEM file. */
  readonly tlsCacert?: string | undefined;
  /** Revoked certificates, a PEM file. */
  readonly tlsCacrl?: string | undefined;
  /** The certificate to present, a PEM file. */
  readonly tlsCert?: string | undefined;
  /** Its private key, a PEM file. */
  readonly tlsKey?: string | undefined;
  /** Does not compare the certificate's name with the host's. */
  readonly tlsNoCnVerify?: boolean | undefined;
}

/** How far CRIU takes care of cgroups (criu_cg_mode). */
export type ManageCgroupsMode = 'ignore' | 'none' | 'props' | 'soft' | 'full' | 'strict' | 'default';

/** Options that a dump and a restore share: most must be given to both. */
export interface TreeOptions extends ImageOptions, TlsOptions {
  /** Handlers of CRIU's notifications. */
  readonly notifications?: Notifications | undefined;

  /** Dumps and restores established TCP connections. */
  readonly tcpEstablished?: boolean | undefined;
  /** Drops established TCP connections: they come back closed. Since 3.12. */
  readonly tcpClose?: boolean | undefined;
  /** Allows Unix sockets with a peer outside the tree. */
  readonly extUnixSk?: boolean | undefined;
  /** Accepts any path to a device whose own path cannot be reached. */
  readonly evasiveDevices?: boolean | undefined;
  /** The tree belongs to a session or terminal with a process outside the tree. */
  readonly shellJob?: boolean | undefined;
  /** Dumps and restores file locks. */
  readonly fileLocks?: boolean | undefined;
  /** May link an unlinked file into its file system again. Since 1.2. */
  readonly linkRemap?: boolean | undefined;
  /** External resources, as `TYPE[ID]:VALUE`, see criu(8). Since 2.0. */
  readonly external?: readonly string[] | undefined;
  /** Namespaces that are restored empty: CLONE_NEWNET (0x40000000) or nothing. Since 2.0. */
  readonly emptyNs?: number | undefined;

  /** Mount points to leave out. Since 1.6. */
  readonly skipMnt?: readonly string[] | undefined;
  /** File systems to restore by a plain mount(2); `all` means every file system. Since 1.6. */
  readonly enableFs?: readonly string[] | undefined;
  /** Finds external bind mounts by itself. Since 1.6. */
  readonly autoExtMnt?: boolean | undefined;
  /** Allows external mounts that share propagation. Since 1.6. */
  readonly extSharing?: boolean | undefined;
  /** Allows external mounts that are slaves of masters outside. Since 1.6. */
  readonly extMasters?: boolean | undefined;
  /**
   * Names external mounts: at dump the mount point and a name, at restore the name and the source of the bind mount. Legacy:
   * `external`.
   */
  readonly extMnt?: readonly { readonly key: string; readonly val: string }[] | undefined;
  /** Restores mount namespaces the way of CRIU before 3.17. Since 3.17. */
  readonly mntnsCompatMode?: boolean | undefined;

  /** Default: `soft`. Since 1.7. */
  readonly manageCgroupsMode?: ManageCgroupsMode | undefined;
  /** Legacy: true is `soft`, false is `ignore`; `manageCgroupsMode` overrules it. */
  readonly manageCgroups?: boolean | undefined;
  /** Moves the cgroup paths of an image below another root; without `ctrl` for all controllers that are not named. */
  readonly cgRoot?: readonly { readonly ctrl?: string | undefined; readonly path: string }[] | undefined;
  /** Which cgroup properties to dump, a text in a small YAML. Since 2.4. */
  readonly cgroupProps?: string | undefined;
  /** The same from a file. Since 2.4. */
  readonly cgroupPropsFile?: string | undefined;
  /** The controllers to dump. Absent: all. Since 2.4. */
  readonly cgroupDumpController?: readonly string[] | undefined;
  /** A directory where the cgroup hierarchies are mounted already. Since 3.14. */
  readonly cgroupYard?: string | undefined;

  /** CPU features to record or to insist on: 1 fpu, 2 cpu, 4 ins, 8 the image itself. Default: all. Since 1.3. */
  readonly cpuCap?: number | undefined;
  /** Finds the paths behind inotify and fanotify watches by search. Since 1.3. */
  readonly forceIrmap?: boolean | undefined;
  /** Directories that `forceIrmap` searches. Since 1.8. */
  readonly irmapScanPaths?: readonly string[] | undefined;
  /** The way to stop the network between dump and restore. Default: `iptables`. Since 3.16. */
  readonly networkLock?: 'iptables' | 'nftables' | 'skip' | undefined;
  /** Leaves memory pages to a daemon that brings them on demand. Root only. Since 3.5. */
  readonly lazyPages?: boolean | undefined;
  /** Punches pages out of older images as they become redundant. Since 1.2. */
  readonly autoDedup?: boolean | undefined;
  /** Sends memory pages to a page server instead of the images. Since 1.2. */
  readonly ps?: PageServerAddress | undefined;
  /** Leaves the tree stopped. By default a dump kills it, and a restore lets it run. Since 3.19. */
  readonly leaveStopped?: boolean | undefined;
  /** How the pages are written and read: through the kernel's cache, or past it (O_DIRECT). Default: `writeback`. Since 4.3. */
  readonly imageIoMode?: 'writeback' | 'direct' | undefined;
  /** Timeout for collecting or restoring the tasks, in seconds. Default: 10. Since 2.4. */
  readonly timeout?: number | undefined;
  /** A descriptor that gets one zero byte when a page server of lazy pages is ready. Since 2.11. */
  readonly statusFd?: number | undefined;
  /** Pairs the name of a veth device inside with that of a device outside. Legacy: `external`. Since 1.2. */
  readonly veths?: readonly { readonly ifIn: string; readonly ifOut: string }[] | undefined;
}

export interface DumpOptions extends TreeOptions {
  /** The root of the process tree. Absent: this process itself, which only a service can dump. */
  readonly pid?: number | undefined;
  /**
   * Writes `manifest.json` beside the images when the dump is complete: files with sizes and digests, the machine, the user, command
   * lines. Digests of pages are written on request only. A failure is in {@link DumpResult.manifestFailure}. Default: no manifest.
   */
  readonly manifest?: boolean | { readonly digestPages?: boolean | undefined } | undefined;
  /** Lets the tree run on after the dump. By default it is killed. */
  readonly leaveRunning?: boolean | undefined;
  /** Directory of the previous images, relative to the images directory. Since 1.2. */
  readonly parentImg?: string | undefined;
  /** Turns on the kernel's tracking of changed memory, for the next dump. Since 1.2. */
  readonly trackMem?: boolean | undefined;
  /** How a pre-dump reads memory. Default: `splice`. Since 3.14. */
  readonly preDumpMode?: 'splice' | 'vm-read' | undefined;
  /** Leaves out TCP connections that are not accepted yet. Since 2.4. */
  readonly tcpSkipInFlight?: boolean | undefined;
  /** Largest deleted file to carry in the images, in bytes. Default: 1 MiB. Since 1.7. */
  readonly ghostLimit?: number | undefined;
  /** Compresses the pages: 0 not at all, 1 each page, 2 several pages together. May change until 4.3. */
  readonly compress?: number | undefined;
  /** Speed in place of compression, from 1. May change until 4.3. */
  readonly compressAcceleration?: number | undefined;
  /** Bytes that are compressed together. May change until 4.3. */
  readonly compressRegionSize?: number | undefined;
  /** A freezer cgroup that holds the whole tree. Since 2.4. */
  readonly freezeCgroup?: string | undefined;
  /** Unix sockets whose peer may be lost, by inode; read only where `extUnixSk` is given. Legacy: `external`. Since 1.7. */
  readonly unixSkIno?: readonly { readonly inode: number }[] | undefined;
  /** A Unix socket, a descriptor, that keeps pidfds of the tree between pre-dumps. Root only. Since 3.16. */
  readonly pidfdStoreSk?: number | undefined;
}

export interface RestoreOptions extends TreeOptions {
  /** Threads that decompress; 0 leaves the number to CRIU. Default: 1. May change until 4.3. */
  readonly decompressThreads?: number | undefined;
  /** Root directory of the restored tree's mount namespace. Since 1.2. */
  readonly root?: string | undefined;
  /** A program with its arguments that the engine becomes after a successful restore. Root only. Since 1.3. */
  readonly execCmd?: readonly string[] | undefined;
  /** The restored root becomes a child of this process. Only with a private engine. Since 1.3.1. */
  readonly rstSibling?: boolean | undefined;
  /** Descriptors that take the place of dumped ones. Root only. Since 1.5.1. */
  readonly inheritFd?: readonly { readonly key: string; readonly fd: number }[] | undefined;
  /** Namespaces for the tree to join: ipc, net, time, user or uts; a pid or a path. Since 2.3. */
  readonly joinNs?:
    | readonly { readonly ns: string; readonly nsFile: string; readonly extraOpt?: string | undefined }[]
    | undefined;
  /** Passes over sysctls that this kernel lacks. Since 2.9. */
  readonly weakSysctls?: boolean | undefined;
  /** Hands the master of an orphaned pty to the handler of that notification. Since 2.12. */
  readonly orphanPtsMaster?: boolean | undefined;
  /** `apparmor:NAME` or `selinux:LABEL` for the restored tasks. Since 3.12. */
  readonly lsmProfile?: string | undefined;
  /** Replaces the `context=` of mounts that have it. Since 3.16. */
  readonly lsmMountContext?: string | undefined;
  /** Accepts files whose permissions differ from those at dump. Since 3.18. */
  readonly skipFileRwxCheck?: boolean | undefined;
}

/** A check needs a directory only for its log. Through the service, a user without root must name one. */
export type CheckOptions = Partial<ImageOptions>;

export interface CpuinfoOptions extends ImageOptions {
  /** CPU features to record or to insist on: 1 fpu, 2 cpu, 4 ins, 8 the image itself (always added). Default: all. */
  readonly cpuCap?: number | undefined;
}

export interface PageServerOptions extends ImageOptions, TlsOptions {
  /** The address to listen on. */
  readonly ps?: PageServerAddress | undefined;
  /** Punches pages out of older images as they become redundant. Since 1.2. */
  readonly autoDedup?: boolean | undefined;
  /** Directory of the previous images, relative to the images directory. */
  readonly parentImg?: string | undefined;
  readonly notifications?: Notifications | undefined;
}

/** Every option of any verb. */
export type AnyOptions = Partial<
  DumpOptions & RestoreOptions & CheckOptions & CpuinfoOptions & PageServerOptions
>;
