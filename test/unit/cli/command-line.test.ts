import assert from 'node:assert/strict';
import { type Parsed, parseCommandLine } from '../../../src/cli/command-line.ts';
import { verbs } from '../../../src/cli/options/row.ts';
import { optionTable } from '../../../src/cli/options/table.ts';
import { encodeOptions } from '../../../src/client/encode-options.ts';

function parsed(...argv: string[]): Parsed {
  const result = parseCommandLine(argv);
  assert.ok(!('exitCode' in result), `exit status ${'exitCode' in result && result.exitCode}`);
  return result;
}

/** Returns the output on stderr of a refused command line, and fails if it is accepted. */
function refused(...argv: string[]): string {
  let said = '';
  const { write } = process.stderr;
  process.stderr.write = ((text: string) => {
    said += text;
    return true;
  }) as typeof write;
  try {
    assert.deepEqual(parseCommandLine(argv), { exitCode: 2 });
  } finally {
    process.stderr.write = write;
  }
  return said;
}

describe('criuctl’s command line', () => {
  it('verifies images before a restore unless told otherwise', () => {
    assert.equal(parsed('restore').own.noVerify, false);
    assert.equal(parsed('restore', '--no-verify').own.noVerify, true);
  });

  it('takes a job, and leaves the options of its command alone', () => {
    const { verb, action, command, own } = parsed(
      ...'run sim --every 1h30min --keep 5 --on-signal usr1 --time-limit 90s -- ./sim -v --json'.split(' '),
    );
    assert.deepEqual([verb, action, command], ['run', 'sim', ['./sim', '-v', '--json']]);
    const { every, onSignal, timeLimit, suspendedStatus, foreground } = own.job;
    assert.deepEqual([every, own.keep, onSignal, timeLimit], [5400, 5, 'SIGUSR1', 90]);
    assert.deepEqual([suspendedStatus, foreground, own.json], [85, false, false]);
    assert.equal(parsed('run', 'sim', '--every=auto').own.job.every, 'auto');
    assert.match(refused('run', 'sim', '--every', 'often'), /a duration is needed/);
    assert.match(refused('run', 'sim', '--on-signal', 'KILL'), /a signal is needed/);
    assert.match(refused('run', 'sim', '--exit-code', '256'), /up to 255/);
    assert.match(refused('resume', 'sim', '--from', '0'), /above 0/);
    assert.match(refused('suspend'), /missing required argument/);
  });

  it('takes the example of the specification', () => {
    const { verb, options } = parsed('restore', '-D', '/path', '-v4', '-o', 'restore.log');
    assert.equal(verb, 'restore');
    assert.deepEqual(options, { imagesDir: '/path', logLevel: 4, logFile: 'restore.log' });
  });

  it('accepts the habits of the criu command line', () => {
    const { options } = parsed(
      ...'dump -t 47 -D /i -W /w -R -s -j -l --tcp-established --ext-unix-sk --evasive-devices'.split(' '),
      ...'--external mnt[] --external tty[1:2] --track-mem --prev-images-dir ../1 --ghost-limit 2M'.split(
        ' ',
      ),
      ...'--page-server --address ::1 --port 7 --manage-cgroups=full --cpu-cap=cpu,^ins -M auto'.split(' '),
    );
    assert.deepEqual(options, {
      pid: 47,
      imagesDir: '/i',
      workDir: '/w',
      leaveRunning: true,
      leaveStopped: true,
      shellJob: true,
      fileLocks: true,
      tcpEstablished: true,
      extUnixSk: true,
      evasiveDevices: true,
      external: ['mnt[]', 'tty[1:2]'],
      trackMem: true,
      parentImg: '../1',
      ghostLimit: 2 << 20,
      ps: { address: '::1', port: 7 },
      manageCgroupsMode: 'full',
      cpuCap: 2,
      autoExtMnt: true,
    });
  });

  it('takes an optional value only where it is attached, as getopt does', () => {
    const levels = ['-v', '-vv', '-v4', '-v0', '--verbosity=1'].map(
      (word) => parsed('dump', word, '47').options,
    );
    assert.deepEqual(
      levels.map(({ logLevel, pid }) => [logLevel, pid]),
      [3, 4, 4, 0, 1].map((level) => [level, 47]),
    );
    assert.deepEqual(parsed('dump', '-Rv4', '-x', '47').options, {
      leaveRunning: true,
      logLevel: 4,
      extUnixSk: true,
      pid: 47,
    });
    assert.deepEqual(parsed('dump', '--manage-cgroups', '47').options, {
      manageCgroupsMode: 'soft',
      pid: 47,
    });
    assert.equal(parsed('cpuinfo', '--cpu-cap', 'check').action, 'check');
  });

  it('sends only fields of CRIU’s RPC: each option of the table becomes a field, or is criuctl’s own', () => {
    const own = [
      'json',
      'service',
      'replace',
      'force',
      'no-verify',
      'trust-images',
      'lines',
      'pidfile',
      'detach',
      'terminal',
      'stdin',
      'stdout',
      'stderr',
      'wait',
      'live',
      'digest-pages',
      'keep',
      'dry-run',
      'restore-files',
      'action-script',
      'every',
      'keep',
      'foreground',
      'on-signal',
      'time-limit',
      'compress',
      'exit-code',
      'dir',
      'from',
      'take-over',
      'pty',
      'follow',
      'in-unit',
      'display-stats',
      'restore-detached',
    ];
    const values: Record<string, string> = {
      'join-ns': 'net:1',
      'inherit-fd': 'fd[1]:a',
      'veth-pair': 'a=b',
      'ext-mount-map': 'a:b',
      'empty-ns': 'net',
      'network-lock': 'skip',
      'pre-dump-mode': 'read',
      'image-io-mode': 'direct',
    };
    for (const row of optionTable.filter(({ impossible }) => impossible === undefined)) {
      if (!row.request) {
        assert.ok(own.includes(row.long), row.long);
        continue;
      }
      const request = row.request(row.value ? (values[row.long] ?? (row.value.optional ? '' : '1')) : '');
      assert.ok(Object.keys(request).length > 0, row.long);
      encodeOptions(request);
    }
  });

  it('has each option only once for each verb', () => {
    for (const verb of verbs) {
      const rows = optionTable.filter((row) => row.verbs.includes(verb));
      const names = rows.flatMap(({ long, short }) => [`--${long}`, ...(short ? [`-${short}`] : [])]);
      assert.deepEqual(names, [...new Set(names)], verb);
    }
  });

  it('suggests an alternative for an option that CRIU’s RPC lacks', () => {
    assert.match(refused('restore', '--exec-cmd'), /--exec-cmd': restore first, then run the command/);
    assert.match(refused('dump', '47', '--libdir', '/x'), /RPC has no such option/);
  });

  it('refuses a malformed command line, with a sentence', () => {
    assert.match(refused('dump'), /which process\? Say criuctl dump PID/);
    assert.match(refused('dump', '0'), /a pid is a number above 0/);
    assert.match(refused('dump', '47', '--ghost-limit', '1X'), /--ghost-limit: a size is/);
    assert.match(refused('dump', '47', '-o', '/var/log/x'), /its directory is --work-dir/);
    assert.match(refused('restore', '--leave-running'), /unknown option '--leave-running'/);
    assert.match(refused('cpuinfo', 'burn'), /dump, check/);
    assert.match(refused('images', 'burn'), /show, verify, decode/);
    assert.match(refused('cpuinfo', 'check', '/x'), /too many arguments/);
    assert.match(refused('dmp'), /Did you mean dump/);
  });
});
