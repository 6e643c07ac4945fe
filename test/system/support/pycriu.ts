/** Runs a verb of clients/pycriu_client.py. */
import { run, script } from './bench.ts';
import { ourAddress } from './client.ts';

/** @param T the object that the verb prints. */
export function pycriu<T>(verb: string, ...argv: (string | number)[]): T {
  return pycriuUnder([], verb, ...argv);
}

/** The same, started by another command (`runuser -u alice --`, for example). */
export function pycriuUnder<T>(command: string[], verb: string, ...argv: (string | number)[]): T {
  return pycriuBy<T>(ourAddress, command, verb, ...argv);
}

/** @param server the address of a service, or the name of a criu that is started. */
export function pycriuBy<T>(
  server: string,
  command: readonly string[],
  verb: string,
  ...argv: (string | number)[]
): T {
  const client = ['/usr/bin/python3', script('pycriu_client.py')];
  const [file, ...rest] = [...command, ...client, server, verb, ...argv.map(String)];
  return JSON.parse(run(file!, ...rest)) as T;
}
