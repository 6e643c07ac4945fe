/** The way past files that a resume needs in another state. */
import assert from 'node:assert/strict';
import type { OwnOptions } from '../../../src/cli/invocation.ts';
import { commandOf, type WayOn, wayPastFiles } from '../../../src/cli/job/past-files.ts';

const plainly = (from: number): WayOn => ({ from, restoreFiles: false });
const puttingBack = (from: number): WayOn => ({ from, restoreFiles: true });

/** @param ways those that fit. */
const fitting =
  (...ways: WayOn[]) =>
  (asked: WayOn): Promise<boolean> =>
    Promise.resolve(
      ways.some(({ from, restoreFiles }) => from === asked.from && restoreFiles === asked.restoreFiles),
    );

describe('the way past files of a resume that has failed', () => {
  for (const [name, failed, ways, expected] of [
    ['is not needed if the files fit', plainly(3), [plainly(3), plainly(2)], undefined],
    ['is not found if no checkpoint fits', plainly(3), [], undefined],
    ['is to put them back where that is enough', plainly(3), [puttingBack(3), plainly(2)], puttingBack(3)],
    ['is the newest checkpoint that fits', plainly(3), [plainly(2), plainly(1)], plainly(2)],
    ['is a newer checkpoint that puts files back', plainly(3), [plainly(1), puttingBack(2)], puttingBack(2)],
    ['puts nothing back without need', plainly(3), [plainly(2), puttingBack(2)], plainly(2)],
    ['puts back as before', puttingBack(3), [plainly(2), puttingBack(1)], puttingBack(1)],
  ] as const) {
    it(name, async () => {
      assert.deepEqual(await wayPastFiles(failed, [2, 1], fitting(...ways)), expected);
    });
  }

  it('is not looked for if the files cannot be judged', async () => {
    const asked: WayOn[] = [];
    const way = await wayPastFiles(plainly(3), [2], (each) => {
      asked.push(each);
      return Promise.resolve(each.from === 3 ? undefined : true);
    });
    assert.deepEqual([way, asked], [undefined, [plainly(3)]]);
  });

  it('is a command to copy, with all that the failed command lacks', () => {
    const own = (foreground: boolean, dir?: string, trustImages = false) =>
      ({ job: { foreground, dir }, trustImages }) as OwnOptions;
    const command = (way: WayOn, failed: WayOn, ...options: Parameters<typeof own>) =>
      commandOf('sim', way, failed, own(...options));
    assert.equal(command(plainly(2), plainly(3), false), 'criuctl resume sim --from 2');
    assert.equal(command(puttingBack(3), plainly(3), false), 'criuctl resume sim --restore-files');
    assert.equal(
      command(puttingBack(1), puttingBack(3), true, '/jobs'),
      'criuctl resume sim --from 1 --foreground --dir /jobs',
    );
    assert.equal(
      command(plainly(2), plainly(3), false, '/a b', true),
      "criuctl resume sim --from 2 --dir '/a b' --trust-images",
    );
  });
});
