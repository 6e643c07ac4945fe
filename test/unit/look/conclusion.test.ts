import assert from 'node:assert/strict';
import { commandsFor, conclude } from '../../../src/look/conclusion.ts';
import type { Found, Thing } from '../../../src/look/things.ts';

const here = { isRoot: false, criu: undefined, linux: '6.12.1' };
const found = (thing: Thing, pid = 4, fds: readonly number[] = [1]): Found => ({ pid, fds, thing });
const plain = found({ kind: 'file', path: '/f', writers: [] });
const locked = found({ kind: 'lock', path: '/f', type: 'FLOCK WRITE' });
const large = (size: number): Found => found({ kind: 'deleted', path: '/f', size, links: 0, writable: true });
const unknown = found({ kind: 'console', path: '/dev/tty1' });
const fatal = found({ kind: 'anonymous', name: 'io_uring' });

describe('the verdict about a tree', () => {
  for (const [title, things, verdict] of [
    ['nothing', [], 'comes-back'],
    ['a file', [plain], 'comes-back'],
    ['a file and a console', [plain, unknown], 'cannot-be-told'],
    ['a console and a lock', [unknown, locked], 'with-option'],
    ['a lock and io_uring', [locked, fatal, plain], 'does-not-come-back'],
  ] as const) {
    it(`is ${verdict} for ${title}`, () => {
      const conclusion = conclude({ ...here, found: things });
      assert.equal(conclusion.verdict, verdict);
      assert.equal(conclusion.findings[0]?.verdict.verdict ?? 'comes-back', verdict, 'the worst comes first');
    });
  }

  it('has each option once, a limit large enough for all, and the options of the restore', () => {
    const { needs } = conclude({
      ...here,
      found: [locked, locked, large(2_000_000), large(5_000_000), found({ kind: 'session', leader: 2 })],
    });
    assert.deepEqual(commandsFor(4, needs), {
      dump: 'criuctl dump 4 --file-locks --ghost-limit 5M --shell-job -D DIR',
      restore: 'criuctl restore --file-locks --shell-job -D DIR',
    });
  });

  it('keeps the option of the restore if only one of two things needs it', () => {
    const terminal = found({
      kind: 'terminal',
      path: '/dev/pts/1',
      end: 'outside',
      holders: [],
      outside: 1,
      stopped: false,
    });
    const { needs } = conclude({ ...here, found: [terminal, found({ kind: 'session', leader: 2 })] });
    assert.equal(commandsFor(4, needs).restore, 'criuctl restore --shell-job -D DIR');
  });
});
