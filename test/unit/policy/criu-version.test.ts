import assert from 'node:assert/strict';
import { isBefore, limitsOf, nameOfVersion, parseCriuVersion } from '../../../src/policy/criu-version.ts';

const version = (text: string) => parseCriuVersion(`Version: ${text}\n`)!;

describe('a version of CRIU', () => {
  it('is read from the output of the program', () => {
    assert.deepEqual(version('4.1.1'), { major: 4, minor: 1, sublevel: 1 });
    assert.deepEqual(version('4.2'), { major: 4, minor: 2, sublevel: 0 });
    assert.equal(parseCriuVersion('criu: error'), undefined);
    assert.equal(nameOfVersion(version('4.1.1')), '4.1.1');
    assert.equal(nameOfVersion(version('4.2')), '4.2');
  });

  it('is one of development if git counts commits after it', () => {
    assert.equal(parseCriuVersion('Version: 4.2\nGitID: v4.2-120-gabcdef1\n')?.isDevelopment, true);
    assert.equal(parseCriuVersion('Version: 4.2\nGitID: v4.2\n')?.isDevelopment, undefined);
  });

  it('comes before another by each of its numbers', () => {
    assert.ok(isBefore(version('3.19'), [4, 0]) && isBefore(version('4.1.1'), [4, 2]));
    assert.ok(isBefore(version('4.2'), [4, 2, 1]) && !isBefore(version('4.2.1'), [4, 2, 1]));
    assert.ok(!isBefore(version('4.10'), [4, 2, 1]) && !isBefore(version('5.0'), [4, 2, 1]));
  });
});

describe('the limits of a CRIU on a kernel', () => {
  const cases: [criu: string, linux: string, limits: RegExp[]][] = [
    ['4.1.1', '6.12.117+deb13-cloud-amd64', [/CVE-2026-18107/]],
    ['4.1.1', '6.16.9', [/CVE-2026-18107/]],
    [
      '4.1.1',
      '6.17.0',
      [/CVE-2026-18107/, /4\.1\.1 cannot dump a TCP or UDP socket on Linux 6\.17 .*4\.2\.1 can/],
    ],
    ['4.1.1', '7.0.1', [/CVE-2026-18107/, /on Linux 7\.0/]],
    ['4.2', '7.1.0-rc1', [/4\.2 has CVE-2026-18107/, /on Linux 7\.1/, /too old for Linux 7\.1.*criu#3002/]],
    ['4.2.1', '7.1.0', []],
    ['4.3', '7.2.0', []],
    ['4.1.1', 'unknown', [/CVE-2026-18107/]],
  ];
  for (const [criu, linux, sentences] of cases) {
    it(`are ${sentences.length} for CRIU ${criu} on Linux ${linux}`, () => {
      const found = limitsOf(version(criu), linux);
      assert.equal(found.length, sentences.length, found.join('\n'));
      for (const [at, sentence] of sentences.entries()) assert.match(found[at]!, sentence);
    });
  }
});
