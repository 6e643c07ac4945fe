/** Services that lack walls against attacks, so that each of the others is seen to hold alone (test/variants). */
import { copyFileSync, cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from './bench.ts';
import { withSettings } from './settings.ts';

/** Of the library that engines are run with (native/engine-preload). */
const ofLibrary = {
  /** The capability is in effect for the calls that need it, and for no other. */
  asleep: true,
  /** An engine is not dumpable, so that it is nobody's to open. */
  undumpable: true,
  /** Nobody leads what is being restored to code of its own. */
  unled: true,
  /** The kernel clears a restartable sequence when it is registered, which no library can do. */
  cleared: true,
};

/** Of the service. */
const ofService = {
  /** A tree that lets its engine go stands still until that has gone, and what an engine leaves is looked for. */
  apart: true,
  /** What a restored tree holds is looked at before it runs. */
  held: true,
};

export type Wall = keyof typeof ofLibrary | keyof typeof ofService;

const installed = '/usr/lib/criu-service';
const variant = '/usr/lib/criu-service-variant';

/** For the tests of one suite, in whose body it is called. */
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
