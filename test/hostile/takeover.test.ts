/**
 * CRIU opens the files that images name, as alice and with the capability of an engine; so it may open files that alice may not:
 * those of a process of hers that holds this capability, an engine. A tree restored with the memory of an engine open could write
 * its own code there, and keep the capability for as long as it likes.
 * No image is edited: a symbolic link in place of a file that was open is enough.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { ReqType } from '../../src/protocol/messages.ts';
import { ourAddress } from '../system/support/client.ts';
import { endProcess, pageServers } from '../system/support/proc.ts';
import { Attacker, AttackFailed } from './support/attacker.ts';
import { it } from './support/guarantee.ts';
import { Held, type How, heldDescriptor } from './support/held.ts';
import { AlicesImages, alicesEngine, restoreUntil } from './support/images.ts';
import { Intruder, needsX64 } from './support/intruder.ts';
import { asCapable, directoryOf, targetOf } from './support/people.ts';
import { answerAll, takeOver, takeOverOwnEngine, victims } from './support/takeover.ts';

describe('an engine of alice’s whose memory her tree has opened', () => {
  let intruder: Intruder;
  beforeEach(async function () {
    needsX64(this);
    intruder = await Intruder.make();
  });
  afterEach(async () => {
    await intruder?.end();
    for (const pid of pageServers()) endProcess(pid);
  });

  // The control: its files are still its own, and no wall is in its way.
  it('stays untouched if her own files are in place (control)', async () => {
    const reply = await intruder.images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    assert.match(await intruder.go(), /^no library in the maps/);
  });

  it('is not taken over if it is the engine that restores that tree', async () => {
    const how = await takeOverOwnEngine(intruder);
    assert.equal(intruder.holdsCapability, false, how);
    assert.equal(intruder.taken, undefined, how);
  });

  // A page server has only her rights: code that it executes for her gains nothing.
  for (const [doing, begin] of Object.entries(victims)) {
    it(`does not give her the capability if it ${doing}`, async () => {
      const how = await takeOver(intruder, begin);
      assert.equal(intruder.holdsCapability, false, how);
    });
  }
});

interface Part {
  /** Below /proc/ENGINE. */
  readonly path: (engine: number) => string;
  readonly how: How;
  readonly flags: number;
  readonly mode: number;
  readonly size?: (engine: number) => number;
}

const directory = 0o040000;
const file = 0o100000;
const { O_RDONLY, O_RDWR } = { O_RDONLY: 0, O_RDWR: 2 };

/** CRIU's own memory, which it shares with the processes that it restores; there are pointers in it. */
function sharedMemoryOf(engine: number): { readonly range: string; readonly size: number } {
  const maps = readFileSync(`/proc/${engine}/maps`, 'latin1').split('\n');
  const range = maps.find((line) => / rw-s .*\/dev\/zero \(deleted\)$/.test(line))!.split(' ')[0]!;
  const [begin, end] = range.split('-').map((address) => Number.parseInt(address, 16));
  return { range, size: end! - begin! };
}

const hows = { open: 'an open file', map: 'a mapping', cwd: 'a working directory' } as const;

/** Entries of /proc/ENGINE that only an engine may have, with the type and mode that CRIU compares. */
const parts: Readonly<Record<string, Part>> = {
  memory: { path: () => 'mem', how: 'open', flags: O_RDWR, mode: file | 0o600 },
  'memory, for reading': { path: () => 'mem', how: 'open', flags: O_RDONLY, mode: file | 0o600 },
  maps: { path: () => 'maps', how: 'open', flags: O_RDONLY, mode: file | 0o444 },
  environment: { path: () => 'environ', how: 'open', flags: O_RDONLY, mode: file | 0o400 },
  'auxiliary vector': { path: () => 'auxv', how: 'open', flags: O_RDONLY, mode: file | 0o400 },
  'page map': { path: () => 'pagemap', how: 'open', flags: O_RDONLY, mode: file | 0o400 },
  'shared memory': {
    path: (engine) => `map_files/${sharedMemoryOf(engine).range}`,
    how: 'map',
    flags: O_RDWR,
    mode: file | 0o777,
    size: (engine) => sharedMemoryOf(engine).size,
  },
  descriptors: { path: () => 'fd', how: 'open', flags: O_RDONLY, mode: directory | 0o500 },
  mappings: { path: () => 'map_files', how: 'open', flags: O_RDONLY, mode: directory | 0o500 },
  'descriptors, to work in': { path: () => 'fd', how: 'cwd', flags: O_RDONLY, mode: directory | 0o500 },
  'mappings, to work in': {
    path: () => 'map_files',
    how: 'cwd',
    flags: O_RDONLY,
    mode: directory | 0o500,
  },
  'working directory': { path: () => 'cwd', how: 'cwd', flags: O_RDONLY, mode: directory | 0o755 },
  root: { path: () => 'root', how: 'cwd', flags: O_RDONLY, mode: directory | 0o755 },
};

describe('a link of alice’s in place of a file that her tree held', () => {
  // The sizes are the same for each engine that restores.
  let shape: (part: Part) => number;
  before(async () => {
    const images = await AlicesImages.make();
    const { alice, engine } = await restoreUntil(images, 'pre-restore');
    const sizes = new Map(Object.values(parts).map((part) => [part, part.size?.(engine) ?? 0]));
    shape = (part) => sizes.get(part)!;
    await alice.end();
    await images.end();
  });

  for (const [name, part] of Object.entries(parts)) {
    it(`gives her nothing if it leads to the engine’s ${name} (${hows[part.how]})`, async () => {
      const held = await Held.make(part.how, part.flags, { mode: part.mode, size: shape(part) });
      const { alice, engine } = await restoreUntil(held.images, 'pre-restore');
      held.replaceBy(`/proc/${engine}/${part.path(engine)}`);
      const reply = await answerAll(alice);
      const into = reply !== 'closed' && reply.success && whatIsHeld(held.images.pid, part.how);
      await held.images.end();
      assert.ok(reply !== 'closed' && !reply.success, `it came back, with ${into}: ${JSON.stringify(reply)}`);
    });
  }
});

/** The target of its descriptor, its directory or its mappings. */
function whatIsHeld(pid: number, how: How): string {
  if (how === 'open') return readlinkSync(`/proc/${pid}/fd/${heldDescriptor}`);
  if (how === 'cwd') return readlinkSync(`/proc/${pid}/cwd`);
  return readdirSync(`/proc/${pid}/map_files`)
    .map((range) => readlinkSync(`/proc/${pid}/map_files/${range}`))
    .filter((link) => link.includes('/dev/zero'))
    .join(', ');
}

describe('a live engine of alice’s', () => {
  const { EPERM, EACCES } = constants.errno;

  /** Ways into the engine, each tried by a process of hers outside of any session. */
  const ways: Readonly<Record<string, (attacker: Attacker, engine: number) => Promise<string>>> = {
    'traced by ptrace(2)': (attacker, engine) => attacker.do('trace', engine),
    'robbed of a descriptor by pidfd_getfd(2)': (attacker, engine) => attacker.do('getfd', engine, 3),
    'written into by process_vm_writev(2)': (attacker, engine) => {
      const stack = readFileSync(`/proc/${engine}/maps`, 'latin1')
        .split('\n')
        .find((line) => line.endsWith('[stack]'))!;
      return attacker.do('vm-write', engine, stack.split('-')[0]!);
    },
    ...Object.fromEntries(
      [
        ['mem', O_RDWR],
        ['maps', O_RDONLY],
        ['environ', O_RDONLY],
        ['fd', O_RDONLY],
        ['map_files', O_RDONLY],
        ['root/', O_RDONLY],
        ['cwd/', O_RDONLY],
        ['fd/2', O_RDONLY],
      ].map(([name, flags]) => [
        `opened at /proc/ENGINE/${name}`,
        (attacker: Attacker, engine: number) => attacker.do('open', 20, flags!, `/proc/${engine}/${name}`),
      ]),
    ),
  };

  for (const [attempt, way] of Object.entries(ways)) {
    for (const [by, under] of [
      ['a process of hers', undefined],
      // Control over an engine is no way into the next engine.
      ['a process of hers with the capability of engines', asCapable('alice')],
    ] as const) {
      it(`is not ${attempt} by ${by}`, async () => {
        const target = targetOf('alice');
        const alice = new Attacker('alice');
        await alice.do('open', 10, 0, directoryOf('alice'));
        const opts = { images_dir_fd: 10, pid: target.pid, notify_scripts: true };
        await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
        const other = new Attacker('alice', under && { under });
        await assert.rejects(
          way(other, alicesEngine()),
          (error) => error instanceof AttackFailed && [EPERM, EACCES].includes(error.errno),
        );
        await alice.end();
        await target.assertCountsOn();
      });
    }
  }
});
