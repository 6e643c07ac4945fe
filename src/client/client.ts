/** A client of CRIU: a method for each verb, a connection for each request. */
import { type CriuReq, type CriuResp, ReqType } from '../protocol/messages.ts';
import { type Connection, connect, startChild } from './connection.ts';
import { CriuError } from './criu-error.ts';
import { defaultAddress } from './default-address.ts';
import { converse } from './dialog.ts';
import { dumpResult, warningOf } from './dump-result.ts';
import type {
  AnyOptions,
  CallOptions,
  CheckOptions,
  CpuinfoOptions,
  DumpOptions,
  PageServerOptions,
  RestoreOptions,
} from './options.ts';
import { preDumpRounds } from './pre-dump.ts';
import { engineFds, prepare } from './prepare.ts';
import type {
  CheckResult,
  CriuFeatures,
  CriuVersion,
  DumpResult,
  PageServer,
  PreDumpRound,
  RestoreResult,
} from './results.ts';

/** Attempts to send a request to services that exit without reading it. */
const mostTries = 5;

/** Time for the version of CRIU, which a service keeps. A manifest without it is as good. */
const versionPatienceMs = 5000;

/** The server to ask. Default: the service of this machine, at `/run/criu-service.socket`. */
export interface CriuClientOptions {
  /** The path of a service's socket: this project's service, or CRIU's own `criu service`. */
  readonly address?: string | undefined;
  /**
   * Starts a private `criu swrk` for each request instead of using a service: the path of the program, or true for the installed
   * criu. It has the rights of this process.
   */
  readonly criu?: string | true | undefined;
}

/**
 * Asks CRIU to dump, to restore, and for what it can do.
 *
 * Every method rejects with a {@link CriuError}: `INVALID`, `DIRECTORY`, `UNREACHABLE`, `FAILED`, `CLOSED`, `PROTOCOL`, `ABORTED`,
 * and, where there are notifications, `NOTIFICATION`. A client holds nothing between requests. A request that a service has not read,
 * because it was killed, is sent again.
 *
 * @example
 * const client = new CriuClient();
 * await client.dump({ pid: 4711, imagesDir: '/var/lib/images' });
 * const { pid } = await client.restore({ imagesDir: '/var/lib/images' });
 */
export class CriuClient {
  readonly #options: CriuClientOptions;

  constructor(options: CriuClientOptions = {}) {
    this.#options = options;
  }

  /**
   * Writes a process tree into images. Then the tree is killed, unless `leaveRunning` or `leaveStopped` is set. After a failure
   * the tree runs on.
   */
  async dump(options: DumpOptions): Promise<DumpResult> {
    return this.#listed(dumpResult(await this.#ask(ReqType.DUMP, options)), options);
  }

  /**
   * Copies memory in rounds while the tree runs, so that the final dump has little left to write and freezes the tree only for a
   * short time. All rounds share a connection, which ends with the dump or with the loop.
   *
   * Needs a kernel that tracks changed memory ({@link CriuFeatures.memTrack}).
   *
   * @example
   * for await (const round of client.preDump({ pid, imagesDir: `${images}/1`, trackMem: true })) {
   *   const next = { imagesDir: `${images}/${round.number + 1}`, parentImg: `../${round.number}` };
   *   if (round.number < 3) round.next(next);
   *   else await round.dump(next);
   * }
   */
  preDump(options: DumpOptions): AsyncGenerator<PreDumpRound, void, void> {
    return preDumpRounds(options, {
      connect: (signal) => this.#connect(ReqType.PRE_DUMP, [], signal),
      ask: (connection, type, each) => this.#askOn(connection, type, each),
      listed: (result, each) => this.#listed(result, each),
    });
  }

  /** A single round, without a series. The dump that uses it names it by `parentImg`. Since 3.17. */
  async singlePreDump(options: DumpOptions): Promise<void> {
    await this.#ask(ReqType.SINGLE_PRE_DUMP, options);
  }

  /** Restores a tree from its images, under the same pids, which must be free. */
  async restore(options: RestoreOptions): Promise<RestoreResult> {
    const reply = await this.#ask(ReqType.RESTORE, options);
    return { pid: reply.restore?.pid ?? -1 };
  }

  /** Tells whether the kernel is good enough for CRIU: resolves if it is. */
  async check(options: CheckOptions = {}): Promise<CheckResult> {
    return warningOf(await this.#ask(ReqType.CHECK, options));
  }

  /** The version of CRIU. */
  async version(options: CallOptions = {}): Promise<CriuVersion> {
    const reply = await this.#ask(ReqType.VERSION, options);
    const { major_number, minor_number, sublevel, extra, name, gitid } = reply.version ?? {};
    return {
      major: major_number ?? 0,
      minor: minor_number ?? 0,
      ...(sublevel == null ? {} : { sublevel }),
      ...(extra == null ? {} : { extra }),
      ...(name == null ? {} : { name }),
      ...(gitid == null ? {} : { gitId: gitid }),
    };
  }

  /** The features that CRIU and the kernel have together. */
  async features(options: CallOptions = {}): Promise<CriuFeatures> {
    const asked = { mem_track: true, lazy_pages: true, pidfd_store: true, mem_compression: true };
    const { features } = await this.#ask(ReqType.FEATURE_CHECK, options, { features: asked });
    return {
      memTrack: features?.mem_track ?? false,
      lazyPages: features?.lazy_pages ?? false,
      pidfdStore: features?.pidfd_store ?? false,
      ...(features?.mem_compression == null ? {} : { memCompression: features.mem_compression }),
    };
  }

  /** Writes the features of this CPU to an image, for {@link cpuinfoCheck} on another machine. Since 1.4. */
  async cpuinfoDump(options: CpuinfoOptions): Promise<void> {
    await this.#ask(ReqType.CPUINFO_DUMP, options);
  }

  /** Compares this CPU with an image. Resolves if the images can be restored here. Since 1.4. */
  async cpuinfoCheck(options: CpuinfoOptions): Promise<void> {
    await this.#ask(ReqType.CPUINFO_CHECK, options);
  }

  /** Starts a page server in the background. The server takes the pages of one dump, and exits. Since 1.2. */
  async pageServer(options: PageServerOptions): Promise<PageServer> {
    // CRIU dereferences opts.ps of a PAGE_SERVER unchecked.
    const { ps } = await this.#ask(ReqType.PAGE_SERVER, { ...options, ps: options.ps ?? {} });
    return { port: ps?.port ?? 0, pid: ps?.pid ?? 0 };
  }

  /** Writes the manifest of a dump if it was asked for. The restored copy of a process that has dumped itself has none to write. */
  async #listed(result: DumpResult, options: DumpOptions): Promise<DumpResult> {
    if (!options.manifest || result.restored) return result;
    const { addManifest } = await import('./manifest.ts');
    const version = this.version({ signal: AbortSignal.timeout(versionPatienceMs) });
    return { ...result, ...(await addManifest(options, await version.catch(() => undefined))) };
  }

  async #ask(type: ReqType, options: AnyOptions, more: Partial<CriuReq> = {}): Promise<CriuResp> {
    if (type === ReqType.DUMP && options.pid === undefined && this.#options.criu !== undefined) {
      throw new CriuError(
        'INVALID',
        'A process cannot dump itself by an engine that is its child: name a pid',
      );
    }
    // Invalid options fail before anything is started.
    const prepared = await prepare(type, options, more);
    try {
      for (let tries = 1; ; tries += 1) {
        const connection = await this.#connect(type, engineFds(options), options.signal);
        try {
          return await converse(connection, prepared.request, prepared.dialog);
        } catch (error) {
          // If the service was killed before it read the request, nothing was begun. Its socket belongs to systemd and stays, so
          // try again.
          if (!connection.leftUnread || tries === mostTries || options.signal?.aborted) throw error;
        } finally {
          connection.close();
        }
      }
    } finally {
      await prepared.release();
    }
  }

  /** A request on a connection that stays open. */
  async #askOn(connection: Connection, type: ReqType, options: AnyOptions): Promise<CriuResp> {
    const { request, dialog, release } = await prepare(type, options);
    try {
      return await converse(connection, request, dialog);
    } finally {
      await release();
    }
  }

  #connect(type: ReqType, fds: readonly number[], signal?: AbortSignal): Promise<Connection> {
    const { criu, address = defaultAddress } = this.#options;
    if (criu === undefined) return connect(address, signal);
    return Promise.resolve().then(() => startChild(criu === true ? undefined : criu, type, fds));
  }
}
