#!/usr/bin/env node
// checkpoint dump PID DIRECTORY | restore DIRECTORY: the library in a program, with notifications and errors.
import { CriuClient, isCriuError } from 'criu-service';

const [verb, ...words] = process.argv.slice(2);
const imagesDir = words.at(-1);
if (imagesDir === undefined || (verb !== 'restore' && words.length !== 2)) {
  console.error('usage: checkpoint dump PID DIRECTORY | restore DIRECTORY');
  process.exit(2);
}

const client = new CriuClient();
// Control-C ends a request so that CRIU rolls back; without this the request would go on alone.
const abort = new AbortController();
process.once('SIGINT', () => abort.abort());

try {
  if (verb === 'dump') {
    const pid = Number(words[0]);
    await client.dump({
      pid,
      imagesDir,
      logFile: 'dump.log',
      logLevel: 4,
      signal: abort.signal,
      notifications: { any: ({ script }) => console.log(`CRIU is at ${script}`) },
    });
    console.log(`process ${pid} is in ${imagesDir}`);
  } else {
    const { pid } = await client.restore({
      imagesDir,
      logFile: 'restore.log',
      logLevel: 4,
      signal: abort.signal,
    });
    console.log(`process ${pid} runs again`);
  }
} catch (error) {
  if (!isCriuError(error)) throw error;
  console.error(`${error.message} (${error.errnoName ?? error.code})`);
  if (error.log !== undefined) console.error(`CRIU's log: ${error.log}`);
  process.exit(1);
}
