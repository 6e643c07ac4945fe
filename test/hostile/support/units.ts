/** Units in which alice asks: one of root's, in which systemd runs a program as alice, and units of her own manager. */
import { existsSync, readFileSync } from 'node:fs';
import { run, succeeds } from '../../system/support/bench.ts';
import { show } from '../../system/support/unit.ts';
import { as, uids } from './people.ts';

let names = 0;

export class Unit {
  readonly name = `place-${process.pid}-${++names}.scope`;
  readonly #own: boolean;
  readonly #properties: readonly string[];

  /** @param own the unit of alice's own manager, which has delegated cgroups. */
  constructor(own: boolean, ...properties: readonly string[]) {
    this.#own = own;
    this.#properties = properties.flatMap((property) => ['-p', property]);
  }

  /** The command that starts a program of alice's in this unit. */
  get under(): string[] {
    const how = ['--scope', '--quiet', '--collect', `--unit=${this.name}`, ...this.#properties];
    return this.#own
      ? [...as('alice'), 'env', runtimeDirectory, 'systemd-run', '--user', ...how]
      : ['systemd-run', ...how, ...as('alice')];
  }

  get cgroup(): string {
    const path = this.#own
      ? ownManager('show', '--value', '--property=ControlGroup', this.name).trim()
      : show(this.name, 'ControlGroup').ControlGroup!;
    return path;
  }

  /** Stops the unit if it is still there: a scope ends with its last process. */
  end(): void {
    const stop = this.#own ? ownCommand('stop', this.name) : ['systemctl', 'stop', this.name];
    succeeds(stop[0]!, ...stop.slice(1));
  }

  /** @param options of systemctl. */
  stop(...options: string[]): void {
    if (this.#own) ownManager('stop', ...options, this.name);
    else run('systemctl', 'stop', ...options, this.name);
  }
}

const runtimeDirectory = `XDG_RUNTIME_DIR=/run/user/${uids.alice}`;

/** systemctl --user, as alice. */
export function ownManager(...argv: string[]): string {
  const [file, ...rest] = ownCommand(...argv);
  return run(file!, ...rest);
}

function ownCommand(...argv: string[]): string[] {
  return [...as('alice'), 'env', runtimeDirectory, 'systemctl', '--user', ...argv];
}

export function startManager(): void {
  run('systemctl', 'start', `user@${uids.alice}.service`);
}

export function stopManager(): void {
  run('systemctl', 'stop', `user@${uids.alice}.service`);
}

/** The content of a file of a cgroup; undefined if there is no such file. */
export function cgroupFile(path: string, file: string): string | undefined {
  const name = `/sys/fs/cgroup${path}/${file}`;
  return existsSync(name) ? readFileSync(name, 'latin1') : undefined;
}

export function isThere(path: string): boolean {
  return existsSync(`/sys/fs/cgroup${path}`);
}
