/**
 * Converts options in camelCase to criu_opts. Names, kinds and ranges come from the field table of rpc.proto. So a mistake in
 * plain JavaScript gets a sentence, instead of CRIU's reply to a different request.
 */
import type { CriuOpts } from '../protocol/messages.ts';
import { type EnumType, type Field, type MessageType, messages } from '../protocol/schema.ts';
import { CriuError } from './criu-error.ts';
import type { AnyOptions } from './options.ts';

/** Options outside criu_opts, or converted elsewhere. */
const handledElsewhere: ReadonlySet<string> = new Set([
  'imagesDir',
  'workDir',
  'notifications',
  'signal',
  'manifest',
]);

/** Fields that a caller cannot set: directories are opened here, and notifications follow from handlers. */
const ours: ReadonlySet<string> = new Set(['images_dir_fd', 'images_dir', 'work_dir_fd', 'notify_scripts']);

const criuOpts = messages.get('criu_opts')!;

/** @throws CriuError `INVALID`, which names the option */
export function encodeOptions(options: AnyOptions): Partial<CriuOpts> {
  return convert(options as Record<string, unknown>, criuOpts, '', handledElsewhere, ours);
}

/** @param prefix the message's name in error sentences, before the field's name. */
function convert(
  source: Record<string, unknown>,
  message: MessageType,
  prefix: string,
  passed: ReadonlySet<string> = new Set(),
  hidden: ReadonlySet<string> = new Set(),
): Record<string, unknown> {
  const fields = fieldsOf(message);
  const made: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(source)) {
    if (value === undefined || passed.has(name)) continue;
    const field = fields.get(name);
    if (!field || hidden.has(field.name)) throw invalid(`There is no option ${prefix}${name}`);
    made[field.name] = one(value, field, `${prefix}${name}`);
  }
  for (const { name } of message.required) {
    if (made[name] === undefined && !hidden.has(name))
      throw invalid(`${prefix}${camelCase(name)} is missing`);
  }
  return made;
}

function one(value: unknown, field: Field, path: string): unknown {
  if (field.label !== 'repeated') return scalar(value, field, path);
  if (!Array.isArray(value)) throw invalid(`${path} is a list`);
  return value.map((each, index) => scalar(each, field, `${path}[${index}]`));
}

function scalar(value: unknown, { kind }: Field, path: string): unknown {
  switch (kind.is) {
    case 'bool':
      if (typeof value !== 'boolean') throw invalid(`${path} is true or false`);
      return value;
    case 'string':
      // A C string ends at a NUL, so CRIU would read a part of the text only.
      if (typeof value !== 'string' || value.includes('\0')) throw invalid(`${path} is a text without NUL`);
      return value;
    case 'int32':
      return integer(value, -0x80000000, 0x7fffffff, path);
    case 'uint32':
      return integer(value, 0, 0xffffffff, path);
    case 'enum':
      return enumNumber(value, kind.enum, path);
    case 'message':
      if (typeof value !== 'object' || value === null) throw invalid(`${path} is an object`);
      return convert(value as Record<string, unknown>, kind.message, `${path}.`);
  }
}

function integer(value: unknown, least: number, most: number, path: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw invalid(`${path} is a whole number from ${least} to ${most}`);
  }
  return value;
}

function enumNumber(value: unknown, type: EnumType, path: string): number {
  const names = new Map([...type.names].map(([number, name]) => [enumName(name), number]));
  const number = names.get(value as string);
  if (number === undefined) throw invalid(`${path} is one of ${[...names.keys()].join(', ')}`);
  return number;
}

/** VM_READ is `vm-read`. CG_ and IMAGE_IO_ are there only because such names share a namespace with others in C. */
function enumName(name: string): string {
  return name
    .replace(/^(CG|IMAGE_IO)_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
}

const known = new Map<MessageType, ReadonlyMap<string, Field>>();

function fieldsOf(message: MessageType): ReadonlyMap<string, Field> {
  let fields = known.get(message);
  if (!fields) {
    fields = new Map([...message.fields.values()].map((field) => [camelCase(field.name), field]));
    known.set(message, fields);
  }
  return fields;
}

function camelCase(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

function invalid(message: string): CriuError {
  return new CriuError('INVALID', message);
}
