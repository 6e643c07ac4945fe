import assert from 'node:assert/strict';
import { advise, type Circumstances } from '../../../src/cli/advice.ts';

function advice(given: Partial<Circumstances>): string {
  return advise({
    verb: 'dump',
    code: 'FAILED',
    errnoName: undefined,
    criuMessage: undefined,
    lines: [],
    uid: 1500,
    address: '/run/criu-service.socket',
    addressIsOurs: true,
    ...given,
  }).join('\n');
}

describe('the advice of criuctl', () => {
  it('says how to start the service, only for this machine’s own service', () => {
    assert.match(
      advice({ code: 'UNREACHABLE', errnoName: 'ENOENT' }),
      /^Start .*systemctl enable --now criu\.socket$/,
    );
    assert.match(advice({ code: 'UNREACHABLE', errnoName: 'ECONNREFUSED' }), /systemctl status criu\.socket/);
    assert.match(advice({ code: 'UNREACHABLE', errnoName: 'EACCES' }), /You may not connect.*its group/);
    assert.match(
      advice({ code: 'UNREACHABLE', errnoName: 'ENOENT', addressIsOurs: false }),
      /^Is a service listening/,
    );
  });

  it('suggests to create a missing directory for a dump, and to name one for a restore', () => {
    const missing = { code: 'DIRECTORY', errnoName: 'ENOENT', directory: '/i' } as const;
    assert.equal(advice(missing), 'Create it: mkdir -p /i');
    assert.equal(advice({ ...missing, verb: 'restore' }), 'Name the directory of the images with -D');
    assert.match(advice({ ...missing, errnoName: 'EACCES' }), /You may not open it/);
  });

  it('says that a directory has no images, whatever error CRIU reports', () => {
    const text = 'Error (criu/protobuf.c:72): Unexpected EOF on (empty-image)';
    assert.match(
      advice({ verb: 'restore', lines: [text], noImages: '/i' }),
      /^There are no images in \/i: .* -D$/,
    );
    assert.equal(advice({ verb: 'restore', lines: [text] }), '');
  });

  it('names the owner of a process to another user', () => {
    const target = { pid: 7, uid: 1501, user: 'bob' };
    assert.match(advice({ target }), /Process 7 belongs to bob: only bob and root may/);
    assert.equal(advice({ target, uid: 0 }), '');
    assert.equal(advice({ target, uid: 1501 }), '');
  });

  it('repeats the option that CRIU suggests, if criuctl has it', () => {
    const tty = 'Task attached to shell terminal. Consider using --shell-job option.';
    const locks = 'Some file locks are hold by dumping tasks! You can try --file-locks to dump them.';
    const tcp =
      'Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.';
    assert.equal(advice({ lines: [tty] }), 'Try it with --shell-job');
    const peer = 'Error (criu/tty.c:410): tty: Found slave peer index 0 without correspond master peer';
    assert.equal(advice({ lines: [peer] }), 'Try it with --shell-job');
    assert.equal(advice({ lines: [locks, locks] }), 'Try it with --file-locks');
    assert.equal(advice({ criuMessage: tcp }), 'Try it with --tcp-established');
    assert.equal(advice({ lines: ['Consider using --allow-uprobes.'] }), '');
    assert.equal(advice({ lines: ['Consider using --no-such option.'] }), '');
  });

  it('says which trees have too many time namespaces', () => {
    const text = "Error (criu/namespaces.c:459): Can't dump nested time namespace for 4712";
    assert.match(
      advice({ lines: [text] }),
      /^CRIU dumps a tree only if all its processes are in one time namespace/,
    );
  });

  it('names the process with the pid, the free space of the disk, and Yama’s setting', () => {
    assert.match(
      advice({
        verb: 'restore',
        taken: { kind: 'process', process: { pid: 7, uid: 1501, name: 'vim', user: 'bob' } },
      }),
      /it is vim of bob/,
    );
    assert.match(advice({ disk: { path: '/i', free: 0 } }), /file system of \/i is full: 0 bytes/);
    assert.match(advice({ criuMessage: 'DUMP refused: kernel.yama.ptrace_scope is 1' }), /sysctl/);
  });
});
