/** A series of pre-dumps on one connection (pre_dump_loop in criu/cr-service.c), as an async iterator. */
import { type CriuResp, ReqType } from '../protocol/messages.ts';
import type { Connection } from './connection.ts';
import { dumpResult } from './dump-result.ts';
import type { DumpOptions } from './options.ts';
import type { DumpResult, PreDumpRound } from './results.ts';

/** The client functions that a series needs. */
export interface PreDumpContext {
  connect(signal?: AbortSignal): Promise<Connection>;
  ask(connection: Connection, type: ReqType, options: DumpOptions): Promise<CriuResp>;
  /** The result, with the manifest that the options ask for. */
  listed(result: DumpResult, options: DumpOptions): Promise<DumpResult>;
}

export async function* preDumpRounds(
  first: DumpOptions,
  { connect, ask, listed }: PreDumpContext,
): AsyncGenerator<PreDumpRound, void, void> {
  const connection = await connect(first.signal);
  try {
    let following: DumpOptions | undefined = first;
    for (let number = 1; following !== undefined; number += 1) {
      const options: DumpOptions = following;
      following = undefined;
      await ask(connection, ReqType.PRE_DUMP, options);
      yield {
        number,
        imagesDir: options.imagesDir,
        next: (changes) => {
          following = { ...options, ...changes };
        },
        dump: async (changes) => {
          const last = { ...options, ...changes };
          return listed(dumpResult(await ask(connection, ReqType.DUMP, last)), last);
        },
      };
    }
  } finally {
    // After the dump CRIU has exited already; otherwise it reads the end of the series and exits.
    connection.close();
  }
}
