import { strict as assert } from 'node:assert';
import { constants } from 'node:os';
import { explainLaunchFailure } from '../../../src/engine/launch-failure.ts';
import {
  ClocksFault,
  FileFault,
  type LaunchFailure,
  type LaunchStep,
  launchSteps,
  TimeFault,
} from '../../../src/engine/launcher-protocol.ts';

const { EACCES, EAGAIN, EBADF, EDQUOT, EINVAL, ELOOP, ENOENT, ENOSPC, ENOTDIR, EPERM, ERANGE, ESRCH } =
  constants.errno;

const context = {
  criu: '/usr/sbin/criu',
  config: '/usr/lib/criu-service/unprivileged.conf',
  imagesDir: '/srv/i',
};

const failure = (step: LaunchStep, error = EPERM, value = 0n): LaunchFailure => ({
  kind: 'failed',
  step,
  error,
  value,
});

describe("a launcher's failure", () => {
  it('has a sentence and an errno at every step, short enough for a reply', () => {
    for (const step of launchSteps) {
      for (const error of [0, EPERM, EACCES, EINVAL, ENOENT]) {
        const explained = explainLaunchFailure(failure(step, error, 7n), context);
        assert.match(explained.sentence, /^[A-Z/]/, step);
        assert.doesNotMatch(explained.sentence, /undefined|NaN|\n/, step);
        assert.ok(explained.sentence.length < 300, `${step}: ${explained.sentence.length}`);
        assert.ok(explained.errno > 0, step);
      }
    }
  });

  it('has a sentence with the remedy', () => {
    for (const [given, errno, words] of [
      [failure('images', EACCES, 5n), EACCES, /permission to read images_dir_fd 5/],
      [failure('images', ENOENT, 999n), EBADF, /no open descriptor images_dir_fd 999/],
      [failure('images', ENOENT, -1n), ENOENT, /no images directory "\/srv\/i"/],
      [failure('work', ENOTDIR, 3n), ENOTDIR, /Not a directory: work_dir_fd 3/],
      [failure('status', EACCES, 3n), EACCES, /permission to write status_fd 3/],
      [failure('execute', EAGAIN), EAGAIN, /ulimit -u/],
      [failure('execute', EACCES), EACCES, /0755/],
      [failure('scheduler', EAGAIN, 6n), EAGAIN, /SCHED_DEADLINE/],
      [failure('keyring', EDQUOT), EDQUOT, /keyctl/],
      [failure('read-limit', EPERM, 0n), EPERM, /another user since/],
      [failure('raise-limit', EPERM, 7n), EPERM, /LimitNOFILE=infinity/],
      [failure('limit', EINVAL, 15n), EINVAL, /limit RTTIME/],
      [failure('bounding', EPERM, 24n), EPERM, /capability 24/],
      [failure('proof', 0, 10n), EPERM, /regain-uid/],
      [failure('criu', ENOENT, 0n), ENOENT, /\/usr\/sbin\/criu cannot be opened: ENOENT/],
      [failure('criu', 0, BigInt(FileFault.hasCapabilities)), EPERM, /setcap -r/],
      [failure('config', 0, BigInt(FileFault.writableByOthers)), EPERM, /chmod go-w/],
      [failure('login-uid', EPERM), EPERM, /CAP_AUDIT_CONTROL/],
      [failure('label', EINVAL), EINVAL, /security label/],
      [failure('time', EPERM, BigInt(TimeFault.join)), EPERM, /cannot be entered: EPERM; criu\.service must/],
      [failure('time', ENOSPC, BigInt(TimeFault.make)), EAGAIN, /user\.max_time_namespaces/],
      [failure('time', EPERM, BigInt(TimeFault.make)), EPERM, /cannot be made for the restored tree: EPERM/],
      [
        failure('clocks', ELOOP, BigInt(ClocksFault.cannotBeRead)),
        ELOOP,
        /timens-0\.img\) cannot be read: ELOOP/,
      ],
      [failure('clocks', 0, BigInt(ClocksFault.notRegular)), EINVAL, /timens-0\.img is no regular file/],
      [failure('clocks', ERANGE, BigInt(ClocksFault.notSet)), EINVAL, /The kernel refuses the clocks/],
    ] as const) {
      const explained = explainLaunchFailure(given, context);
      assert.match(explained.sentence, words);
      assert.equal(explained.errno, errno, explained.sentence);
    }
  });

  it('reports the end of the caller at every step', () => {
    for (const step of ['nice', 'scheduler', 'oom-score', 'read-limit', 'caller-gone', 'images'] as const) {
      assert.equal(explainLaunchFailure(failure(step, ESRCH)).sentence, 'The calling process has ended');
    }
  });

  it('is explained even without the paths', () => {
    assert.match(explainLaunchFailure(failure('criu', ENOENT)).sentence, /^criu cannot be opened/);
    assert.match(explainLaunchFailure(failure('images', EACCES, -1n)).sentence, /read the images directory,/);
  });
});
