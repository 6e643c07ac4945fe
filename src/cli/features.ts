/** criuctl features */
import type { Invocation, Outcome } from './invocation.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const features = await invocation.client().features({ signal: invocation.signal });
  const rows: readonly (readonly [name: string, there: boolean, what: string])[] = [
    ['mem-track', features.memTrack, 'pre-dumps, and dumps with --track-mem'],
    ['lazy-pages', features.lazyPages, 'restores that fetch memory on demand'],
    ['pidfd-store', features.pidfdStore, 'pre-dumps that notice a reused pid'],
    ...(features.memCompression === undefined
      ? []
      : [['mem-compression', features.memCompression, 'images with compressed memory'] as const]),
  ];
  return {
    sentence: rows
      .map(([name, there, what]) => `${name.padEnd(15)} ${there ? 'yes' : 'no '}  ${what}`)
      .join('\n'),
    value: rows.map(([name, there]) => `${name} ${there ? 'yes' : 'no'}`).join('\n'),
    json: { verb: 'features', ...features },
  };
}
