#!/usr/bin/env -S node --max-semi-space-size=1
/** Parse, ask, print, one exit code. */
import { isatty } from 'node:tty';
import { type Parsed, parseCommandLine } from '../cli/command-line.ts';
import { detachedVerb } from '../cli/detached-verb.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import type { Invocation, Outcome } from '../cli/invocation.ts';
import type { Verb } from '../cli/options/row.ts';
import { holderVerb } from '../cli/terminal/holder-verb.ts';
import { jsonOf } from '../cli/words.ts';
import { sanitize } from '../systemd/log.ts';

/** Each module is loaded on demand: a completion needs no addon, and `status` no protocol. */
const verbModules: Readonly<Record<Verb, () => Promise<{ run(invocation: Invocation): Promise<Outcome> }>>> =
  {
    look: () => import('../cli/look.ts'),
    dump: () => import('../cli/dump.ts'),
    'pre-dump': () => import('../cli/dump.ts'),
    restore: () => import('../cli/restore.ts'),
    attach: () => import('../cli/attach.ts'),
    check: () => import('../cli/check.ts'),
    version: () => import('../cli/version.ts'),
    features: () => import('../cli/features.ts'),
    cpuinfo: () => import('../cli/cpuinfo.ts'),
    'page-server': () => import('../cli/page-server.ts'),
    images: () => import('../cli/images/images.ts'),
    status: () => import('../cli/status.ts'),
    run: () => import('../cli/job-verbs.ts'),
    jobs: () => import('../cli/job-verbs.ts'),
    checkpoint: () => import('../cli/job-verbs.ts'),
    suspend: () => import('../cli/job-verbs.ts'),
    resume: () => import('../cli/job-verbs.ts'),
    logs: () => import('../cli/job-verbs.ts'),
    wait: () => import('../cli/job-verbs.ts'),
    remove: () => import('../cli/job-verbs.ts'),
  };

/** These read systemd's state, /proc, images or jobs, and start sooner without the protocol. */
const askingNobody: ReadonlySet<Verb> = new Set([
  'status',
  'look',
  'images',
  'jobs',
  'logs',
  'wait',
  'remove',
]);

process.on('uncaughtException', endWithFault);
/** The end of a process that has loaded the addon is not Node's own, see leave.ts. */
let exit: (status: number) => never = process.exit;

main().then((code) => {
  process.exitCode = code;
}, endWithFault);

async function main(): Promise<number> {
  if (process.argv[2] === holderVerb) {
    const { holdTerminal } = await import('../cli/terminal/holder.ts');
    return holdTerminal(Number(process.argv[3]));
  }
  if (process.argv[2] === detachedVerb) {
    const { untilDetached } = await import('../cli/detach.ts');
    await untilDetached(Number(process.argv[3]));
    process.argv.splice(2, 2);
  }
  const parsed = parseCommandLine(process.argv.slice(2));
  if ('exitCode' in parsed) return parsed.exitCode;
  if (parsed.verb === 'completion') {
    const { completion } = await import('../cli/completion.ts');
    process.stdout.write(completion(parsed.action!));
    return exitCodes.done;
  }
  return run(parsed, parsed.verb);
}

async function run(parsed: Parsed, verb: Verb): Promise<never> {
  // Before anything is written: the end puts pipes back as they were.
  const { leave, leaveAtOnce } = await import('../native/leave.ts');
  exit = leaveAtOnce;
  return leave(await ask(parsed, verb));
}

async function ask({ action, path, other, command, options, own }: Parsed, verb: Verb): Promise<number> {
  const abort = new AbortController();
  // Reading images is a single long step, which only the kernel can interrupt; their compression has steps, and leaves nothing behind.
  if (verb !== 'images' || action === 'compress' || action === 'expand')
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort(signal));
  const client = askingNobody.has(verb) ? undefined : (await import('../client/client.ts')).CriuClient;
  const invocation: Invocation = {
    verb,
    action,
    path,
    command,
    other,
    options,
    own,
    signal: abort.signal,
    // Node's own stream would make a pipe non-blocking, also for a restored program that shares it.
    watched: isatty(2) && !own.json,
    client: () => new client!({ address: own.service }),
  };
  try {
    const { run } = await verbModules[verb]();
    const outcome = await run(invocation);
    print(outcome, invocation);
    return outcome.exitCode ?? exitCodes.done;
  } catch (error) {
    const { explain } = await import('../cli/explain.ts');
    const { exitCode, ...explanation } = await explain(error, invocation);
    if (own.json) process.stderr.write(`${jsonOf({ verb, success: false, ...explanation })}\n`);
    else {
      const { message, lines, log, advice } = explanation;
      const words = [
        `criuctl: ${message}`,
        ...(lines.every((line) => message.includes(line)) ? [] : lines.map((line) => `  ${line}`)),
        ...(log === undefined ? [] : [`CRIU's log: ${log}`]),
        ...advice,
      ];
      process.stderr.write(`${words.map(sanitize).join('\n')}\n`);
    }
    return exitCode;
  }
}

/** Reports a fault of criuctl itself, without a stack trace, which does not help its user. */
function endWithFault(error: Error & { readonly code?: string; readonly syscall?: string }): void {
  // The reader has closed the pipe, as `head` does.
  if (error.code === 'EPIPE' && error.syscall === 'write') exit(Number(process.exitCode ?? exitCodes.done));
  process.stderr.write(
    `criuctl: ${error.name}: ${error.message}\nThis is a fault of criuctl: please report it\n`,
  );
  exit(exitCodes.failed);
}

/** Standard output gets the result only. Sentences are for a terminal. */
function print(
  { sentence, value, json, summary = [], warnings = [] }: Outcome,
  { own, watched }: Invocation,
): void {
  if (own.json) {
    if (json) process.stdout.write(`${jsonOf(json)}\n`);
  } else {
    const text = process.stdout.isTTY ? sentence : value;
    if (text !== '') process.stdout.write(`${text}\n`);
    for (const warning of warnings) process.stderr.write(`criuctl: warning: ${sanitize(warning)}\n`);
  }
  if ((watched || own.displayStats) && !own.json && summary.length > 0)
    process.stderr.write(`${summary.join('\n')}\n`);
}
