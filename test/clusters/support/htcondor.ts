/** An HTCondor of a single machine, this one, and jobs of alice's in it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { as, directoryOf } from '../../hostile/support/people.ts';
import { eventually, inVm, payload, run } from '../../system/support/bench.ts';
import { withSettings } from '../../system/support/settings.ts';
import { textOf } from './batch.ts';

/** A job in a mount namespace of its own is refused by the service: docs/CLUSTERS.md. The kernel of a container is that of its host. */
const configuration = `MOUNT_UNDER_SCRATCH =
MOUNT_PRIVATE_DEV_SHM = False
ENABLE_KERNEL_TUNING = False
`;

const settings = '/etc/systemd/system/condor.service.d';

/** To be called in the body of a suite. */
export function withHtcondor(): void {
  if (!inVm) withSettings('ExecStart=', 'ExecStart=/usr/lib/criu-service/criu-service --allow-no-new-privs');
  before(async () => {
    writeFileSync('/etc/condor/config.d/50-bench', configuration);
    mkdirSync(settings, { recursive: true });
    // In a container a user’s program is restored only with no_new_privs, and without the inheritable capabilities of pid 1.
    const under = inVm ? '' : 'setpriv --no-new-privs --inh-caps=-all ';
    writeFileSync(
      join(settings, 'bench.conf'),
      `[Service]\nExecStart=\nExecStart=${under}/usr/sbin/condor_master -f\n`,
    );
    run('systemctl', 'daemon-reload');
    run('systemctl', 'start', 'condor.service');
    await eventually('the machine is in the pool', () =>
      ask('condor_status', '-af', 'Name').includes('slot1@'),
    );
  });
  after(() => {
    run('systemctl', 'stop', 'condor.service');
    rmSync(settings, { recursive: true });
    run('systemctl', 'daemon-reload');
  });
}

/** As alice. @returns nothing while HTCondor cannot be asked. */
function ask(program: string, ...argv: string[]): string {
  const [file, ...rest] = [...as('alice'), program, ...argv];
  return spawnSync(file!, rest, { encoding: 'utf8', cwd: '/' }).stdout.trim();
}

let names = 0;

/** A job of alice's, by examples/htcondor. */
export class CondorJob {
  readonly name = `condor-${++names}`;
  readonly home = directoryOf('alice', 0o700);
  readonly #directory = directoryOf('alice');
  #id = '';

  submit(...command: string[]): void {
    const [file, ...argv] = [
      ...as('alice'),
      'condor_submit',
      '-terse',
      `name=${this.name}`,
      `command=${command.join(' ')}`,
      `jobs=${this.home}`,
      'every=2s',
      join(payload, 'htcondor', 'job.sub'),
    ];
    const { status, stdout, stderr } = spawnSync(file!, argv, { cwd: this.#directory, encoding: 'utf8' });
    if (status !== 0) throw new Error(`condor_submit: ${stderr}${stdout}`);
    this.#id = stdout.trim().split(' ')[0]!;
  }

  /** condor_vacate_job, condor_rm and the like. */
  ask(program: string, ...options: string[]): void {
    ask(program, ...options, this.#id);
  }

  get output(): string {
    return textOf(join(this.home, this.name, 'stdout'));
  }

  /** Collected by HTCondor. */
  get collected(): string {
    return textOf(join(this.#directory, `${this.name}.out`));
  }

  /** The sentences of criuctl. */
  get said(): string {
    return textOf(join(this.#directory, `${this.name}.err`));
  }

  /** HTCondor’s own log of the job. */
  get log(): string {
    return textOf(join(this.#directory, `${this.name}.log`));
  }

  /** How often HTCondor has started it: event 001 of its log. */
  get starts(): number {
    return this.log.match(/^001 /gm)?.length ?? 0;
  }

  /** Waits until it has run for a while since a start. */
  async runs(starts: number): Promise<void> {
    await this.#eventually('was started', () => this.starts >= starts);
    const before = this.output.length;
    await this.#eventually('goes on', () => this.output.length > before + 500);
  }

  /** Waits for its end. @returns its status: event 005. */
  async ends(): Promise<number> {
    const ended = /^005 .*\n\t\(1\) Normal termination \(return value (\d+)\)/m;
    await this.#eventually('ends', () => ended.test(this.log));
    return Number(ended.exec(this.log)![1]);
  }

  async #eventually(what: string, holds: () => boolean): Promise<void> {
    try {
      await eventually(`${this.name} ${what}`, holds, 120_000);
    } catch (error) {
      throw new Error(
        [(error as Error).message, this.said, this.log, ask('condor_q', '-better-analyze')].join('\n'),
      );
    }
  }
}
