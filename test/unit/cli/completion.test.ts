import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { completion } from '../../../src/cli/completion.ts';
import { verbs } from '../../../src/cli/options/row.ts';
import { optionsOf } from '../../../src/cli/options/table.ts';

/** Returns bash's completions for these words, the last of which is being typed. */
function offered(...words: string[]): string[] {
  const script = `${completion('bash')}
COMP_WORDS=(criuctl "$@"); COMP_CWORD=$#
compopt() { :; }
_criuctl
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const said = execFileSync('bash', ['-euo', 'pipefail', '-c', `set +eu; ${script}`, 'bash', ...words], {
    encoding: 'utf8',
  });
  return said.split('\n').filter((word) => word !== '');
}

describe('the completion of criuctl', () => {
  it('offers every verb', () => {
    assert.deepEqual(offered(''), [...verbs, '--help', '--version']);
    assert.deepEqual(offered('re'), ['restore', 'resume', 'remove']);
  });

  it('offers exactly the options of a verb, without those that are impossible', () => {
    for (const verb of verbs) {
      const rows = optionsOf(verb).filter(({ impossible }) => impossible === undefined);
      const expected = rows.flatMap(({ long, short }) => [...(short ? [`-${short}`] : []), `--${long}`]);
      assert.deepEqual(offered(verb, '-').sort(), [...expected, '--help'].sort(), verb);
    }
    assert.deepEqual(offered('restore', '--exec'), []);
  });

  it('offers values: choices, pids, directories', () => {
    assert.deepEqual(offered('dump', '--network-lock', ''), ['iptables', 'nftables', 'skip']);
    assert.deepEqual(offered('cpuinfo', ''), ['dump', 'check']);
    assert.deepEqual(offered('images', ''), [
      'show',
      'verify',
      'decode',
      'compare',
      'size',
      'merge',
      'prune',
      'compress',
      'expand',
    ]);
    assert.deepEqual(offered('images', 'show', '/usr/shar'), ['/usr/share']);
    assert.deepEqual(offered('images', 'compare', '/usr', '/usr/shar'), ['/usr/share']);
    assert.ok(offered('dump', '-t', '').includes(String(process.pid)));
    assert.deepEqual(offered('dump', '-D', '/usr/shar'), ['/usr/share']);
  });

  it('has every verb and every option in the scripts of the other shells', () => {
    for (const shell of ['zsh', 'fish']) {
      const script = completion(shell);
      for (const verb of verbs) {
        assert.ok(script.includes(verb), `${shell} ${verb}`);
        for (const { long, impossible } of optionsOf(verb)) {
          if (impossible === undefined) assert.ok(script.includes(long), `${shell} ${verb} ${long}`);
        }
      }
    }
  });
});
