/** From a notification to its handler. */
import type { OwnedFd } from '../native/binding.ts';
import type { Notification, Notifications } from './notifications.ts';

/**
 * Calls the handlers of a notification. Takes over `fds`; descriptors without a handler are closed.
 * @returns the external files that the handler of `query-ext-files` has named.
 */
export async function notify(
  handlers: Notifications | undefined,
  notification: Notification,
  fds: readonly OwnedFd[],
): Promise<readonly string[]> {
  const [master, ...others] = fds;
  for (const fd of others) fd.close();
  let given = false;
  try {
    await handlers?.any?.(notification);
    const name = handlerName(notification.script);
    if (name === 'orphanPtsMaster') {
      if (handlers?.orphanPtsMaster && master) {
        given = true;
        await handlers.orphanPtsMaster(notification, master);
      }
      return [];
    }
    if (name === 'queryExtFiles') return keysOf(await handlers?.queryExtFiles?.(notification));
    if (isHandlerName(name)) await handlers?.[name]?.(notification);
    return [];
  } finally {
    if (!given) master?.close();
  }
}

/** @throws an error if a handler in plain JavaScript has returned something else. */
function keysOf(returned: unknown): readonly string[] {
  if (returned === undefined) return [];
  const isKey = (each: unknown): boolean => typeof each === 'string' && !each.includes('\0');
  if (!Array.isArray(returned) || !returned.every(isKey))
    throw new Error('queryExtFiles returns a list of texts without NUL');
  return returned;
}

type HandlerName = Exclude<keyof Notifications, 'any' | 'orphanPtsMaster' | 'queryExtFiles'>;

/** The compiler checks that this is complete. */
const handlerNames: Readonly<Record<HandlerName, true>> = {
  preDump: true,
  postDump: true,
  networkLock: true,
  networkUnlock: true,
  preStream: true,
  preRestore: true,
  setupNamespaces: true,
  postSetupNamespaces: true,
  postRestore: true,
  preResume: true,
  postResume: true,
  statusReady: true,
};

function handlerName(script: string): string {
  return script.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

function isHandlerName(name: string): name is HandlerName {
  return Object.hasOwn(handlerNames, name);
}
