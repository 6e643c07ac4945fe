/** From a notification to its handler. */
import type { OwnedFd } from '../native/binding.ts';
import type { Notification, Notifications } from './notifications.ts';

/** Calls the handlers of a notification. Takes over `fds`; descriptors without a handler are closed. */
export async function notify(
  handlers: Notifications | undefined,
  notification: Notification,
  fds: readonly OwnedFd[],
): Promise<void> {
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
      return;
    }
    if (isHandlerName(name)) await handlers?.[name]?.(notification);
  } finally {
    if (!given) master?.close();
  }
}

type HandlerName = Exclude<keyof Notifications, 'any' | 'orphanPtsMaster'>;

/** The compiler checks that this is complete. */
const handlerNames: Readonly<Record<HandlerName, true>> = {
  preDump: true,
  postDump: true,
  queryExtFiles: true,
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
