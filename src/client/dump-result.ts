/** The result of a DUMP, from its reply. */
import type { CriuResp } from '../protocol/messages.ts';
import { warningPrefix } from '../protocol/replies.ts';
import type { DumpResult } from './results.ts';

/** CRIU's own words in a successful reply are its first error line, which did not matter. */
export function dumpResult({ dump, cr_errmsg }: CriuResp): DumpResult {
  const restored = dump?.restored ?? false;
  return cr_errmsg?.startsWith(warningPrefix)
    ? { restored, warning: cr_errmsg.slice(warningPrefix.length) }
    : { restored };
}
