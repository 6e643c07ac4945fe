import assert from 'node:assert/strict';
import { parseCommandLine } from '../../../src/daemon/command-line.ts';
import { defaults } from '../../../src/daemon/options.ts';
import { mostSessions } from '../../../src/systemd/store-names.ts';

describe('a command line without a word', () => {
  it('is what the service is started with where nobody parses one', () => {
    assert.deepEqual(parseCommandLine([], ''), defaults);
  });
});

describe('the option --yama', () => {
  it('is kernel by default, and one of three rules', () => {
    assert.equal(defaults.yama, 'kernel');
    for (const yama of ['none', 'kernel', 'own'] as const)
      assert.deepEqual(parseCommandLine(['--yama', yama], ''), { ...defaults, yama });
    const { write } = process.stderr;
    process.stderr.write = () => true;
    try {
      assert.deepEqual(parseCommandLine(['--yama', 'all'], ''), { exitCode: 2 });
    } finally {
      process.stderr.write = write;
    }
  });
});

describe('a command line with more sessions than systemd could name', () => {
  const parse = (...words: string[]): unknown => {
    const { write } = process.stderr;
    process.stderr.write = () => true;
    try {
      return parseCommandLine(words, '');
    } finally {
      process.stderr.write = write;
    }
  };

  it('is refused, because a start that is given too long a string is none', () => {
    for (const words of [
      ['--max-sessions', '2000'],
      ['--max-sessions', '1500', '--max-engines', '300'],
    ]) {
      assert.ok('limits' in (parse(...words) as object), words.join(' '));
    }
    for (const words of [
      ['--max-sessions', '4000'],
      ['--max-sessions', '2000', '--max-engines', '1900'],
      ['--max-sessions', '999999'],
    ]) {
      assert.deepEqual(parse(...words), { exitCode: 2 }, words.join(' '));
    }
  });

  it('leaves room for all of their names, however long the service has been there', () => {
    for (const engines of [1, 128, 900]) {
      const sessions = mostSessions(engines);
      const names = Array.from({ length: sessions }, (_, index) => {
        const session = `session-${2 ** 32 - index}`;
        const its = index < engines ? Array(3).fill(`${session}.9999`) : [];
        return [session, session, ...its];
      });
      assert.ok(`LISTEN_FDNAMES=criu.socket:${names.flat().join(':')}`.length < 131_072);
    }
  });
});
