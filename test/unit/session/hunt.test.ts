import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { Found, SeenProcess } from '../../../src/proc/holders.ts';
import { statOf } from '../../../src/proc/stat.ts';
import { endAll, type Hunt, kill } from '../../../src/session/trees/hunt.ts';

const thread = {
  tid: 1,
  state: 'S',
  tracer: 0,
  uids: [1500, 1500, 1500, 1500],
  gids: [1500, 1500, 1500, 1500],
  inheritable: 0n,
  permitted: 0n,
  effective: 0n,
  ambient: 0n,
};

const process7 = (pid: number, cgroup = '/hideout'): Found => ({
  pid,
  uid: 1500,
  start: pid * 10,
  session: 7,
  cgroup,
  seen: thread,
});

/** A model of a machine with hiding processes. */
class World implements Hunt {
  /** The processes. */
  readonly there = new Map<number, Found>();
  readonly ended: number[] = [];
  readonly frozen = new Set<string>();
  /** Every cgroup that was ever frozen. */
  readonly everFrozen: string[] = [];
  thaws = 0;
  looks = 0;
  /** True if processes are born during each look. */
  busy = false;
  unknown: SeenProcess[] = [];
  /** Changes the world at the begin of each look. */
  beforeLook: () => void = () => {};
  refuses = false;
  /** The limit of the list of one look. */
  most = 4096;

  async look() {
    this.looks += 1;
    this.beforeLook();
    const found = [...this.there.values()].slice(0, this.most);
    return { found, unknown: this.unknown, quiet: !this.busy, cut: found.length < this.there.size };
  }

  async choose(found: readonly Found[]) {
    return found.filter(({ seen }) => seen.permitted === 0n);
  }

  readonly freezer = {
    freezeAround: async (cgroup: string, uid: number) => {
      assert.equal(uid, 1500);
      this.everFrozen.push(cgroup);
      this.frozen.add(cgroup);
      return true;
    },
    thaw: () => {
      this.thaws += 1;
      this.frozen.clear();
    },
  };

  end({ pid }: Found): boolean {
    if (this.refuses) throw new Error('too many descriptors');
    this.ended.push(pid);
    return this.there.delete(pid);
  }
}

describe('a hunt', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  it('is one look without a freeze, if nothing is found and no process is born', async () => {
    assert.deepEqual(await endAll(world), { ended: [], unknown: [] });
    assert.deepEqual([world.looks, world.everFrozen, world.thaws], [1, [], 0]);
  });

  it('looks repeatedly while processes are born, without a freeze', async () => {
    world.busy = true;
    assert.deepEqual(await endAll(world), { ended: [], unknown: [] });
    assert.equal(world.looks, 16);
    assert.deepEqual(world.everFrozen, []);
  });

  it('freezes what it finds, kills it, and thaws the rest', async () => {
    world.there.set(3, process7(3));
    world.there.set(4, { ...process7(4, '/elsewhere'), seen: { ...thread, permitted: 1n } });
    const { ended, unknown } = await endAll(world);
    assert.deepEqual(
      [ended.map(({ pid }) => pid), unknown, world.ended, [...world.there.keys()]],
      [[3], [], [3], [4]],
    );
    assert.deepEqual([...new Set(world.everFrozen)], ['/hideout']);
    assert.deepEqual([world.thaws, world.frozen.size], [1, 0]);
  });

  it('kills a process that forks faster than it is read', async () => {
    let next = 100;
    world.there.set(next, process7(next));
    world.busy = true;
    world.beforeLook = () => {
      if (world.frozen.has('/hideout')) return;
      // Each look meets another process, and most looks miss it.
      world.there.clear();
      next += 1;
      if (next % 5 === 0) world.there.set(next, process7(next));
    };
    // A frozen process stays the same.
    const { freezeAround } = world.freezer;
    world.freezer.freezeAround = async (cgroup, uid) => {
      if (!world.frozen.has(cgroup)) world.there.set(next, process7(next));
      return freezeAround(cgroup, uid);
    };
    await endAll(world);
    assert.deepEqual([[...world.there.keys()], world.ended], [[], [next]]);
  });

  it('kills a process that moves from unit to unit', async () => {
    const units = ['/one', '/two', '/three'];
    world.there.set(3, process7(3, units[0]));
    world.beforeLook = () => {
      const free = units.filter((unit) => !world.frozen.has(unit));
      if (world.there.has(3) && free.length > 0) world.there.set(3, process7(3, free[0]));
    };
    world.end = ({ pid, cgroup }) => {
      // Outside a frozen cgroup the pid belongs to another process by then.
      return world.frozen.has(cgroup) && world.there.delete(pid);
    };
    await endAll(world);
    assert.deepEqual([...world.there.keys()], []);
    assert.deepEqual([...new Set(world.everFrozen)].sort(), [...units].sort());
    assert.equal(world.frozen.size, 0);
  });

  it('freezes an unsettled process, looks at it, and thaws it if it is innocent', async () => {
    world.busy = true;
    world.unknown = [{ ...process7(5), seen: 'unsettled' }];
    world.beforeLook = () => {
      if (world.frozen.has('/hideout')) world.unknown = [];
    };
    assert.deepEqual(await endAll(world), { ended: [], unknown: [] });
    assert.deepEqual([...new Set(world.everFrozen)], ['/hideout']);
    assert.equal(world.frozen.size, 0);
  });

  it('does not report an unsettled process that ended while no process was born', async () => {
    world.unknown = [{ ...process7(5), seen: 'unsettled' }];
    assert.deepEqual(await endAll(world), { ended: [], unknown: [] });
    assert.deepEqual(world.everFrozen, []);
  });

  it('reports processes that it cannot read, that never settle, and that it cannot kill', async () => {
    world.unknown = [{ ...process7(5), seen: { errno: 5 } }];
    assert.deepEqual((await endAll(world)).unknown, world.unknown);
    assert.deepEqual(world.everFrozen, [], 'nobody is frozen for what can never be read');
    world.busy = true;
    world.unknown = [{ ...process7(5), seen: 'unsettled' }];
    assert.deepEqual((await endAll(world)).unknown, world.unknown);
    world = new World();
    world.refuses = true;
    world.there.set(3, process7(3));
    const { ended, unknown } = await endAll(world);
    assert.deepEqual([ended, unknown.map(({ pid }) => pid), world.frozen.size], [[], [3], 0]);
  });

  it('kills more processes than one look lists', async () => {
    world.most = 2;
    for (let pid = 1; pid <= 9; pid += 1) world.there.set(pid, process7(pid));
    assert.equal((await endAll(world)).ended.length, 9);
  });

  it('fails if innocent processes fill the list and hide others', async () => {
    world.most = 2;
    for (let pid = 1; pid <= 3; pid += 1)
      world.there.set(pid, { ...process7(pid), seen: { ...thread, permitted: 1n } });
    await assert.rejects(endAll(world), /more processes/);
  });

  it('thaws everything if a look fails', async () => {
    world.there.set(3, process7(3));
    world.beforeLook = () => {
      if (world.frozen.size > 0) throw new Error('no descriptor is left');
    };
    await assert.rejects(endAll(world), /no descriptor/);
    assert.deepEqual([world.thaws, world.frozen.size], [1, 0]);
  });

  it('kills a process, and spares a process that has reused its pid', async () => {
    const child = spawn('sleep', ['60']);
    const pid = child.pid!;
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    const start = Number(statOf(pid)?.start);
    assert.equal(kill({ ...process7(pid), start: start + 1 }), false);
    assert.equal(child.exitCode ?? child.signalCode, null);
    assert.equal(kill({ ...process7(pid), start }), true);
    assert.equal(await ended, 'SIGKILL');
    assert.equal(kill({ ...process7(2 ** 22), start }), false);
  });
});
