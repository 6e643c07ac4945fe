/**
 * Notifications to systemd (sd_notify(3)): readiness, a status line, the end.
 *
 * `sd-notify` reports the readiness of a start. It waits for room in the queue of systemd's socket, which every process may fill,
 * so all later notifications use our addon. If `sd-notify` does not load (its binary belongs to one version of Node's ABI), the
 * addon reports readiness, too. A status never contains text of a client, because a newline would start a new field.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../native/binding.ts';

/** The used part of sd-notify's binary. It drops the results of its calls. */
interface SdNotify {
  ready(pid: number): void;
}

export interface Notifier {
  ready(status: string): void;
  status(text: string): void;
  /** The configuration is being read anew (Type=notify-reload of systemd.service(5)); `ready` ends that state. */
  reloading(): void;
  stopping(status: string): void;
  /** Asks for at least this much more time to stop. */
  extendTimeout(ms: number): void;
  /** A keep-alive for the watchdog. */
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

/**
 * @returns a promise if the queue is full. A failure is ignored, because requests must be served even if systemd cannot be told.
 */
function send(state: string): Promise<unknown> | undefined {
  try {
    return native.notifyNow(state) ? undefined : native.notifyElsewhere(state).catch(() => {});
  } catch {
    return undefined;
  }
}

/** Keeps a message waiting for room, and behind it only the newest, because those between are out of date. */
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
