/**
 * A caller in a sandbox is refused, because its restored processes would be outside. alice's process could leave none of these
 * sandboxes.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { ourAddress } from '../system/support/client.ts';
import { Instance } from '../system/support/instance.ts';
import { Attacker, type AttackerOptions } from './support/attacker.ts';
import { besideReference, type Outcome, show } from './support/guarantee.ts';
import { as, directoryOf } from './support/people.ts';

/** alice, sandboxed, has an image written for her. */
async function sandboxed(
  address: string,
  options: AttackerOptions,
  enter: (alice: Attacker) => Promise<unknown> = async () => {},
): Promise<Outcome> {
  const images = directoryOf('alice');
  const alice = new Attacker('alice', options);
  await alice.do('open', 10, 0, images);
  await alice.connect(address);
  await enter(alice);
  await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
  const reply = await alice.receive();
  return { reply, succeeded: existsSync(join(images, 'cpuinfo.img')) };
}

/** CLONE_NEWPID and CLONE_NEWTIME: the process itself stays; its children would be inside. */
const newPid = 0x20000000;
const newTime = 0x80;

describe('alice in a sandbox', () => {
  besideReference();

  // Made by root, who then becomes alice: a namespace of that single kind, without a user namespace around it.
  // A time namespace is no sandbox: each restored process of hers lives in one.
  for (const name of ['pid', 'mount', 'net', 'ipc', 'uts', 'cgroup']) {
    const fork = name === 'pid' ? ['--fork'] : [];
    show({
      guarantee: `is refused in another ${name} namespace`,
      carriedOut: (address) =>
        sandboxed(address, { under: ['unshare', `--${name}`, ...fork, ...as('alice')] }),
      refused: new RegExp(`lives in an? ${name === 'net' ? 'network' : name} namespace of its own`),
      bites: true,
    });
  }

  show({
    guarantee: 'is refused in a user namespace of her own',
    carriedOut: (address) => sandboxed(address, { under: [...as('alice'), 'unshare', '--user'] }),
    refused: /lives in a user namespace of its own/,
    bites: true,
  });

  show({
    guarantee: 'is refused if only her children would be in another pid namespace',
    carriedOut: (address) =>
      sandboxed(address, { under: [] }, async (root) => {
        await root.do('unshare', newPid);
        await root.do('child');
        await root.do('reconnect-as', 'alice', address);
      }),
    refused: /has its children in a pid namespace of their own/,
    bites: true,
  });

  show({
    guarantee: 'is refused if only her children would be in another time namespace',
    carriedOut: (address) =>
      sandboxed(address, { under: [] }, async (root) => {
        await root.do('unshare', newTime);
        await root.do('reconnect-as', 'alice', address);
      }),
    refused: /another time namespace than itself/,
    bites: true,
  });

  show({
    guarantee: 'is refused in a chroot',
    carriedOut: (address) =>
      sandboxed(address, { under: [] }, async (root) => {
        await root.do('reconnect-as', 'alice', address, directoryOf('alice'));
      }),
    refused: /root directory/,
    bites: true,
  });

  show({
    guarantee: 'is refused with no_new_privs, which may indicate a sandbox that cannot be seen',
    carriedOut: (address) => sandboxed(address, {}, (alice) => alice.do('no-new-privs')),
    refused: /no_new_privs/,
    bites: true,
  });

  show({
    guarantee: 'is refused under Landlock',
    carriedOut: (address) => sandboxed(address, {}, (alice) => alice.do('landlock')),
    refused: /Landlock/,
    bites: true,
  });
});

/** With --allow-no-new-privs, no_new_privs alone is no reason to refuse; a filter still is. */
describe('alice in a sandbox, under --allow-no-new-privs', () => {
  besideReference();
  let service: Instance;

  before(async () => {
    service = await Instance.start('--allow-no-new-privs');
  });
  after(() => service.stop());

  const there = (address: string): string => (address === ourAddress ? service.address : address);

  show({
    guarantee: 'is refused under a seccomp filter',
    carriedOut: (address) => sandboxed(there(address), {}, (alice) => alice.do('filter')),
    refused: /seccomp filter/,
    bites: true,
  });

  show({
    guarantee: 'is refused with a seccomp filter in a single thread',
    carriedOut: (address) => sandboxed(there(address), {}, (alice) => alice.do('thread', 'filter')),
    refused: /seccomp filter/,
    bites: true,
  });
});
