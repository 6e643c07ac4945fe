/** Images of a process of alice's, which she may edit as she likes. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuOpts, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { binary, eventually, inVm, run, succeeds } from '../../system/support/bench.ts';
import { ourAddress } from '../../system/support/client.ts';
import { engines } from '../../system/support/it.ts';
import { cgroupOf, endProcess, isAlive, isFree, statusLine } from '../../system/support/proc.ts';
import { Attacker, type AttackerOptions } from './attacker.ts';
import { editImages } from './image-editor.ts';
import { as, asCapable, directoryOf, uids } from './people.ts';

/** Images that a test restores without verification, to show the effect. */
const unguarded = new Set<AlicesImages>();

/** CAP_CHECKPOINT_RESTORE, in the two halves that images have. */
export const checkpointRestore = [0, 1 << 8];
export const checkpointRestoreBit = 1n << 40n;

/**
 * An engine that has not answered after so many looks at its log is taken to be stuck: its restorer spins and occupies a
 * processor.
 */
const enoughLooks = 25;

/** Empty for a process that has ended. */
function tidsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

export class AlicesImages {
  readonly directory = directoryOf('alice');
  readonly pid: number;
  /** Created by the first instruction of the process, in either of its two threads. */
  readonly trace: string;

  private constructor(pid: number, trace: string) {
    this.pid = pid;
    this.trace = trace;
  }

  /**
   * Images of a process that leaves a trace wherever it runs; the process itself is gone.
   * @param how a comet leaves its trace once it holds the capability, and then cannot be caught.
   */
  static async make(how?: 'filtered' | 'baited' | 'stopping' | 'comet'): Promise<AlicesImages> {
    const trace = join(directoryOf('alice'), 'trace');
    const what = how === undefined ? ['breathe'] : how === 'comet' ? ['comet'] : ['breathe', how];
    const [file, ...argv] = [...as('alice', ...unshackled()), binary('targets'), ...what, trace];
    const images = new AlicesImages(Number(run(file!, ...argv)), trace);
    await images.dump(how === 'filtered');
    await images.#gone();
    rmSync(trace, { recursive: true, force: true });
    return images;
  }

  /** Images of any process of hers; the process leaves no trace. */
  static async of(pid: number): Promise<AlicesImages> {
    const images = new AlicesImages(pid, join(directoryOf('alice'), 'trace'));
    await images.dump(false);
    await images.#gone();
    return images;
  }

  /** Its pid is free: a process that has ended keeps it until its parent knows. */
  #gone(): Promise<void> {
    return eventually('the process is gone', () => statusLine(this.pid, 'Pid') === undefined);
  }

  private async dump(byRoot: boolean): Promise<void> {
    if (byRoot) {
      // Only root can see seccomp filters; alice could have edited her images to contain them.
      run('criu', 'dump', '--tree', String(this.pid), '--images-dir', this.directory);
      run('chown', '--recursive', 'alice:alice', this.directory);
      return;
    }
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, this.directory);
    const opts = { images_dir_fd: 10, pid: this.pid, log_level: 4, log_file: 'dump.log' };
    const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await alice.end();
  }

  get threads(): number[] {
    return readdirSync(this.directory)
      .map((name) => Number(/^core-(\d+)\.img$/.exec(name)?.[1]))
      .filter((tid) => tid > 0);
  }

  /** Merges `change` into each entry of these images. */
  edit(names: readonly string[], change: object): Promise<void> {
    return editImages(
      names.map((name) => join(this.directory, name)),
      change,
    );
  }

  /** The credentials of the leader, or of all threads, or of all but the leader. */
  editCredentials(change: object, which: 'leader' | 'all' | 'second thread' = 'all'): Promise<void> {
    const tids = this.threads.filter((tid) => which === 'all' || (which === 'leader') === (tid === this.pid));
    assert.ok(tids.length > 0);
    return this.edit(
      tids.map((tid) => `core-${tid}.img`),
      { thread_core: { creds: change } },
    );
  }

  get ran(): boolean {
    return existsSync(this.trace);
  }

  /** True when some thread of the restored process has the capability that only engines have. */
  get holdsCapability(): boolean {
    return tidsOf(this.pid).some(
      (tid) => (BigInt(`0x${statusLine(Number(tid), 'CapPrm') ?? '0'}`) & checkpointRestoreBit) !== 0n,
    );
  }

  /** False while the process is traced or frozen: its next step then has to wait. */
  get runsFreely(): boolean {
    try {
      const events = readFileSync(`/sys/fs/cgroup${cgroupOf(this.pid)}/cgroup.events`, 'latin1');
      return isAlive(this.pid) && statusLine(this.pid, 'TracerPid') === '0' && !events.includes('frozen 1');
    } catch {
      // The process has ended.
      return false;
    }
  }

  get request(): { type: number; opts: CriuOpts } {
    return { type: ReqType.RESTORE, opts: { images_dir_fd: 10, log_level: 4, log_file: 'restore.log' } };
  }

  /** alice asks the service, and waits for the answer. */
  async restore(alice: Attacker = new Attacker('alice'), address = ourAddress): Promise<CriuResp | 'closed'> {
    await alice.do('open', 10, 0, this.directory);
    return alice.ask(this.request, address);
  }

  /**
   * Like restore(), but alice leaves if CRIU will never answer: 4.1.1 waits for ever for a thread that ended because the kernel
   * refused the credentials in its image.
   */
  async restoreOrLeave(
    alice: Attacker = new Attacker('alice'),
    address = ourAddress,
  ): Promise<CriuResp | 'closed' | 'stuck'> {
    const answer = this.restore(alice, address);
    let over = false;
    answer.then(
      () => {
        over = true;
      },
      () => {},
    );
    for (let seen = 0; !over && seen < enoughLooks; ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      seen = this.#refusedInside() ? seen + 1 : 0;
    }
    if (over) return answer;
    answer.catch(() => {});
    await alice.end();
    return 'stuck';
  }

  #refusedInside(): boolean {
    const log = join(this.directory, 'restore.log');
    return existsSync(log) && readFileSync(log, 'utf8').includes('Error (criu/pie/');
  }

  /** Restores as a service without that guard would: by root's CRIU, or by CRIU as alice with the capability of an engine. */
  async restoreUnguarded(by: 'root' | 'engine', ...how: '--no-new-privs'[]): Promise<boolean> {
    await this.#gone();
    unguarded.add(this);
    const user = by === 'root' ? [] : asCapable('alice', ...how);
    const options = [
      'restore',
      '--restore-detached',
      '--images-dir',
      this.directory,
      '--log-file',
      'bite.log',
      '-v4',
    ];
    const argv = [...user, 'criu', ...options, ...(by === 'engine' ? ['--unprivileged'] : [])];
    return succeeds(argv[0]!, ...argv.slice(1));
  }

  /** Ends every process restored from these images. */
  async end(): Promise<void> {
    writeFileSync(`${this.trace}.stop`, '');
    if (isAlive(this.pid)) endProcess(this.pid);
    await eventually('it is gone', () => !isAlive(this.pid));
  }
}

/** Such processes may hold the capability of engines, which no process may keep after a test. */
export async function endUnguarded(): Promise<void> {
  for (const images of unguarded) await images.end();
  unguarded.clear();
}

/** The container's root cannot give a task its full bounding set, except to a task with no_new_privs. */
export function unshackled(): string[] {
  return inVm ? [] : ['--no-new-privs'];
}

/** Requires that no process of the tree exists, and that none of its instructions ever ran. */
export async function assertNeverRan(images: AlicesImages): Promise<void> {
  await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
  assert.equal(images.ran, false, 'an instruction of the restored process ran');
}

/** Brings a restore to a notification. */
export async function restoreUntil(
  images: AlicesImages,
  script: string,
  options: AttackerOptions = {},
): Promise<{ alice: Attacker; engine: number }> {
  const alice = await notifiedOf(images, script, options);
  return { alice, engine: alicesEngine() };
}

/** alice has asked for a restore, and has yet to answer this notification. */
export async function notifiedOf(
  images: AlicesImages,
  script: string,
  options: AttackerOptions = {},
): Promise<Attacker> {
  const alice = new Attacker('alice', options);
  await alice.do('open', 10, 0, images.directory);
  await alice.connect(ourAddress);
  const { type, opts } = images.request;
  await alice.send({ type, opts: { ...opts, notify_scripts: true } });
  await waitFor(alice, script);
  return alice;
}

/** alice says yes to all earlier notifications. */
export async function waitFor(alice: Attacker, script: string): Promise<void> {
  for (;;) {
    const message = await alice.receive();
    assert.ok(message !== 'closed' && message.type === ReqType.NOTIFY, JSON.stringify(message));
    if (message.notify?.script === script) return;
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  }
}

/** The single engine that has become alice. */
export function alicesEngine(): number {
  const engine = engines().find((pid) => statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`));
  assert.ok(engine !== undefined, 'there is no engine that has become alice');
  return engine;
}

/** alice says yes to all further notifications until her reply. */
export async function waitForReply(alice: Attacker): Promise<CriuResp | 'closed'> {
  for (;;) {
    const message = await alice.receive();
    if (message === 'closed' || message.type !== ReqType.NOTIFY) return message;
    await alice.send({ type: ReqType.NOTIFY, notify_success: true }).catch(() => {});
  }
}
