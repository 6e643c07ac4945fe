/** CRIU's own service, in a unit of its own like ours: CRIU treats a target in another cgroup than its own differently. */
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { eventually, run } from './bench.ts';
import { mainPid } from './unit.ts';

export const referenceAddress = '/run/criu-reference.socket';
const unit = 'criu-reference.service';
let pid: number | undefined;

export async function startReference(): Promise<void> {
  rmSync(referenceAddress, { force: true });
  const log = '/run/criu-reference.log';
  run(
    'systemd-run',
    '--quiet',
    '--collect',
    `--unit=${unit}`,
    'criu',
    'service',
    '--address',
    referenceAddress,
    '-o',
    log,
  );
  await eventually('the reference listens', () => existsSync(referenceAddress));
  // For every user, as CRIU itself made it before 4.2.1.
  chmodSync(referenceAddress, 0o666);
  pid = mainPid(unit);
}

/** Undefined while it is not running. */
export function referencePid(): number | undefined {
  return pid;
}

export function stopReference(): void {
  run('systemctl', 'stop', unit);
  pid = undefined;
}
