/** Under Yama's ptrace_scope 1 a user dumps what the kernel lets that user trace, and what the service has restored. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeResponse } from '../../src/protocol/codec.ts';
import { it } from '../hostile/support/guarantee.ts';
import { as, directoryOf, startCounting, targetOf } from '../hostile/support/people.ts';
import { binary, cannotShowHere, eventually, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { Instance } from './support/instance.ts';
import { cursor, type Entry, journalOf, records } from './support/journal.ts';
import { pycriuBy } from './support/pycriu.ts';
import { Target } from './support/targets.ts';

const knob = '/proc/sys/kernel/yama/ptrace_scope';

/** What alice's program (clients/kin.c) says about the dump of its child, and about the child. */
function kin(act: string, count = 0, address = ourAddress): string[] {
  const result = join(directoryOf('alice'), 'result');
  const [file, ...argv] = as('alice');
  const images = directoryOf('alice');
  run(file!, ...argv, binary('kin'), address, images, result, act, ...(count > 0 ? [String(count)] : []));
  return readFileSync(result, 'utf8').trim().split('\n');
}

/** A child sends the request, on a connection that it has inherited, about its parent's other child; then that one's state is told. */
const onAnothersConnection = `
import os, socket, subprocess, sys
def state_of(pid):
    return open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0]
def number(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
other = subprocess.Popen(["sleep", "600"])
while state_of(other.pid) != "S" or open(f"/proc/{other.pid}/comm").read() != "sleep\\n":
    pass
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
options = bytes([0x08, 0, 0x10]) + number(other.pid)
request = bytes([0x08, 1, 0x12, len(options)]) + options
if os.fork() == 0:
    connection.send(request)
    os._exit(0)
os.wait()
reply = connection.recv(65536)
print(reply.hex(), state_of(other.pid))
other.kill()
`;

describe('under ptrace_scope 1 a dump of alice’s', () => {
  before(function () {
    if (!existsSync(knob)) cannotShowHere(this, 'this kernel has no Yama');
  });
  beforeEach(() => writeFileSync(knob, '1'));
  afterEach(() => writeFileSync(knob, '0'));

  for (const act of ['nanosleep', 'futex', 'poll', 'read', 'stopped']) {
    it(`is served for a child in ${act}, which then does what it does after a dump under scope 0`, async () => {
      const since = cursor();
      const lines = kin(act);
      assert.match(lines.join(), /dump 0 errno 0/);
      assert.match(lines.join(), /child 0 errno 0/);
      const [end] = await records(
        1,
        `--after-cursor=${since}`,
        'CRIU_RESULT=done',
        'CRIU_CONSENT=descendant',
      );
      assert.match(end!.MESSAGE!, /DUMP/);
      // CRIU itself ends some calls with EINTR (get_task_regs in its compel/arch/x86).
      writeFileSync(knob, '0');
      assert.deepEqual(lines.sort(), kin(act).sort());
    });
  }

  it('is served for a tree of 200 processes', async () => {
    assert.deepEqual(kin('read', 200), ['dump 0 errno 0', 'read 1 errno 0', 'child 0 errno 0']);
  });

  it('ends a child, and takes its processes along', async () => {
    // SIGKILL, which is how CRIU ends a tree.
    assert.deepEqual(kin('gone', 3), ['dump 0 errno 0', 'child 9 errno 0']);
  });

  it('is served for the process that asks', async () => {
    const count = join(directoryOf('alice'), 'count');
    const result = join(directoryOf('alice'), 'result');
    const [file, ...argv] = as('alice');
    const pid = run(
      file!,
      ...argv,
      ...[binary('self-dump'), ourAddress, directoryOf('alice'), result, count, 'leave-running'],
    );
    const target = new Target(Number(pid), count);
    await eventually('it reports', () => existsSync(result) && readFileSync(result, 'utf8').endsWith('\n'));
    assert.equal(readFileSync(result, 'utf8'), 'dump 0 errno 0\n');
    await target.assertCountsOn();
    await records(1, 'CRIU_RESULT=done', 'CRIU_CONSENT=self');
  });

  it('is served for a process that has named anybody, and again after its restore', async () => {
    const count = join(directoryOf('alice'), 'count');
    const [file, ...argv] = as('alice');
    const target = new Target(Number(run(file!, ...argv, binary('kin'), count, 'anybody')), count);
    const images = directoryOf('alice');
    must(criuctlAs('alice', 'dump', String(target.pid), '-D', images, '--leave-running'));
    await target.assertCountsOn();
    await records(1, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_CONSENT=named');
    // The name of anybody is still there.
    must(criuctlAs('alice', 'dump', String(target.pid), '-D', directoryOf('alice'), '--leave-running'));
    must(criuctlAs('alice', 'dump', String(target.pid), '-D', images, '--replace'));
    await target.assertGone();
    // A restored process has named nobody.
    for (let round = 1; round <= 2; round += 1) {
      must(criuctlAs('alice', 'restore', '-D', images));
      await target.assertCountsOn();
      must(criuctlAs('alice', 'dump', String(target.pid), '-D', images, '--replace'));
      await target.assertGone();
    }
    await records(2, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_CONSENT=restored');
    // Each round has an engine of its own, which the process names.
    must(criuctlAs('alice', 'restore', '-D', images));
    must(criuctlAs('alice', 'dump', String(target.pid), '-D', images, '--live', '--replace'));
    await target.assertGone();
    await records(1, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_REQUEST=PRE_DUMP', 'CRIU_CONSENT=restored');
  });

  it('is refused for a process that is no relative, and has named nobody: it runs on', async () => {
    const target = startCounting('alice', [], binary('counter'));
    const images = directoryOf('alice');
    const refused = criuctlAs('alice', 'dump', String(target.pid), '-D', images);
    failed(refused, 3, /ptrace_scope is 1.*PR_SET_PTRACER.*an administrator can set it to 0/);
    await target.assertCountsOn();
    await records(1, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_RESULT=refused');
  });

  it('is refused if the connection of another program is used: that program’s child runs on', async () => {
    const [file, ...argv] = as('alice');
    const said = run(file!, ...argv, 'python3', '-c', onAnothersConnection, ourAddress);
    const [reply, state] = said.trim().split(' ');
    const decoded = decodeResponse(Buffer.from(reply!, 'hex'), 'lenient');
    assert.ok(decoded.kind === 'response', said);
    assert.equal(decoded.message.success, false);
    assert.match(decoded.message.cr_errmsg ?? '', /the process that made this connection must send/);
    assert.equal(state, 'S');
  });

  it('is refused for a child of a program that starts the drop-in criu, which is the caller, unless the child has named anybody', async () => {
    const dropIn = '/usr/lib/criu-service/bin/criu';
    const said = [[ourAddress], [dropIn], [dropIn, 'named']].map(([server, ...flags]) => {
      const { success, runs_on, cr_errmsg } = pycriuBy<{
        success: boolean;
        runs_on: boolean;
        cr_errmsg: string;
      }>(server!, as('alice'), 'own_child', directoryOf('alice'), ...flags);
      assert.equal(runs_on, true);
      return success || cr_errmsg;
    });
    assert.deepEqual([said[0], said[2]], [true, true]);
    assert.match(
      `${said[1]}`,
      /ptrace_scope is 1.* is not one of the calling process, has not named anybody/,
    );
  });

  it('is refused for a process of hers in a tree that another user has restored', async () => {
    const images = directoryOf('bob');
    writeFileSync(knob, '0');
    const bobs = targetOf('bob');
    must(criuctlAs('bob', 'dump', String(bobs.pid), '-D', images));
    await bobs.assertGone();
    must(criuctlAs('bob', 'restore', '-D', images));
    writeFileSync(knob, '1');
    const target = startCounting('alice', [], binary('counter'));
    const [, cgroup] = /^0::(.*)$/m.exec(readFileSync(`/proc/${bobs.pid}/cgroup`, 'latin1'))!;
    writeFileSync(`/sys/fs/cgroup${cgroup}/cgroup.procs`, String(target.pid));
    const refused = criuctlAs('alice', 'dump', String(target.pid), '-D', directoryOf('alice'));
    failed(refused, 3, /was not restored by this service/);
    await target.assertCountsOn();
  });

  it('is refused for a child that is not dumpable, or has a filter, with a sentence', async () => {
    for (const [act, sentence] of [
      ['not-dumpable', /is not dumpable/],
      ['filter', /seccomp/],
    ] as const) {
      const since = cursor();
      const lines = kin(act);
      assert.match(lines[0]!, /^dump -/);
      assert.deepEqual(lines.slice(1), [`${act} 1 errno 0`, 'child 0 errno 0']);
      const [end] = await records(1, `--after-cursor=${since}`, 'CRIU_RESULT=refused');
      assert.match(end!.MESSAGE!, sentence);
    }
  });

  it('is served for every process of hers with --yama=own, and marked', async () => {
    const target = startCounting('alice', [], binary('counter'));
    const service = await Instance.start('--yama', 'own');
    try {
      const images = directoryOf('alice');
      must(criuctlAs('alice', 'dump', String(target.pid), '-D', images, '--service', service.address));
      await target.assertGone();
      const told = (): Entry[] =>
        journalOf(service.unit, `CRIU_TARGET_PID=${target.pid}`, 'CRIU_CONSENT=own');
      await eventually('it is told', () => told().length === 1);
      assert.match(told()[0]!.MESSAGE!, /done .*allowed by --yama=own/);
    } finally {
      service.stop();
    }
  });

  it('is refused for every process of hers with --yama=none, also for a child', async () => {
    const service = await Instance.start('--yama', 'none');
    try {
      assert.match(kin('read', 0, service.address)[0]!, /^dump -/);
    } finally {
      service.stop();
    }
  });

  it('is refused under scope 2, also for a child', async () => {
    writeFileSync(knob, '2');
    assert.match(kin('read')[0]!, /^dump -/);
  });
});
