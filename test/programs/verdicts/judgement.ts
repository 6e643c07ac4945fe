/** Does a verdict about images agree with the restore that followed? Pure. */
import type { Verification } from '../../../src/images/verify.ts';

export interface Said {
  readonly verdict: Verification['verdict'];
  readonly kinds: readonly string[];
  readonly why: string;
}

export interface Attempted {
  /** `otherwise`: CRIU reported success, and the program came back without something that it had. */
  readonly outcome: 'restored' | 'otherwise' | 'failed' | 'waits';
  readonly words: string;
}

export interface Measured {
  readonly program: string;
  readonly user: string;
  readonly damage: string;
  /** Without a manifest nothing tells. */
  readonly isSilent: boolean;
  readonly withManifest: Said;
  readonly without: Said;
  readonly attempted: Attempted;
}

export const agreements = {
  agrees: 'agrees',
  /** The images do not tell, and the documents say so. */
  silent: 'only a manifest tells',
  /** The program came back without a file that was empty or that it did not need, or with one that was changed. */
  incomplete: 'came back, although the dump is not whole any more',
  'wrong yes': '**restores, said verify, and it did not**',
  'wrong no': '**does not restore, said verify, and it did**',
} as const;

export type Agreement = keyof typeof agreements;

export function agreementOf(
  said: Said,
  by: 'manifest' | 'images',
  { isSilent, attempted }: Measured,
): Agreement {
  const isBack = attempted.outcome === 'restored';
  switch (said.verdict) {
    case 'restores':
      return isBack ? 'agrees' : by === 'images' && isSilent ? 'silent' : 'wrong yes';
    case 'does-not-restore':
      if (!isBack) return 'agrees';
      return by === 'manifest' && said.kinds.every((kind) => kind === 'listed file')
        ? 'incomplete'
        : 'wrong no';
    case 'cannot-be-told':
      return 'agrees';
  }
}

export function isWrong(agreement: Agreement): boolean {
  return agreement.startsWith('wrong');
}

const shortVerdicts = { restores: 'yes', 'does-not-restore': 'no', 'cannot-be-told': 'cannot tell' } as const;

/**
 * A row for each damage.
 * @param faults programs that were not measured, or not enough.
 */
export function tableOf(all: readonly Measured[], heading: string, faults: readonly string[]): string {
  const damages = [...new Set(all.map(({ damage }) => damage))];
  const directories = new Set(all.map(({ program, user }) => `${program}, ${user}`)).size;
  const wrong = wrongOf(all);
  return [
    `# ${heading}`,
    '',
    '| damage | directories | verify with a manifest | without | the restore | disagreements |',
    '| --- | --- | --- | --- | --- | --- |',
    ...damages.map((damage) => {
      const rows = all.filter((each) => each.damage === damage);
      const cells = [
        damage,
        `${rows.length}`,
        counted(rows.map(({ withManifest }) => shortVerdicts[withManifest.verdict])),
        counted(rows.map(({ without }) => shortVerdicts[without.verdict])),
        counted(rows.map(({ attempted }) => attempted.outcome)),
        `${wrongOf(rows).length}`,
      ];
      return `| ${cells.join(' | ')} |`;
    }),
    '',
    `${directories} directories of programs, ${all.length} with or without damage, ${2 * all.length} verdicts:`,
    '',
    ...Object.entries(agreements).map(([agreement, words]) => {
      const count = all.flatMap(bothOf).filter((each) => each === agreement).length;
      return `- ${count} × ${words}`;
    }),
    '',
    ...[...wrong, ...faults.map((fault) => `not measured: ${fault}`)].map((line) => `- ${line}`),
    '',
  ].join('\n');
}

function bothOf(each: Measured): Agreement[] {
  return [agreementOf(each.withManifest, 'manifest', each), agreementOf(each.without, 'images', each)];
}

/** A line for each verdict that the restore refuted. */
export function wrongOf(all: readonly Measured[]): string[] {
  return all.flatMap((each) =>
    (
      [
        ['manifest', each.withManifest],
        ['images', each.without],
      ] as const
    )
      .filter(([by, said]) => isWrong(agreementOf(said, by, each)))
      .map(
        ([by, said]) =>
          `${each.program}, ${each.user}, ${each.damage}, by the ${by}: ${said.verdict} (${said.why}); ${each.attempted.outcome} (${each.attempted.words})`,
      ),
  );
}

function counted(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts.size === 1 ? words[0]! : [...counts].map(([word, count]) => `${count} ${word}`).join(', ');
}
