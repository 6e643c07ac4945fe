/** The last of the tests before the machine is started again (run.sh). after-reboot.test.ts is the other half. */
import { ReqType } from '../../src/protocol/messages.ts';
import { freshDirectory } from './support/bench.ts';
import { ask, withOpen } from './support/client.ts';
import { it } from './support/it.ts';
import { bootId, leave } from './support/other-boot.ts';
import { Target } from './support/targets.ts';

describe('over a reboot', () => {
  it('a process is dumped', async () => {
    const images = freshDirectory();
    const target = Target.start();
    await withOpen([images], async (fd) => {
      await ask({ type: ReqType.DUMP, opts: { images_dir_fd: fd, pid: target.pid } });
    });
    await target.assertGone();
    leave({
      bootId: bootId(),
      images,
      pid: target.pid,
      countFile: target.file,
      count: target.count,
    });
  });
});
