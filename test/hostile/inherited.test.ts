/** Descriptors of alice's that a restore of hers asks for (inherit_fd). */
import { ReqType } from '../../src/protocol/messages.ts';
import { ourAddress } from '../system/support/client.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, it } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan } from './support/images.ts';

const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;

describe('a descriptor of alice’s for inherit_fd', () => {
  const refused: [what: string, path: string, flags: number, sentence: RegExp][] = [
    ['a directory', '/', O_DIRECTORY, /inherit_fd 11 .*it is a directory/],
    ['a file of root’s, opened with O_PATH', '/etc/shadow', O_PATH, /inherit_fd 11 .*O_PATH/],
    ['a file of /proc', '/proc/self/maps', 0, /inherit_fd 11 .*a file of the kernel's own/],
    ['a file of /sys', '/sys/kernel/uevent_seqnum', 0, /inherit_fd 11 .*a file of the kernel's own/],
    ['the master of a terminal', '/dev/ptmx', 0o400, /inherit_fd 11 .*a device other than/],
  ];
  for (const [what, path, flags, sentence] of refused) {
    it(`is not put into an engine if it is ${what}, and nothing is restored`, async () => {
      const images = await AlicesImages.make();
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, images.directory);
      await alice.do('open', 11, flags, path);
      const opts = { images_dir_fd: 10, inherit_fd: [{ key: 'tmp/x', fd: 11 }] };
      assertRefused(await alice.ask({ type: ReqType.RESTORE, opts }, ourAddress), sentence);
      await assertNeverRan(images);
    });
  }

  it('is not looked for in the service or the engine if she has closed it', async () => {
    const images = await AlicesImages.make();
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, images.directory);
    for (const fd of [11, 0x7fffffff]) {
      const opts = { images_dir_fd: 10, inherit_fd: [{ key: 'tmp/x', fd }] };
      const reply = await alice.ask({ type: ReqType.RESTORE, opts }, ourAddress);
      assertRefused(reply, /no open descriptor inherit_fd/);
      await alice.do('close', 100);
    }
    await assertNeverRan(images);
  });
});
