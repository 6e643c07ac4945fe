/**
 * Verdicts about images by the client library, for a single start of Node: verdicts.mjs DIRECTORY... prints an array of JSON, with the verdict
 * and the reasons for each.
 */
import { createRequire } from 'node:module';

const { verifyImages } = createRequire(import.meta.url)(
  'criu-service/images',
) as typeof import('../../../src/images/index.ts');

const verdicts = process.argv.slice(2).map((directory) => {
  const { verdict, findings } = verifyImages(directory);
  return { verdict, whys: findings.items.map(({ why }) => why).join('\n') };
});
process.stdout.write(JSON.stringify(verdicts));
