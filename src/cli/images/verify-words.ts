/** A verification in words, and as an object. Pure. */
import type { Verification } from '../../images/verify.ts';
import { sanitize } from '../../systemd/log.ts';
import { counted } from '../words.ts';

const mostNamed = 20;

export function verdictInWords({
  directory,
  verdict,
  options,
  compressed,
  checked,
  findings,
}: Verification): string {
  const { items, more } = findings;
  const left = items.length - Math.min(items.length, mostNamed) + more;
  const say = {
    restores: 'restores here and now',
    'does-not-restore': 'does not restore',
    'cannot-be-told': 'may restore: CRIU decides about what cannot be told',
  }[verdict];
  const needs = options.length > 0 ? `, with ${options.join(' ')}` : '';
  const expands =
    compressed > 0 && verdict !== 'does-not-restore'
      ? `; ${counted(compressed, 'image')} of pages will be expanded first`
      : '';
  return [
    ...items.slice(0, mostNamed).map(({ verdict: each, why, remedy }) => {
      const noun = each === 'does-not-restore' ? 'does not restore' : 'cannot be told';
      return sanitize(`${noun}: ${why}; ${remedy}`);
    }),
    ...(left > 0 ? [`and ${left} more`] : []),
    sanitize(`${directory} ${say}${needs}${expands} (${counted(checked, 'thing')} looked at)`),
  ].join('\n');
}

/** The object of --json; man criuctl describes it. */
export function verdictAsJson({ findings, ...rest }: Verification): object {
  return { verb: 'images', action: 'verify', ...rest, findings: findings.items, more: findings.more };
}
