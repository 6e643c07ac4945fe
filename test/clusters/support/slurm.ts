/** A Slurm of a controller and two nodes, all on this machine, and batch jobs of alice's in it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { as, directoryOf } from '../../hostile/support/people.ts';
import { eventually, inVm, payload, run } from '../../system/support/bench.ts';
import { withSettings } from '../../system/support/settings.ts';
import { textOf } from './batch.ts';

const nodes = { n1: 17_001, n2: 17_002 } as const;
export type Node = keyof typeof nodes;

/** Slurm’s nodes need an address other than the loopback’s. */
const address = '10.99.0.1';

const stateOf = '/var/lib/slurm/slurmctld';
const logs = '/var/log/slurm';

/**
 * A container shows cgroups of its host that Slurm does not understand; the processes of a job are there found by their parents.
 * Slurm waits before it starts a requeued job until its earlier credentials have expired.
 */
const configuration = `ClusterName=bench
SlurmctldHost=${hostname()}(${address})
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/${inVm ? 'cgroup' : 'linuxproc'}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=${stateOf}
SlurmdSpoolDir=/var/spool/slurmd/%n
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldPidFile=/run/slurmctld.pid
KillWait=20
MinJobAge=7200
JobRequeue=1
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptParameters=send_user_signal
ReturnToService=2
MpiDefault=none
${Object.entries(nodes)
  .map(
    ([name, port]) => `NodeName=${name} NodeHostname=${hostname()} NodeAddr=${address} Port=${port} CPUs=1`,
  )
  .join('\n')}
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=120 MaxTime=INFINITE
PartitionName=high Nodes=n1,n2 PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE
`;

/** To be called in the body of a suite. */
export function withSlurm(): void {
  if (!inVm) withSettings('ExecStart=', 'ExecStart=/usr/lib/criu-service/criu-service --allow-no-new-privs');
  before(startSlurm);
  after(stopSlurm);
}

async function startSlurm(): Promise<void> {
  run('ip', 'link', 'add', 'slurm0', 'type', 'veth', 'peer', 'name', 'slurm1');
  run('ip', 'address', 'add', `${address}/24`, 'dev', 'slurm0');
  for (const end of ['slurm0', 'slurm1']) run('ip', 'link', 'set', end, 'up');
  for (const directory of ['/etc/slurm', '/var/spool/slurmd', logs, stateOf])
    mkdirSync(directory, { recursive: true });
  run('chown', 'slurm:', logs, stateOf);
  writeFileSync('/etc/slurm/slurm.conf', configuration);
  writeFileSync('/etc/slurm/cgroup.conf', inVm ? 'CgroupPlugin=cgroup/v2\n' : 'CgroupPlugin=disabled\n');
  run('systemctl', 'start', 'munge.service');
  service('controller', 'slurmctld', '-D');
  // In a container a user’s program is restored only with no_new_privs, and without the inheritable capabilities of pid 1.
  const under = inVm ? [] : ['setpriv', '--no-new-privs', '--inh-caps=-all'];
  for (const name of Object.keys(nodes)) service(name, ...under, 'slurmd', '-D', '-N', name);
  await eventually('both nodes are ready', () =>
    run('sinfo', '--noheader', '--format=%T %D').includes('idle 2'),
  );
}

function service(unit: string, ...command: string[]): void {
  run(
    'systemd-run',
    '--quiet',
    '--collect',
    `--unit=bench-${unit}`,
    '--property=Delegate=yes',
    '--property=KillMode=process',
    ...command,
  );
}

function stopSlurm(): void {
  run('scancel', '--full', '--signal=KILL', '--user=alice');
  run(
    'systemctl',
    'stop',
    ...['controller', ...Object.keys(nodes)].map((unit) => `bench-${unit}.service`),
    'munge.service',
  );
  run('ip', 'link', 'delete', 'slurm0');
}

/** An emulated machine takes a quarter of an hour for a computation of a minute and its checkpoints. */
const computationMs = 45 * 60_000;

let names = 0;

/** A batch job of alice’s, by the script of examples/slurm. */
export class SlurmJob {
  readonly name = `sim-${++names}`;
  /** Of her jobs: all nodes have it. */
  readonly home = directoryOf('alice', 0o700);
  readonly #directory = directoryOf('alice');
  #id = '';

  get id(): string {
    return this.#id;
  }

  /** Submits it, or submits it again after it has ended. */
  submit(options: readonly string[], ...command: string[]): void {
    const [file, ...argv] = [
      ...as('alice'),
      'env',
      '--ignore-environment',
      'PATH=/usr/local/bin:/usr/bin:/bin',
      `HOME=${this.#directory}`,
      `CRIU_JOBS=${this.home}`,
      'CRIU_EVERY=2s',
      'sbatch',
      '--parsable',
      `--job-name=${this.name}`,
      `--output=${join(this.#directory, 'output')}`,
      `--error=${join(this.#directory, 'errors')}`,
      ...options,
      join(payload, 'slurm', 'job.sh'),
      ...command,
    ];
    const { status, stdout, stderr } = spawnSync(file!, argv, { cwd: this.#directory, encoding: 'utf8' });
    if (status !== 0) throw new Error(`sbatch: ${stderr}`);
    this.#id = stdout.trim();
  }

  /** As scontrol shows it, such as JobState, Restarts, BatchHost. */
  field(name: string): string {
    const text = run('scontrol', '--oneliner', 'show', 'job', this.id);
    return new RegExp(`(?:^|\\s)${name}=(\\S*)`).exec(text)?.[1] ?? '';
  }

  get node(): Node | undefined {
    const name = this.field('BatchHost');
    return name in nodes ? (name as Node) : undefined;
  }

  /** Written by the job, in its directory. */
  get output(): string {
    return textOf(join(this.home, this.name, 'stdout'));
  }

  /** Collected by Slurm. */
  get collected(): string {
    return textOf(join(this.#directory, 'output'));
  }

  /** The sentences of criuctl. */
  get said(): string {
    return textOf(join(this.#directory, 'errors'));
  }

  /** Of its tree; undefined before its first start. */
  get pid(): number | undefined {
    const text = textOf(join(this.home, this.name, 'run.json'));
    return text === '' ? undefined : (JSON.parse(text) as { readonly pid: number }).pid;
  }

  /** Waits until it has run for a while since its last start. @param restarts how often it was requeued. */
  async runs(restarts: number): Promise<Node> {
    try {
      await eventually(
        `${this.name} runs after ${restarts} restarts`,
        () => this.field('JobState') === 'RUNNING' && Number(this.field('Restarts')) >= restarts,
      );
      const before = this.output.length;
      await eventually(`${this.name} goes on`, () => this.output.length > before + 500);
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${this.account()}`);
    }
    return this.node!;
  }

  /** Waits until it is out of the queue. @returns its state, such as COMPLETED. */
  async ends(): Promise<string> {
    const over = /^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED)$/;
    try {
      const ends = () => over.test(this.field('JobState'));
      await eventually(`${this.name} ends`, ends, computationMs);
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${this.account()}`);
    }
    return this.field('JobState');
  }

  /** The state of everything, for a failure. */
  account(): string {
    return [run('scontrol', 'show', 'job', this.id), this.said, run('squeue'), run('sinfo')].join('\n');
  }
}

/** Keeps new jobs from a node, where running jobs go on. */
export function drain(node: Node): void {
  run('scontrol', 'update', `NodeName=${node}`, 'State=DRAIN', 'Reason=test');
}

export function undrain(node: Node): void {
  run('scontrol', 'update', `NodeName=${node}`, 'State=RESUME');
}
