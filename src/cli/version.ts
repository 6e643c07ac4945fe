/** criuctl version */
import { versionText } from '../client/version-text.ts';
import { version as own } from '../version.ts';
import type { Invocation, Outcome } from './invocation.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const criu = await invocation.client().version({ signal: invocation.signal });
  const { gitId } = criu;
  const number = versionText(criu);
  return {
    sentence: `CRIU ${number}${gitId === undefined ? '' : ` (${gitId})`}, criuctl ${own}`,
    value: number,
    json: { verb: 'version', criu, criuctl: own },
  };
}
