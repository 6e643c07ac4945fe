/** The messages of CRIU's images: a table that scripts/build-proto makes from proto/images/. */
import { imagesTable } from '../protocol/generated/images-table.ts';

const scalars = [
  'int32',
  'uint32',
  'sint32',
  'fixed32',
  'int64',
  'uint64',
  'sint64',
  'fixed64',
  'bool',
  'string',
  'bytes',
] as const;
export type Scalar = (typeof scalars)[number];

export type Content =
  | { readonly is: Scalar }
  | { readonly is: 'enum'; readonly names: ReadonlyMap<number, string> }
  | { readonly is: 'message'; readonly message: MessageType };

export interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: 'required' | 'optional' | 'repeated';
  readonly content: Content;
  /** The place among the required fields of its message; 0 for others. */
  readonly nth: number;
}

export interface MessageType {
  readonly name: string;
  readonly byNumber: ReadonlyMap<number, Field>;
  readonly byName: ReadonlyMap<string, Field>;
  readonly required: readonly Field[];
}

/** A message or an enum in the output of `pbjs -t json`. */
interface Source {
  readonly fields?: Readonly<
    Record<string, { readonly rule?: string; readonly type: string; readonly id: number }>
  >;
  readonly values?: Readonly<Record<string, number>>;
  readonly nested?: Sources;
}
type Sources = Readonly<Record<string, Source>>;

/** A message under construction. */
interface Linking {
  readonly name: string;
  readonly byNumber: Map<number, Field>;
  readonly byName: Map<string, Field>;
  readonly required: Field[];
}

const types = linked(imagesTable.nested as Sources);

/** @throws if proto/images/ has no such message. */
export function messageType(name: string): MessageType {
  const type = types.get(name);
  if (!type) throw new Error(`proto/images/ has no message ${name}`);
  return type;
}

/** Two passes, because a message may contain another that comes later, or itself. */
function linked(sources: Sources): ReadonlyMap<string, MessageType> {
  const made = new Map<string, Linking>();
  for (const [name, { fields }] of Object.entries(sources)) {
    if (fields) made.set(name, { name, byNumber: new Map(), byName: new Map(), required: [] });
  }
  for (const message of made.values()) {
    const { fields = {}, nested = {} } = sources[message.name]!;
    for (const [name, { rule, type, id }] of Object.entries(fields)) {
      const label = rule === 'required' || rule === 'repeated' ? rule : 'optional';
      const nth = label === 'required' ? message.required.length : 0;
      const field = {
        name,
        number: id,
        label,
        content: contentOf(type, nested, sources, made),
        nth,
      } as const;
      message.byNumber.set(id, field);
      message.byName.set(name, field);
      if (label === 'required') message.required.push(field);
    }
  }
  return made;
}

function contentOf(
  type: string,
  nested: Sources,
  sources: Sources,
  made: ReadonlyMap<string, Linking>,
): Content {
  if ((scalars as readonly string[]).includes(type)) return { is: type as Scalar };
  const message = made.get(type);
  if (message) return { is: 'message', message };
  const values = (nested[type] ?? sources[type])?.values;
  if (!values) throw new Error(`proto/images/ uses the type ${type}, and has none`);
  return { is: 'enum', names: new Map(Object.entries(values).map(([name, number]) => [number, name])) };
}
