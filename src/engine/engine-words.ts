/**
 * The words of an engine on its standard output and error: its own sentences, those of the library of engines, and the error lines
 * of CRIU's log, which that library repeats for a caller whose directories the service does not read. Pure.
 */
import { constants as os } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { EBADRQC } from '../native/errnos.ts';
import { bare, decisiveFirst, errorLinesOf, weightOf } from '../protocol/error-lines.ts';
import { aboutImages } from '../protocol/image-words.ts';
import { type CriuResp, ReqType } from '../protocol/messages.ts';

/** The beginnings of the library's lines (native/engine-preload). */
const ofLibrary = 'criu-service: ';
const ofLog = 'criu-service log: ';

export interface EngineWords {
  /** Error lines of CRIU's log. */
  readonly log: readonly string[];
  /** Sentences of the library of engines. */
  readonly sentences: readonly string[];
  /** Everything else. */
  readonly other: readonly string[];
}

/** @param lines as StderrFile gives them. A user without root may write anything there. */
export function wordsOf(lines: readonly string[]): EngineWords {
  const startingWith = (start: string): string[] =>
    lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length));
  return {
    log: decisiveFirst(errorLinesOf(startingWith(ofLog).join('\n'))),
    sentences: [...new Set(startingWith(ofLibrary))],
    other: lines.filter((line) => !line.startsWith(ofLog) && !line.startsWith(ofLibrary)).map(bare),
  };
}

/** CRIU says on standard output which option may help: `Consider using --shell-job option`. */
const advice = /Consider using --|You can try --/;

/** CRIU without a log, and the library's sentence about it, with the errno. */
const noLog = /^(The log .*) cannot be written in (.*): errno (\d{1,3})$/;
const noLogOfCriu =
  /Can't create log file (.*): (Permission denied|Read-only file system|No space left on device)/;
const errnoOf: Readonly<Record<string, number>> = {
  'Permission denied': os.errno.EACCES,
  'Read-only file system': os.errno.EROFS,
  'No space left on device': os.errno.ENOSPC,
};

/** The sentence and the errno of a failing reply. */
export interface Explained {
  readonly message: string;
  readonly errno?: number;
}

/**
 * @param reply CRIU's failing reply, whose sentence is its first error line, or none.
 * @param directory that of the log, if the service holds a copy of it.
 * @returns better words for it; undefined if its own are good.
 */
export function explain(
  reply: CriuResp,
  { log, sentences, other }: EngineWords,
  directory = 'its directory',
): Explained | undefined {
  if (reply.cr_errno === EBADRQC) {
    const unwritable = explainMissingLog(sentences, other, directory);
    if (unwritable) return unwritable;
  }
  const said = reply.cr_errmsg?.trim() ?? '';
  const suggested = other.find((line) => advice.test(line));
  const [reason = said] = sentences.length > 0 ? sentences : decisiveFirst([...(said ? [said] : []), ...log]);
  const better = sentences.length > 0 || weightOf(reason) < weightOf(said);
  const chosen = better || said === '' ? reason || withoutLog(other) : said;
  const about = reply.type === ReqType.RESTORE ? aboutImages(chosen, log) : undefined;
  const more = about === undefined ? suggested : chosen;
  const first = about ?? chosen;
  const words = more === undefined || first.includes(more) ? first : joined(first, more);
  return words === said || words === '' ? undefined : { message: words };
}

/** The words of a CRIU that has no log, or writes beside it: CHECK names some missing features on standard output only. */
function withoutLog(other: readonly string[]): string {
  return decisiveFirst(errorLinesOf(other.join('\n')))[0] ?? other.at(-1) ?? '';
}

function joined(first: string, second: string): string {
  return first === '' ? second : `${first} (${second})`;
}

function explainMissingLog(
  sentences: readonly string[],
  other: readonly string[],
  directory: string,
): Explained | undefined {
  for (const sentence of sentences) {
    const [, log, named, errno] = noLog.exec(sentence) ?? [];
    if (log && Number(errno) > 0) {
      return noDirectory(`${log} cannot be written in ${named}`, Number(errno));
    }
  }
  for (const line of other) {
    const [, log, reason] = noLogOfCriu.exec(line) ?? [];
    if (log) return noDirectory(`The log ${log} cannot be written in ${directory}`, errnoOf[reason!]!);
  }
  return undefined;
}

function noDirectory(what: string, errno: number): Explained {
  const message = `${what}: ${getSystemErrorName(-errno)}. Name a directory that you can write (work_dir_fd, criuctl: -W)`;
  return { message, errno };
}

/** True if the words of CRIU do not say why: then its log is worth a look. */
export function saysLittle({ cr_errmsg }: CriuResp): boolean {
  return !cr_errmsg?.trim() || weightOf(cr_errmsg) > 0;
}
