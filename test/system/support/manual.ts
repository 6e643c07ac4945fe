/** The manual pages of the package. */
import { run } from './bench.ts';

/** The lines of each example, in the order of the page. */
export function examplesOf(page: string): string[] {
  const text = run('zcat', `/usr/share/man/man${page.at(-1)}/${page}.gz`).replaceAll('\\-', '-');
  const section = /\n\.SH EXAMPLES\n([\s\S]*?)\n\.SH /.exec(text)![1]!;
  return [...section.matchAll(/\.EX\n([\s\S]*?)\n\.EE/g)].map(([, lines]) => lines!);
}
