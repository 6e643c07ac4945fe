/** Files and directories that alice exchanges: CRIU writes for her only where she may write herself. */
import assert from 'node:assert/strict';
import { chownSync, constants, mkdirSync, readdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { endProcess, pageServers } from '../system/support/proc.ts';
import { Attacker } from './support/attacker.ts';
import { besideReference, it, needsSysResource, type Outcome, show } from './support/guarantee.ts';
import { directoryOf, RootsFile, targetOf, uids } from './support/people.ts';

const O_PATH = 0o10000000;

/** CRIU writes a CPUINFO_DUMP into a directory of alice's in which `name` leads to a file of root's. */
async function throughSymlink(name: string, address: string, logFile?: string): Promise<Outcome> {
  const victim = new RootsFile();
  const images = directoryOf('alice');
  symlinkSync(victim.path, join(images, name));
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, images);
  const opts = { images_dir_fd: 10, ...(logFile === undefined ? {} : { log_file: logFile, log_level: 4 }) };
  const reply = await alice.ask({ type: ReqType.CPUINFO_DUMP, opts }, address);
  return { reply, succeeded: !victim.unchanged };
}

/** CRIU writes into a directory of root's, which alice names in some way. */
async function intoRootsDirectory(
  address: string,
  mode: number,
  name: (
    alice: Attacker,
    directory: string,
  ) => Promise<{ images_dir_fd: number; images_dir?: string; work_dir_fd?: number }>,
): Promise<Outcome> {
  const directory = directoryOf('root', mode);
  const alice = new Attacker('alice');
  const opts = await name(alice, directory);
  const reply = await alice.ask({ type: ReqType.CPUINFO_DUMP, opts: { ...opts, log_file: 'log' } }, address);
  return { reply, succeeded: readdirSync(directory).length > 0 };
}

describe('links and descriptors that alice plants', () => {
  besideReference();

  show({
    guarantee: 'a symbolic link as log file is not followed to where only root may write',
    carriedOut: (address) => throughSymlink('planted.log', address, 'planted.log'),
    refused: 'by the kernel',
    bites: true,
  });

  show({
    guarantee: 'a symbolic link as image is not followed to where only root may write',
    carriedOut: (address) => throughSymlink('cpuinfo.img', address),
    refused: 'by the kernel',
    bites: true,
  });

  show({
    guarantee: 'a symbolic link as images_dir does not lead into a directory of root’s',
    carriedOut: (address) =>
      intoRootsDirectory(address, 0o700, async (_alice, directory) => {
        const link = join(directoryOf('alice'), 'link');
        symlinkSync(directory, link);
        return { images_dir_fd: -1, images_dir: link };
      }),
    refused: /permission/,
    bites: true,
  });

  show({
    guarantee: 'a descriptor of a directory that alice may only read does not let CRIU write there',
    carriedOut: (address) =>
      intoRootsDirectory(address, 0o755, async (alice, directory) => {
        await alice.do('open', 10, constants.O_RDONLY, directory);
        return { images_dir_fd: 10 };
      }),
    refused: 'by the kernel',
    bites: true,
  });

  show({
    guarantee: 'an O_PATH descriptor of a directory that alice may not even read is opened with her rights',
    carriedOut: (address) =>
      intoRootsDirectory(address, 0o700, async (alice, directory) => {
        await alice.do('open', 10, O_PATH, directory);
        return { images_dir_fd: 10 };
      }),
    refused: /permission/,
    bites: true,
  });

  show({
    guarantee: 'an O_PATH descriptor as work directory is searched with her rights',
    carriedOut: (address) =>
      intoRootsDirectory(address, 0o700, async (alice, directory) => {
        await alice.do('open', 10, constants.O_RDONLY, directoryOf('alice'));
        await alice.do('open', 11, O_PATH, directory);
        return { images_dir_fd: 10, work_dir_fd: 11 };
      }),
    refused: /permission/,
    bites: true,
  });

  show({
    guarantee: 'an O_RDONLY descriptor of a file of root’s as status_fd is not written to',
    carriedOut: async (address) => {
      const victim = new RootsFile();
      const alice = new Attacker('alice');
      await alice.do('open', 10, constants.O_RDONLY, directoryOf('alice'));
      await alice.do('open', 11, constants.O_RDONLY, victim.path);
      // A page server reports to status_fd that it is ready.
      const reply = await alice.ask(
        {
          type: ReqType.PAGE_SERVER,
          opts: { images_dir_fd: 10, status_fd: 11, ps: { address: '127.0.0.1', port: 0 } },
        },
        address,
      );
      // It reports some time after its reply.
      if (reply !== 'closed' && reply.success) await eventually('it is ready', () => !victim.unchanged);
      for (const server of pageServers()) endProcess(server);
      return { reply, succeeded: !victim.unchanged };
    },
    refused: 'by the kernel',
    bites: true,
  });

  show({
    guarantee: 'a symbolic link planted after the request was authorized is not followed',
    carriedOut: async (address) => {
      const victim = new RootsFile();
      const target = targetOf('alice');
      const images = directoryOf('alice');
      const alice = new Attacker('alice');
      await alice.do('open', 10, constants.O_RDONLY, images);
      const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true, notify_scripts: true };
      let reply = await alice.ask({ type: ReqType.DUMP, opts }, address);
      while (reply !== 'closed' && reply.type === ReqType.NOTIFY) {
        if (reply.notify?.script === 'pre-dump') symlinkSync(victim.path, join(images, 'inventory.img'));
        await alice.send({ type: ReqType.NOTIFY, notify_success: true });
        reply = await alice.receive();
      }
      return { reply, succeeded: !victim.unchanged, survivor: target };
    },
    refused: 'by the kernel',
    bites: needsSysResource,
  });

  // No bite for the directory itself: the engine has it open, and so has CRIU's own service.
  it('a directory that is exchanged for a link after the request was authorized stays the same directory', async () => {
    const secret = directoryOf('root', 0o777);
    const target = targetOf('alice');
    const images = join(directoryOf('alice'), 'images');
    mkdirSync(images);
    chownSync(images, uids.alice, uids.alice);
    const alice = new Attacker('alice');
    const opts = { images_dir_fd: -1, images_dir: images, pid: target.pid, notify_scripts: true };
    let reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    while (reply !== 'closed' && reply.type === ReqType.NOTIFY) {
      if (reply.notify?.script === 'pre-dump') {
        renameSync(images, `${images}-before`);
        symlinkSync(secret, images);
      }
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      reply = await alice.receive();
    }
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    assert.deepEqual(readdirSync(secret), []);
    assert.ok(readdirSync(`${images}-before`).includes('inventory.img'));
  });

  // No bite: the launcher opens the directory once, as alice, so that any directory it finds is opened with her rights: there is
  // no check that could come too late. CRIU's own service writes into root's directory without any race (above).
  it('a descriptor that is swapped during authorization leads nowhere that alice may not write', async () => {
    const secret = directoryOf('root', 0o700);
    const own = directoryOf('alice');
    for (let round = 0; round < 12; round += 1) {
      const alice = new Attacker('alice');
      await alice.do('open', 10, constants.O_RDONLY, own);
      await alice.connect(ourAddress);
      await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10, log_file: `log-${round}` } });
      const swaps = Array.from({ length: 40 }, (_, i) =>
        i % 2 === 0 ? `open 10 ${O_PATH} ${secret}` : `open 10 ${constants.O_RDONLY} ${own}`,
      );
      await alice.rush(...swaps);
      assert.notEqual(await alice.receive(), 'closed');
      await alice.end();
    }
    assert.deepEqual(readdirSync(secret), []);
  });
});
