/** Makers of rows whose option leads to fields of the request. */
import type { AnyOptions } from '../../client/options.ts';
import type { Completion, OptionRow, Verb } from './row.ts';

type Group = OptionRow['group'];
type Switch = { [K in keyof AnyOptions]-?: boolean extends AnyOptions[K] ? K : never }[keyof AnyOptions];
type Text = { [K in keyof AnyOptions]-?: string extends AnyOptions[K] ? K : never }[keyof AnyOptions];
type List = {
  [K in keyof AnyOptions]-?: readonly string[] extends AnyOptions[K] ? K : never;
}[keyof AnyOptions];

export function flag(
  spelling: string,
  field: Switch,
  verbs: readonly Verb[],
  group: Group,
  help: string,
): OptionRow {
  return { ...names(spelling), verbs, group, help, request: () => ({ [field]: true }) };
}

export function valued(
  spelling: string,
  name: string,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion,
  request: (value: string) => Partial<AnyOptions>,
): OptionRow {
  return { ...names(spelling), value: { name, completion }, verbs, group, help, request };
}

export function text(
  spelling: string,
  name: string,
  field: Text,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion = 'nothing',
): OptionRow {
  return valued(spelling, name, verbs, group, help, completion, (value) => ({ [field]: value }));
}

export function list(
  spelling: string,
  name: string,
  field: List,
  verbs: readonly Verb[],
  group: Group,
  help: string,
  completion: Completion = 'nothing',
): OptionRow {
  return valued(spelling, name, verbs, group, help, completion, (value) => ({ [field]: [value] }));
}

/** `-D, --images-dir` */
export function names(spelling: string): { readonly long: string; readonly short?: string } {
  const match = /^(?:-(.), )?--(.+)$/.exec(spelling)!;
  return { long: match[2]!, ...(match[1] === undefined ? {} : { short: match[1] }) };
}
