import assert from 'node:assert/strict';
import { type Asked, sentenceFor } from '../../../src/cli/criu-errors.ts';

const asked: Asked = { verb: 'dump', isRoot: false, pid: 7, dumpsInternetSockets: async () => true };

describe('the sentences of criuctl about errors of CRIU', () => {
  const connected =
    'Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.';
  const waiting = 'Error (criu/sk-inet.c:176): inet: In-flight connection (l) for ed77';

  it('name the option for a TCP connection that works for its user', async () => {
    assert.match((await sentenceFor([connected], asked))!.remedies.join(), /Try it with --tcp-close/);
    assert.match(
      (await sentenceFor([connected], { ...asked, isRoot: true }))!.remedies.join(),
      /--tcp-established/,
    );
    assert.match((await sentenceFor([waiting], asked))!.remedies.join(), /--skip-in-flight/);
  });

  it('name no option for it where CRIU cannot dump TCP sockets', async () => {
    for (const isRoot of [true, false]) {
      for (const line of [connected, waiting]) {
        const sentence = (await sentenceFor([line], {
          ...asked,
          isRoot,
          dumpsInternetSockets: async () => false,
        }))!;
        assert.deepEqual(sentence.remedies, ['Install CRIU 4.2.1 or newer']);
      }
    }
  });

  it('are absent for a Unix connection in flight, which no option helps', async () => {
    const line = 'Error (criu/sk-unix.c:494): unix: In-flight connection on non-listening socket 7';
    assert.equal(await sentenceFor([line], asked), undefined);
  });

  it('tell modes as chmod(1) takes them', async () => {
    const line = 'Error (criu/files-reg.c:2294): File tmp/f has bad mode 0104755 (expect 0100640)';
    const { why, remedies } = (await sentenceFor([line], { ...asked, verb: 'restore' }))!;
    assert.equal(why, '/tmp/f has the mode 4755, and had 640 at the dump');
    assert.equal(remedies.at(-1), 'Or as its owner: chmod 640 /tmp/f');
  });
});
