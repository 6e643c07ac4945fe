/** The sentence about a failure of CRIU starts CRIU only where it depends on CRIU's version. */
import assert from 'node:assert/strict';
import { sentenceAbout } from '../../../src/cli/failure-sentence.ts';
import { parseCriuVersion } from '../../../src/policy/criu-version.ts';

describe('the installed CRIU', () => {
  const failed = { verb: 'dump', isRoot: true, pid: 7 } as const;

  it('is not asked for its version by a failure whose sentence does not depend on it', async () => {
    for (const line of [
      'Error (criu/files-reg.c:1): File tmp/f has bad mode 0104755 (expect 0100640)',
      "Error (criu/sk-unix.c:494): unix: Can't dump half of stream unix connection.",
      'Error (criu/cr-dump.c:1): an error without a row',
    ])
      await sentenceAbout([line], failed, () => assert.fail('CRIU was started'));
  });

  it('is asked for its version once by the failure of a TCP connection', async () => {
    const line = 'Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established';
    let asked = 0;
    const sentence = await sentenceAbout([line], failed, async () => {
      asked += 1;
      return parseCriuVersion('Version: 4.2.1\n');
    });
    assert.equal(sentence?.why, 'the program has a TCP connection');
    assert.equal(asked, 1);
  });
});
