/** PATH: shows and verifies a directory, and prints how much there is to show. For a process with a small heap. */
import { contentsOf } from '../../../../src/images/contents.ts';
import { ImageDirectory } from '../../../../src/images/image-directory.ts';
import { verify } from '../../../../src/images/verify.ts';

const directory = new ImageDirectory(process.argv[2]!);
const quiet = { processOf: () => undefined, userName: (uid: number) => `${uid}` };
const contents = contentsOf(directory);
verify(directory, { uid: 0, gid: 0, groups: [0] }, quiet);
console.log(JSON.stringify({ contents: JSON.stringify(contents).length, tasks: contents.tasks.length }));
