import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { explain, saysLittle, wordsOf } from '../../../src/engine/engine-words.ts';
import { EBADRQC } from '../../../src/native/errnos.ts';
import { type CriuResp, ReqType } from '../../../src/protocol/messages.ts';

const unexpected = 'Error (compel/src/lib/infect.c:1620): Task 2696 is in unexpected state: b7f';
const groups = "pie: 2696: Error (criu/pie/restorer.c:225): Can't setgroups([2 gids]): -1";
const failing = (cr_errmsg?: string, cr_errno = 0): CriuResp => ({
  type: ReqType.RESTORE,
  success: false,
  cr_errno,
  ...(cr_errmsg === undefined ? {} : { cr_errmsg }),
});
const better = (reply: CriuResp, ...lines: string[]) => explain(reply, wordsOf(lines));

describe('the words of an engine', () => {
  it('are lines of its log, sentences of its library, and others', () => {
    const lines = [
      'criu-service: No.',
      `criu-service log: (00.1) ${groups}`,
      'iptables: no',
      'criu-service: No.',
    ];
    assert.deepEqual(wordsOf(lines), { log: [groups], sentences: ['No.'], other: ['iptables: no'] });
  });

  it('replace a reply that says little by the line of the log that says why', () => {
    const log = [unexpected, groups].map((line) => `criu-service log: ${line}`);
    assert.deepEqual(better(failing(unexpected), ...log), { message: groups });
    assert.deepEqual(better(failing(), ...log), { message: groups });
  });

  it('leave a reply alone that says why', () => {
    const why = 'Error (criu/files.c:1): no such file';
    assert.equal(better(failing(why), `criu-service log: ${groups}`), undefined);
    assert.equal(better(failing(why)), undefined);
    assert.equal(better(failing()), undefined);
    assert.deepEqual([failing(why), failing(unexpected), failing()].map(saysLittle), [false, true, true]);
  });

  it('put a sentence of the library before all words of CRIU', () => {
    const why = 'Error (criu/protobuf.c:101): Failed unpacking object 0x7ffe from core-1.img';
    assert.deepEqual(better(failing(why), 'criu-service: The images are of others'), {
      message: 'The images are of others',
    });
  });

  it('add the option that CRIU suggests on its standard output', () => {
    const why = 'Error (criu/tty.c:1830): tty: Found slave peer';
    const advice =
      'Task attached to shell terminal. Consider using --shell-job option. More details on http://x';
    assert.deepEqual(better(failing(why), advice), { message: `${why} (${advice})` });
    assert.deepEqual(better(failing(), advice), { message: advice });
  });

  it('are the last line of a CRIU that has no log', () => {
    assert.deepEqual(
      better(failing(), 'Error (criu/a.c:1): why', 'The sock diag infrastructure is incomplete.'),
      {
        message: 'Error (criu/a.c:1): why',
      },
    );
    assert.deepEqual(better(failing(), 'The sock diag infrastructure is incomplete.'), {
      message: 'The sock diag infrastructure is incomplete.',
    });
  });

  it('name the directory that cannot be written, and the errno, where CRIU blames the options', () => {
    const { EACCES, EROFS } = os.errno;
    assert.deepEqual(
      better(
        failing(undefined, EBADRQC),
        'criu-service: The log r.log cannot be written in /home/bob: errno 13',
      ),
      {
        message:
          'The log r.log cannot be written in /home/bob: EACCES. Name a directory that you can write (work_dir_fd, criuctl: -W)',
        errno: EACCES,
      },
    );
    const ofCriu = "Error (criu/log.c:163): Can't create log file criu.log: Read-only file system";
    assert.deepEqual(explain(failing(undefined, EBADRQC), wordsOf([ofCriu]), '/mnt'), {
      message:
        'The log criu.log cannot be written in /mnt: EROFS. Name a directory that you can write (work_dir_fd, criuctl: -W)',
      errno: EROFS,
    });
    const forged = 'criu-service: The log x cannot be written in /: errno 99999';
    assert.equal(better(failing(undefined, EBADRQC), forged)?.errno, undefined);
  });
});
