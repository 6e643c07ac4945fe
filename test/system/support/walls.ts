/** Services that lack walls against attacks, which shows that each other wall holds alone (test/variants). */
import { copyFileSync, cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from './bench.ts';
import { withSettings } from './settings.ts';

/** Walls of the library that engines run with (native/engine-preload). */
const ofLibrary = {
  /** The capability is in effect only for the calls that need it. */
  asleep: true,
  /** An engine is not dumpable, so that only root can open it. */
  undumpable: true,
  /** A process cannot be diverted to code of its own during its restore. */
  unled: true,
  /** The kernel clears a restartable sequence at its registration, which no library can do. */
  cleared: true,
};

/** Walls of the service. */
const ofService = {
  /** A tree that was released stands still until its engine has exited and the search for leftovers is over. */
  apart: true,
  /** The files that a restored tree holds are examined before it runs. */
  held: true,
};

export type Wall = keyof typeof ofLibrary | keyof typeof ofService;

const installed = '/usr/lib/criu-service';
const variant = '/usr/lib/criu-service-variant';

/** To be called in the body of a suite, for its tests. */
export function withoutWalls(...walls: readonly Wall[]): void {
  const among = (all: object): string =>
    Object.keys(all)
      .filter((wall) => walls.includes(wall as Wall))
      .join('-');
  before(() => {
    rmSync(variant, { recursive: true, force: true });
    cpSync(installed, variant, { recursive: true });
    const replace = (what: string, without: string, extension: string, name: string): void => {
      if (without !== '')
        copyFileSync(
          join(payload, 'variants', `${what}.without-${without}.${extension}`),
          join(variant, name),
        );
    };
    replace('criu-service', among(ofService), 'cjs', 'criu-service');
    replace('preload', among(ofLibrary), 'so', 'criu-engine-preload.so');
  });
  withSettings('ExecStart=', `ExecStart=/usr/bin/node --max-semi-space-size=1 ${variant}/criu-service`);
  after(() => rmSync(variant, { recursive: true }));
}
