/** criuctl look */
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { asJson, tableOf } from './look-words.ts';
import { userName } from './people.ts';

export async function run({ options }: Invocation): Promise<Outcome> {
  const pid = options.pid!;
  // A file of its own: other verbs start without it.
  const { look, commandsFor, nounOf } = await import('../look/look.ts');
  const found = await look(pid, userName);
  if (!found) throw new Obstacle(exitCodes.failed, `There is no process ${pid} that you may look at`);
  const commands = commandsFor(pid, found.needs);
  const text = tableOf(found, commands, nounOf);
  return {
    sentence: text,
    value: text,
    json: asJson(found, commands, nounOf),
    exitCode: found.verdict === 'does-not-come-back' ? exitCodes.refused : exitCodes.done,
  };
}
