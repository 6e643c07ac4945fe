/** criuctl cpuinfo dump, criuctl cpuinfo check */
import type { CpuinfoOptions } from '../client/options.ts';
import { placesOf } from './directories.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { absolute, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { action, options } = invocation;
  const places = placesOf(options);
  const request = withDefaults<CpuinfoOptions>(invocation, places, action === 'dump' ? 'writes' : 'reads');
  const client = invocation.client();
  if (action === 'dump') await client.cpuinfoDump(request);
  else await client.cpuinfoCheck(request);
  const images = absolute(places.images);
  return {
    sentence:
      action === 'dump'
        ? `The features of this CPU are in ${images}`
        : `This CPU has what ${images} asks for`,
    value: '',
    json: { verb: 'cpuinfo', action, imagesDir: images, success: true },
  };
}
