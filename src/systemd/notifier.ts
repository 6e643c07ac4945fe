/**
 * What systemd is told (sd_notify(3)): readiness, a status line, the end.
 *
 * `sd-notify` says when a start is ready. It waits for room in the queue of systemd's socket, which anybody may fill, so that from then on
 * our addon's calls take its place, and so they do where it does not load: its binary belongs to one version of Node's ABI. Nothing of a
 * client ever goes into a status: a newline would start a new field.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../native/binding.ts';

/** The part of sd-notify's binary that is used. Its results are thrown away by it. */
interface SdNotify {
  ready(pid: number): void;
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
  let sdNotify = loadSdNotify();
  const status = new Newest();
  const watchdog = new Newest();
  return {
    ready(text) {
      status.send(`STATUS=${oneLine(text)}`);
      if (sdNotify) sdNotify.ready(process.pid);
      else send('READY=1');
      sdNotify = undefined;
    },
    status: (text) => status.send(`STATUS=${oneLine(text)}`),
    // hrtime is CLOCK_MONOTONIC, as systemd compares it.
    reloading: () => send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping(text) {
      status.send(`STATUS=${oneLine(text)}`);
      send('STOPPING=1');
    },
    extendTimeout: (ms) => send(`EXTEND_TIMEOUT_USEC=${ms * 1000}`),
    watchdog: () => watchdog.send('WATCHDOG=1'),
    failed: (errno, text) => send(`STATUS=${oneLine(text)}\nERRNO=${errno}`),
  };
}

/** @returns a promise where there is no room; systemd that cannot be told does not keep a request from being served. */
function send(state: string): Promise<unknown> | undefined {
  try {
    return native.notifyNow(state) ? undefined : native.notifyElsewhere(state).catch(() => {});
  } catch {
    return undefined;
  }
}

/** One that waits for room, and behind it the newest: what was to be said meanwhile is out of date. */
class Newest {
  #waits = false;
  #next: string | undefined;

  send(state: string): void {
    if (this.#waits) {
      this.#next = state;
      return;
    }
    const sent = send(state);
    if (!sent) return;
    this.#waits = true;
    sent.then(() => {
      this.#waits = false;
      const next = this.#next;
      this.#next = undefined;
      if (next !== undefined) this.send(next);
    });
  }
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
