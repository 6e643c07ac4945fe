/** criuctl page-server */
import type { PageServerOptions } from '../client/options.ts';
import { placesOf } from './directories.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { absolute, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const places = placesOf(invocation.options);
  const { port, pid } = await invocation
    .client()
    .pageServer(withDefaults<PageServerOptions>(invocation, places, 'writes'));
  const images = absolute(places.images);
  return {
    sentence: `A page server listens on port ${port}, and writes the pages of one dump to ${images}`,
    value: `${port}`,
    json: { verb: 'page-server', port, pid, imagesDir: images },
  };
}
