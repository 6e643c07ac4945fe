/** A request and everything up to its final reply. */

import type { Packet } from '../native/binding.ts';
import { decodeResponse, encodeRequest } from '../protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType, reqTypeName } from '../protocol/messages.ts';
import type { Connection } from './connection.ts';
import { abortError, CriuError, describeFailure } from './criu-error.ts';
import type { Notifications } from './notifications.ts';
import { notify } from './notify.ts';

/** The parts of a dialog besides the request's bytes. */
export interface DialogOptions {
  readonly notifications?: Notifications | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Path of CRIU's log, for errors. */
  readonly log?: string | undefined;
  /** The reply's type, if it differs from the request's. */
  readonly answeredAs?: number | undefined;
}

/**
 * Sends a request, handles every notification, and returns the final, successful reply. The connection still belongs to the
 * caller of this function.
 * @throws CriuError
 */
export async function converse(
  connection: Connection,
  request: CriuReq,
  options: DialogOptions = {},
): Promise<CriuResp> {
  const { signal } = options;
  const abort = aborted(signal, connection);
  try {
    if (signal?.aborted) throw abortError(signal, options.log);
    connection.send(encodeRequest(request));
    return await hearOut(connection, request, options, abort.promise);
  } catch (error) {
    // After an abort, the abort is the reason, not the failure that the closed connection has caused.
    throw signal?.aborted ? abortError(signal, options.log) : error;
  } finally {
    abort.forget();
  }
}

/** Closes the connection on abort: the pending receive() and CRIU then read the end. */
function aborted(
  signal: AbortSignal | undefined,
  connection: Connection,
): { readonly promise: Promise<never>; forget(): void } {
  let onAbort = (): void => {};
  const promise = new Promise<never>((_, reject) => {
    onAbort = () => {
      connection.close();
      reject(signal?.reason);
    };
  });
  promise.catch(() => {});
  signal?.addEventListener('abort', onAbort, { once: true });
  return { promise, forget: () => signal?.removeEventListener('abort', onAbort) };
}

async function hearOut(
  connection: Connection,
  request: CriuReq,
  options: DialogOptions,
  abort: Promise<never>,
): Promise<CriuResp> {
  const expected = options.answeredAs ?? request.type;
  let thrown: { readonly by: string; readonly what: unknown } | undefined;
  for (;;) {
    const packet = await connection.receive();
    if (!packet) throw ended(connection, expected, options.log);
    const reply = decode(packet, expected, options.log);
    if (reply.type === ReqType.NOTIFY && reply.notify) {
      const { script, pid } = reply.notify;
      const notification = { script: script ?? '', ...(pid == null ? {} : { pid }) };
      let success = true;
      let external: readonly string[] = [];
      try {
        // A handler that never returns must not delay an abort.
        external = await Promise.race([notify(options.notifications, notification, packet.fds), abort]);
      } catch (error) {
        if (options.signal?.aborted) throw error;
        success = false;
        thrown ??= { by: notification.script, what: error };
      }
      connection.send(encodeRequest(answerTo(success, external)));
      continue;
    }
    for (const fd of packet.fds) fd.close();
    if (thrown) {
      const { by, what } = thrown;
      const words = what instanceof Error ? what.message : String(what);
      throw new CriuError('NOTIFICATION', `The handler of the notification ${by} failed: ${words}`, {
        ...facts(reply, expected, options.log),
        cause: what,
      });
    }
    judge(reply, expected, options.log);
    return reply;
  }
}

function answerTo(success: boolean, external: readonly string[]): CriuReq {
  // rpc.proto requires images_dir_fd; CRIU reads only the list (exec_rpc_query_external_files in criu/cr-service.c).
  const opts = external.length > 0 ? { opts: { images_dir_fd: -1, external: [...external] } } : {};
  return { type: ReqType.NOTIFY, notify_success: success, ...opts };
}

function decode(packet: Packet, expected: number, log: string | undefined): CriuResp {
  const decoded = decodeResponse(packet.data, 'lenient');
  if (decoded.kind === 'response') return decoded.message;
  for (const fd of packet.fds) fd.close();
  throw new CriuError('PROTOCOL', `The reply is no criu_resp: ${decoded.reason}`, {
    expected: reqTypeName(expected),
    log,
  });
}

/** Returns only for a successful reply of the right type. */
function judge(reply: CriuResp, expected: number, log: string | undefined): void {
  const request = reqTypeName(expected);
  if (!reply.success) {
    throw new CriuError(
      'FAILED',
      describeFailure(request, reply.cr_errno ?? undefined, reply.cr_errmsg ?? undefined),
      facts(reply, expected, log),
    );
  }
  if (reply.type !== expected) {
    throw new CriuError(
      'PROTOCOL',
      `${request} was answered by ${reqTypeName(reply.type)}`,
      facts(reply, expected, log),
    );
  }
}

function facts(reply: CriuResp, expected: number, log: string | undefined) {
  return {
    // CRIU sends 0 if it has no errno.
    errno: reply.cr_errno || undefined,
    criuMessage: reply.cr_errmsg || undefined,
    expected: reqTypeName(expected),
    received: reqTypeName(reply.type),
    log,
  };
}

function ended(connection: Connection, expected: number, log: string | undefined): CriuError {
  const words = connection.lastWords ?? 'The connection was closed without a reply';
  return new CriuError('CLOSED', `${reqTypeName(expected)}: ${words}`, {
    expected: reqTypeName(expected),
    log,
  });
}
