/** Identity of callers: a process that changed after it connected is refused. */
import { readdirSync } from 'node:fs';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { isAlive, statusLine } from '../system/support/proc.ts';
import { Attacker, type AttackerOptions } from './support/attacker.ts';
import { besideReference, type Outcome, show } from './support/guarantee.ts';
import { as, directoryOf, privilegedProgram, type User, uids } from './support/people.ts';

/**
 * A process connects, changes, and asks for an image. CPUINFO_DUMP is harmless and quick, and its image can be seen from outside.
 */
async function changing(
  user: User,
  address: string,
  change: (attacker: Attacker) => Promise<unknown>,
  options: AttackerOptions = {},
): Promise<Outcome> {
  const images = directoryOf(user, 0o777);
  const attacker = new Attacker(user, options);
  await attacker.do('open', 10, 0, images);
  await attacker.connect(address);
  await change(attacker);
  await attacker.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
  const reply = await attacker.receive();
  return { reply, succeeded: readdirSync(images).length > 0 };
}

describe('a caller that changed after it connected', () => {
  besideReference();

  show({
    guarantee: 'is refused if it executed a setuid program',
    carriedOut: (address) =>
      changing('alice', address, (alice) => alice.do('exec', privilegedProgram('attacker', 0o4755))),
    refused: /uids of thread \d+ \(1500 0 0 0\) are not the 1500 that connected/,
    bites: true,
  });

  show({
    guarantee: 'is refused if it executed a setgid program',
    carriedOut: (address) =>
      changing('alice', address, (alice) => alice.do('exec', privilegedProgram('attacker', 0o2755))),
    refused: /gids of thread \d+ \(1500 0 0 0\)/,
    bites: true,
  });

  show({
    guarantee: 'is refused if it executed a program with file capabilities',
    carriedOut: (address) =>
      changing('alice', address, (alice) =>
        alice.do('exec', privilegedProgram('attacker', 0o755, 'cap_dac_override,cap_checkpoint_restore+ep')),
      ),
    refused: /AT_SECURE/,
    bites: true,
  });

  show({
    guarantee: 'is refused while its pid executes su, if a child of it asks',
    carriedOut: (address) =>
      changing('alice', address, async (alice) => {
        await alice.do('leave-to-child', '/usr/bin/su');
        await eventually('su runs', () => statusLine(alice.pid, 'Name') === 'su');
      }),
    refused: /are not the 1500 that connected|AT_SECURE/,
    bites: true,
  });

  show({
    guarantee: 'is refused if it has exited, and a child of it asks',
    carriedOut: (address) =>
      changing('alice', address, async (alice) => {
        await alice.do('leave-to-child', 'nothing');
        await eventually('it has ended', () => !isAlive(alice.pid));
      }),
    refused: /has gone|cannot be read|cannot be identified/,
    // CRIU looks for the directory in the process with that pid: while no process has it, CRIU's own service cannot serve either.
    bites: false,
  });

  show({
    guarantee: 'is refused if it connected as root and became alice',
    carriedOut: (address) => changing('root', address, (root) => root.do('become', uids.alice, uids.alice)),
    // The credentials of the packet show it, before anything is read.
    refused: /sent by another user or group|are not the 0 that connected/,
    bites: true,
  });

  show({
    guarantee: 'is refused if a thread of it has another uid',
    carriedOut: (address) => changing('root', address, (root) => root.do('thread', 'become-alice')),
    refused: /uids of thread \d+ \(1500 1500 1500 1500\) are not the 0 that connected/,
    bites: true,
  });

  show({
    guarantee: 'is refused if its groups changed after it connected',
    carriedOut: (address) => changing('root', address, (root) => root.do('groups', 4, 27)),
    refused: /groups of thread/,
    bites: true,
  });
});

describe('a caller with uid 0 that is less than root', () => {
  besideReference();

  const less: readonly { defect: string; under: string[]; why: RegExp }[] = [
    {
      defect: 'lacks one of the service’s capabilities',
      under: as('root', '--bounding-set=-sys_admin', '--inh-caps=-all'),
      why: /without all the capabilities/,
    },
    {
      defect: 'is the root of a container’s pid namespace',
      under: ['unshare', '--pid', '--fork'],
      why: /pid namespace/,
    },
    { defect: 'has no_new_privs', under: as('root', '--no-new-privs'), why: /no_new_privs/ },
  ];
  for (const { defect, under, why } of less) {
    show({
      guarantee: `is refused if it ${defect}`,
      carriedOut: (address) => changing('root', address, async () => {}, { under }),
      refused: why,
      bites: true,
    });
  }

  show({
    guarantee: 'is refused under a seccomp filter',
    carriedOut: (address) => changing('root', address, (root) => root.do('filter')),
    refused: /seccomp/,
    bites: true,
  });

  show({
    guarantee: 'is refused with a seccomp filter in a single thread',
    carriedOut: (address) => changing('root', address, (root) => root.do('thread', 'filter')),
    refused: /seccomp/,
    bites: true,
  });

  show({
    guarantee: 'is refused as the root of a user namespace of alice’s',
    carriedOut: (address) =>
      changing('alice', address, async () => {}, {
        under: [...as('alice'), 'unshare', '--user', '--map-root-user'],
      }),
    refused: /user namespace/,
    bites: true,
  });
});
