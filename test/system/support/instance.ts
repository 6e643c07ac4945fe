/** A second service beside the installed service, with options of its own. It listens by itself, without systemd's socket. */
import { existsSync, rmSync } from 'node:fs';
import { eventually, run } from './bench.ts';

let count = 0;

export class Instance {
  readonly unit: string;
  readonly address: string;

  private constructor(unit: string, address: string) {
    this.unit = unit;
    this.address = address;
  }

  static async start(...options: string[]): Promise<Instance> {
    count += 1;
    const unit = `criu-instance-${count}`;
    const address = `/run/${unit}.socket`;
    rmSync(address, { force: true });
    // With Type=notify systemd-run returns when the service has said that it is ready.
    run(
      'systemd-run',
      '--quiet',
      '--collect',
      `--unit=${unit}`,
      '--property=Type=notify',
      '/usr/sbin/criu-service',
      '--address',
      address,
      ...options,
    );
    await eventually(`${unit} listens`, () => existsSync(address));
    return new Instance(unit, address);
  }

  stop(): void {
    run('systemctl', 'stop', this.unit);
  }
}
