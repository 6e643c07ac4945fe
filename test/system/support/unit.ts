/** criu.service, as systemd and /proc see it. */
import { run } from './bench.ts';

const unit = 'criu.service';

/** Properties of a unit, as `systemctl show` prints them. */
export function show(name: string, ...properties: string[]): Record<string, string> {
  const text = run('systemctl', 'show', `--property=${properties.join(',')}`, name);
  return Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** 0 while it is not running. */
export function mainPid(name: string = unit): number {
  return Number(show(name, 'MainPID').MainPID);
}
