/** Packets that two parsers could read differently: the service reads the same request as CRIU, or refuses the packet. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeRequest } from '../../src/protocol/codec.ts';
import { type CriuOpts, ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from './support/attacker.ts';
import { besideReference, endsAfter, type Outcome, show } from './support/guarantee.ts';
import { directoryOf, targetOf } from './support/people.ts';

interface Pids {
  readonly own: number;
  readonly roots: number;
}

/** A DUMP whose bytes name a process of alice's and also a process of root's. The attack succeeds if root's process is dumped. */
async function ambiguous(address: string, bytes: (pids: Pids) => Buffer): Promise<Outcome> {
  const victim = targetOf('root');
  const own = targetOf('alice');
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const reply = await alice.ask(bytes({ own: own.pid, roots: victim.pid }), address);
  await endsAfter(reply, victim, own);
  return { reply, succeeded: !victim.alive, survivor: own };
}

/** A CPUINFO_DUMP into alice's directory, encoded in another way than ours. */
async function spelled(address: string, bytes: Buffer): Promise<Outcome> {
  const images = directoryOf('alice');
  writeFileSync(join(images, 'directory'), '');
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, images);
  const reply = await alice.ask(bytes, address);
  return { reply, succeeded: existsSync(join(images, 'cpuinfo.img')) };
}

function dump(pid: number): Buffer {
  return encodeRequest({ type: ReqType.DUMP, opts: { images_dir_fd: 10, pid } });
}

/** criu_req with these bytes as its opts. */
function withOpts(type: number, opts: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x08, type, 0x12, opts.length]), opts]);
}

function optsOf(opts: CriuOpts): Buffer {
  // The first four bytes are the type with its value, then the tag and the length.
  return encodeRequest({ type: ReqType.DUMP, opts }).subarray(4);
}

/** A number in more bytes than it needs. */
function overlong(value: number, bytes: number): Buffer {
  return Buffer.from(
    Array.from(
      { length: bytes },
      (_, i) => Number((BigInt(value) >> BigInt(7 * i)) & 0x7fn) | (i < bytes - 1 ? 0x80 : 0),
    ),
  );
}

const cpuinfo = encodeRequest({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
const cpuinfoOpts = cpuinfo.subarray(4);

describe('a packet of alice’s that two parsers could read differently', () => {
  besideReference();

  show({
    guarantee: 'opts given twice, which protobuf-c merges, is refused',
    carriedOut: (address) =>
      ambiguous(address, ({ own, roots }) => Buffer.concat([dump(own), dump(roots).subarray(2)])),
    refused: /opts .*is given twice/,
    bites: true,
  });

  show({
    guarantee: 'a pid given twice is refused',
    carriedOut: (address) =>
      ambiguous(address, ({ own, roots }) => {
        const once = optsOf({ images_dir_fd: 10, pid: own });
        const again = optsOf({ images_dir_fd: 10, pid: roots }).subarray(2);
        return withOpts(ReqType.DUMP, Buffer.concat([once, again]));
      }),
    refused: /opts\.pid .*is given twice/,
    bites: true,
  });

  show({
    guarantee: 'a type given twice is refused',
    carriedOut: (address) =>
      ambiguous(address, ({ roots }) =>
        Buffer.concat([encodeRequest({ type: ReqType.VERSION }), dump(roots)]),
      ),
    refused: /type .*is given twice/,
    bites: true,
  });

  // A newer CRIU may know it as an option that runs programs. CRIU 4.1.1 skips it and writes the image, which is the bite.
  show({
    guarantee: 'a field that rpc.proto does not know is refused',
    carriedOut: (address) =>
      spelled(
        address,
        withOpts(ReqType.CPUINFO_DUMP, Buffer.concat([cpuinfoOpts, Buffer.from([0xf8, 0x7f, 1])])),
      ),
    refused: /has a field 2047/,
    bites: true,
  });

  show({
    guarantee: 'an unknown field beside opts is refused',
    carriedOut: (address) => spelled(address, Buffer.concat([cpuinfo, Buffer.from([0xfa, 0x7f, 1, 0x41])])),
    refused: /has a field 2047/,
    bites: true,
  });

  show({
    guarantee: 'a NUL, behind which the service would read on and CRIU would not, is refused',
    carriedOut: (address) =>
      spelled(
        address,
        encodeRequest({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10, log_file: 'own.log\0-' } }),
      ),
    refused: /opts\.log_file .*has a NUL in it/,
    bites: true,
  });

  show({
    guarantee: 'a number in more bytes than it needs is refused',
    carriedOut: (address) =>
      spelled(
        address,
        Buffer.concat([Buffer.from([0x08]), overlong(ReqType.CPUINFO_DUMP, 5), cpuinfo.subarray(2)]),
      ),
    refused: /not in its shortest form/,
    bites: true,
  });

  show({
    guarantee: 'a tag in more bytes than it needs is refused',
    carriedOut: (address) => spelled(address, Buffer.concat([overlong(0x08, 3), cpuinfo.subarray(1)])),
    refused: /not in its shortest form/,
    bites: true,
  });

  show({
    guarantee: 'a number beyond its type’s range, of which CRIU drops the upper half, is refused',
    carriedOut: (address) =>
      ambiguous(address, ({ roots }) =>
        withOpts(
          ReqType.DUMP,
          Buffer.concat([
            optsOf({ images_dir_fd: 10 }),
            Buffer.from([0x10]),
            // 2^32 plus the pid of root's process.
            overlongBeyond(roots),
          ]),
        ),
      ),
    refused: /opts\.pid .*out of the range/,
    bites: true,
  });

  show({
    guarantee: 'bytes that are no UTF-8 are refused',
    carriedOut: (address) =>
      spelled(
        address,
        withOpts(
          ReqType.CPUINFO_DUMP,
          // Field 10, log_file, of two bytes.
          Buffer.concat([cpuinfoOpts, Buffer.from([0x52, 2, 0xff, 0xfe])]),
        ),
      ),
    refused: /UTF-8/,
    bites: true,
  });
});

function overlongBeyond(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value) + (1n << 32n);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
