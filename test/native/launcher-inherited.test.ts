/** Tests against the kernel of the descriptors of a caller that an engine gets copies of (inherit_fd). */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { InheritedFault } from '../../src/engine/launcher-protocol.ts';
import { native } from '../../src/native/binding.ts';
import { launchAs, requireFailure, TestCaller, Workshop } from './launcher/support.ts';
import { cannotShow } from './support.ts';

const { EBADF } = os.errno;
const uid = 700_000 + (process.pid % 100_000);
const traits = [`uid=${uid}`, `gid=${uid + 1}`];
/** Node has no name for it. */
const O_PATH = 0o10000000;
/** The caller's first descriptor beyond its standard ones. */
const held = 3;

describe('descriptors of a caller that its engine inherits', () => {
  let workshop: Workshop;
  let launcher: string;
  let caller: TestCaller | undefined;
  const opened: number[] = [];
  const masters: { close(): void }[] = [];

  before(function () {
    this.timeout(120_000);
    if (process.getuid?.() !== 0) cannotShow(this, 'only root can become a caller');
    workshop = new Workshop();
    launcher = workshop.sanitizedLauncher();
  });

  afterEach(async () => {
    await caller?.end();
    caller?.close();
    caller = undefined;
    for (const fd of opened.splice(0)) closeSync(fd);
    for (const master of masters.splice(0)) master.close();
  });

  after(() => workshop?.remove());

  function open(path: string, flags: number = constants.O_RDONLY): number {
    const fd = openSync(path, flags);
    opened.push(fd);
    return fd;
  }

  function file(name: string, mode: number): string {
    const path = join(workshop.directory, name);
    writeFileSync(path, '', { mode: 0o600 });
    chmodSync(path, mode);
    return path;
  }

  function fifo(): string {
    const path = join(workshop.directory, `fifo-${opened.length}-${Date.now()}`);
    execFileSync('mkfifo', ['--mode=600', path]);
    return path;
  }

  /** The other end of a new terminal of this user's. */
  function terminal(owner: number): number {
    const before = new Set(readdirSync('/dev/pts'));
    const master = native.open('/dev/ptmx', constants.O_RDWR);
    const [number] = readdirSync('/dev/pts').filter((name) => !before.has(name));
    native.adoptTerminal(native.duplicate(master)).close();
    chownSync(`/dev/pts/${number}`, owner, owner);
    const fd = open(`/dev/pts/${number}`, constants.O_RDWR | constants.O_NOCTTY);
    // While the other end is open, the terminal stays.
    opened.push(openSync(`/proc/self/fd/${master.number}`, O_PATH));
    masters.push(master);
    return fd;
  }
  async function launchWith(holds: readonly number[], inherited: readonly number[]) {
    caller = await TestCaller.start(workshop, traits, holds);
    return launchAs(workshop, launcher, caller, { inherited });
  }

  it('are copied to the numbers from 64 on, in the order of the request, and nothing else is', async () => {
    const paths = [fifo(), file('readable', 0o644), '/dev/null'];
    const holds = [
      open(paths[0]!, constants.O_RDWR),
      open(paths[1]!),
      open(paths[2]!, constants.O_RDWR),
      terminal(uid),
      native.memfd('of hers', 16).number,
    ];
    const { answers, report } = await launchWith(holds, [held + 2, held, held + 1, held + 3, held + 4]);
    assert.deepEqual(
      answers.map(({ kind }) => kind),
      ['ready', 'guarded'].slice(0, answers.length),
    );
    const inherited = [...report].filter(([key]) => /^fd\.\d{2,}$/.test(key));
    assert.deepEqual(inherited.map(([key]) => key).sort(), ['fd.64', 'fd.65', 'fd.66', 'fd.67', 'fd.68']);
    assert.deepEqual(
      [report.get('fd.64'), report.get('fd.65'), report.get('fd.66')],
      [paths[2], paths[0], paths[1]],
    );
    assert.match(report.get('fd.67') ?? '', /^\/dev\/pts\/\d+$/);
    assert.match(report.get('fd.68') ?? '', /^\/memfd:of hers/);
  });

  const anonymous = (): number => {
    const name = readdirSync('/proc/self/fd').find((each) => {
      try {
        return readlinkSync(`/proc/self/fd/${each}`) === 'anon_inode:[eventpoll]';
      } catch {
        return false;
      }
    });
    return Number(name);
  };
  const pidfd = (): number => {
    const fd = native.pidfdOpen(process.pid);
    masters.push(fd);
    return fd.number;
  };
  const blockDevice = (): number | undefined => {
    for (const name of readdirSync('/sys/block')) {
      try {
        return open(`/dev/${name}`, constants.O_RDONLY | constants.O_NONBLOCK);
      } catch {
        // No medium, or no node.
      }
    }
    return undefined;
  };
  const refused: [what: string, fault: keyof typeof InheritedFault, make: () => number | undefined][] = [
    ['a directory', 'directory', () => open('/', constants.O_DIRECTORY)],
    ['a descriptor that was opened with O_PATH', 'path', () => open('/etc/shadow', O_PATH)],
    ['a block device', 'block', blockDevice],
    [
      'a device that is no terminal',
      'device',
      () => open('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK),
    ],
    ['the master of a terminal', 'device', () => open('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY)],
    ["another user's terminal", 'terminal', () => terminal(0)],
    ['a file of /proc', 'kernel', () => open('/proc/self/status')],
    ['a file of /sys', 'kernel', () => open('/sys/kernel/uevent_seqnum')],
    ['a pidfd', 'kernel', pidfd],
    ['an epoll set, which like an io_uring may hold other files', 'kernel', anonymous],
    ['a file that she may not read', 'rights', () => open(file('secret', 0o600))],
    [
      'a file that she may only read, open for writing',
      'rights',
      () => open(file('public', 0o644), constants.O_RDWR),
    ],
  ];
  for (const [what, fault, make] of refused) {
    it(`are refused if one is ${what}`, async function () {
      const fd = make();
      if (fd === undefined) return cannotShow(this, 'this machine has no block device that can be opened');
      const result = await launchWith([open('/dev/null'), fd], [held, held + 1]);
      const value = (BigInt(InheritedFault[fault]) << 32n) | BigInt(held + 1);
      requireFailure(result, { step: 'inherited', error: 0, value });
    });
  }

  it('are refused if the caller does not have one', async () => {
    requireFailure(await launchWith([], [700]), { step: 'inherited', error: EBADF, value: 700n });
  });

  it('are refused if the caller is not dumpable, because its descriptors are protected', async () => {
    caller = await TestCaller.start(workshop, traits, [open('/dev/null')]);
    await caller.ask('undumpable');
    const { answers } = await launchAs(workshop, launcher, caller, { inherited: [held] });
    assert.equal(answers[0]?.kind, 'failed');
    assert.equal(answers.length, 1);
  });
});
