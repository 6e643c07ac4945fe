/**
 * What systemd is told (sd_notify(3)): readiness, a status line, the end.
 *
 * `sd-notify` does the talking. Its binary belongs to one version of Node's ABI, so where it does not load our addon's
 * call takes its place. Nothing of a client ever goes into a status: a newline would start a new field.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../socket/binding.ts';

/** The part of sd-notify's binary that is used. Its results are thrown away by it. */
interface SdNotify {
  ready(pid: number): void;
  stopping(pid: number): void;
  watchdog(): void;
  sendState(state: string): void;
}

export interface Notifier {
  ready(status: string): void;
  status(text: string): void;
  /** The configuration is read anew (Type=notify-reload of systemd.service(5)); `ready` ends it. */
  reloading(): void;
  stopping(status: string): void;
  /** From now on it takes at least so much longer to stop. */
  extendTimeout(ms: number): void;
  /** A sign of life. */
  watchdog(): void;
  /** ERRNO= of a start that failed. */
  failed(errno: number, status: string): void;
}

export function createNotifier(environment: NodeJS.ProcessEnv): Notifier {
  if (!environment.NOTIFY_SOCKET)
    return {
      ready() {},
      status() {},
      reloading() {},
      stopping() {},
      extendTimeout() {},
      watchdog() {},
      failed() {},
    };
  const sdNotify = loadSdNotify();
  const send = (state: string): void => {
    try {
      if (sdNotify) sdNotify.sendState(state);
      else native.notify(state);
    } catch {
      // systemd that cannot be told does not keep a request from being served.
    }
  };
  return {
    ready(status) {
      send(`STATUS=${oneLine(status)}`);
      if (sdNotify) sdNotify.ready(process.pid);
      else send('READY=1');
    },
    status: (text) => send(`STATUS=${oneLine(text)}`),
    // hrtime is CLOCK_MONOTONIC, as systemd compares it.
    reloading: () => send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping(status) {
      send(`STATUS=${oneLine(status)}`);
      if (sdNotify) sdNotify.stopping(process.pid);
      else send('STOPPING=1');
    },
    extendTimeout: (ms) => send(`EXTEND_TIMEOUT_USEC=${ms * 1000}`),
    watchdog: () => send('WATCHDOG=1'),
    failed: (errno, status) => send(`STATUS=${oneLine(status)}\nERRNO=${errno}`),
  };
}

/** Beside the bundle in an installed package, in node_modules in a checkout. Undefined for another ABI. */
function loadSdNotify(): SdNotify | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  const installed = join(here, 'sd-notify.node');
  const checkout = join(here, '..', '..', 'node_modules', 'sd-notify', 'build', 'Release', 'notify.node');
  try {
    return createRequire(import.meta.url)(existsSync(installed) ? installed : checkout) as SdNotify;
  } catch {
    return undefined;
  }
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, ' ');
}
