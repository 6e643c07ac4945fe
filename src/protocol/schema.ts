/**
 * The field table: the fields of each message, for the wire scan and the lenient decoder.
 *
 * Table and generated messages come from the same proto/rpc.proto, so they agree.
 */

import { rpcTable } from './generated/rpc-table.ts';

export type ScalarType = 'int32' | 'uint32' | 'bool' | 'string';
export type Label = 'required' | 'optional' | 'repeated';

/** The content of a field: a number or string of some kind, an enum's number, or a message. */
export type FieldKind =
  | { readonly is: ScalarType }
  | { readonly is: 'enum'; readonly enum: EnumType }
  | { readonly is: 'message'; readonly message: MessageType };

export interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: Label;
  readonly kind: FieldKind;
  /** As written in rpc.proto; for an enum its number. */
  readonly default: number | undefined;
}

export interface EnumType {
  readonly name: string;
  readonly names: ReadonlyMap<number, string>;
}

export interface MessageType {
  readonly name: string;
  readonly fields: ReadonlyMap<number, Field>;
  readonly required: readonly Field[];
}

/** A field in the output of `pbjs -t json`; a missing rule means optional. */
interface FieldSource {
  readonly rule?: string;
  readonly type: string;
  readonly id: number;
  readonly options?: { readonly default?: number | string };
}

/** A message or an enum in the output of `pbjs -t json`. */
interface TypeSource {
  readonly fields?: Readonly<Record<string, FieldSource>>;
  readonly values?: Readonly<Record<string, number>>;
}

const sources: Readonly<Record<string, TypeSource>> = rpcTable.nested;
const scalars: ReadonlySet<string> = new Set<ScalarType>(['int32', 'uint32', 'bool', 'string']);

/** Every enum of rpc.proto by name. */
export const enums: ReadonlyMap<string, EnumType> = new Map(
  Object.entries(sources).flatMap(([name, { values }]) =>
    values
      ? [[name, { name, names: new Map(Object.entries(values).map(([key, number]) => [number, key])) }]]
      : [],
  ),
);

/** Every message of rpc.proto by name. */
export const messages: ReadonlyMap<string, MessageType> = linkMessages();

/** The message that callers send. */
export const criuReq: MessageType = messageNamed('criu_req');
/** The message that callers get. */
export const criuResp: MessageType = messageNamed('criu_resp');

function messageNamed(name: string): MessageType {
  const message = messages.get(name);
  if (!message) throw new Error(`proto/rpc.proto has no message ${name}`);
  return message;
}

/** Two passes, because a message may name another that comes later in the file. */
function linkMessages(): Map<string, MessageType> {
  const linked = new Map<string, { name: string; fields: Map<number, Field>; required: Field[] }>();
  for (const [name, { fields }] of Object.entries(sources)) {
    if (fields) linked.set(name, { name, fields: new Map(), required: [] });
  }

  for (const message of linked.values()) {
    for (const [name, source] of Object.entries(sources[message.name]?.fields ?? {})) {
      const field: Field = {
        name,
        number: source.id,
        label: labelOf(source),
        kind: kindOf(source, linked),
        default: defaultOf(source),
      };
      message.fields.set(field.number, field);
      if (field.label === 'required') message.required.push(field);
    }
  }
  return linked;
}

function labelOf(source: FieldSource): Label {
  return source.rule === 'required' || source.rule === 'repeated' ? source.rule : 'optional';
}

function kindOf(source: FieldSource, linked: ReadonlyMap<string, MessageType>): FieldKind {
  if (isScalar(source.type)) return { is: source.type };
  const named = enums.get(source.type);
  if (named) return { is: 'enum', enum: named };
  const message = linked.get(source.type);
  if (message) return { is: 'message', message };
  // The scan does not know this type, and must not let it pass.
  throw new Error(`proto/rpc.proto uses the type ${source.type}, which the wire scan does not know`);
}

function isScalar(type: string): type is ScalarType {
  return scalars.has(type);
}

function defaultOf(source: FieldSource): number | undefined {
  const value = source.options?.default;
  return typeof value === 'string' ? sources[source.type]?.values?.[value] : value;
}
