/** The results of a DUMP and a CHECK, from their replies. */
import type { CriuResp } from '../protocol/messages.ts';
import { warningPrefix } from '../protocol/replies.ts';
import type { DumpResult } from './results.ts';

export function dumpResult(reply: CriuResp): DumpResult {
  return { restored: reply.dump?.restored ?? false, ...warningOf(reply) };
}

/** CRIU's own words in a successful reply are its first error line, which did not matter. */
export function warningOf({ cr_errmsg }: CriuResp): { warning?: string } {
  return cr_errmsg?.startsWith(warningPrefix) ? { warning: cr_errmsg.slice(warningPrefix.length) } : {};
}
