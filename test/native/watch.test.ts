import { strict as assert } from 'node:assert';
import { native, type SeqpacketSocket, Watch } from '../../src/native/binding.ts';
import { recv } from './fixtures/blocking.ts';
import {
  collect,
  collectUntil,
  connectedPair,
  countFds,
  isNonBlocking,
  isOnEventLoop,
  isOpen,
  noMoreFdsThan,
  requireArgumentError,
  requireNoLeak,
  runFixture,
  turnLoop,
} from './support.ts';

/** The events of the next callback; the watch ends with it. */
function nextEvents(socket: SeqpacketSocket, events: number): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.watch(events, (came, error) => {
      socket.watch(0);
      if (error) reject(error);
      else resolve(came);
    });
  });
}

describe('watch', () => {
  it('reports the events of a socket: readable, writable, disconnect', async () => {
    const { near, far } = connectedPair();
    assert.equal(await nextEvents(near, Watch.readable | Watch.writable), Watch.writable);
    far.send(Buffer.of(1));
    assert.equal(await nextEvents(near, Watch.readable | Watch.disconnect), Watch.readable);
    near.receive(1);
    far.close();
    assert.equal(await nextEvents(near, Watch.disconnect), Watch.disconnect);
    assert.equal(
      await nextEvents(near, Watch.readable | Watch.disconnect),
      Watch.readable | Watch.disconnect,
    );
    near.close();
  });

  it('is level-triggered: an unread packet is reported again', async () => {
    const { near, far } = connectedPair();
    let calls = 0;
    far.send(Buffer.of(1));
    await new Promise<void>((resolve) => {
      near.watch(Watch.readable, () => {
        calls += 1;
        if (calls === 3) resolve();
      });
    });
    near.watch(0);
    await turnLoop();
    assert.equal(calls, 3);
    assert.ok(!isOnEventLoop(near.fd), 'a stopped watch leaves the epoll set at once');
    near.close();
    far.close();
  });

  it('has one callback: a second call replaces the first', async () => {
    const { near, far } = connectedPair();
    far.send(Buffer.of(1));
    near.watch(Watch.readable, () => assert.fail('replaced'));
    assert.equal(await nextEvents(near, Watch.readable), Watch.readable);
    near.close();
    far.close();
  });

  it('lets the callback close the socket, or give it away', async () => {
    const closed = connectedPair();
    closed.far.send(Buffer.of(1));
    await new Promise<void>((resolve) => {
      closed.near.watch(Watch.readable, () => {
        closed.near.close();
        resolve();
      });
    });
    closed.far.close();
    const released = connectedPair();
    released.far.send(Buffer.of(1));
    const fd = await new Promise<ReturnType<SeqpacketSocket['release']>>((resolve) => {
      released.near.watch(Watch.readable, () => resolve(released.near.release()));
    });
    assert.equal(recv(fd), '\u0001');
    fd.close();
    released.far.close();
  });

  it('runs microtasks and nextTick after each callback, before the next', async () => {
    const first = connectedPair();
    const second = connectedPair();
    const order: string[] = [];
    first.far.send(Buffer.of(1));
    second.far.send(Buffer.of(1));
    await new Promise<void>((resolve) => {
      for (const { near } of [first, second]) {
        near.watch(Watch.readable, () => {
          near.watch(0);
          order.push('callback');
          process.nextTick(() => order.push('tick'));
          Promise.resolve().then(() => {
            order.push('microtask');
            if (order.length === 6) resolve();
          });
        });
      }
    });
    assert.deepEqual(order, ['callback', 'tick', 'microtask', 'callback', 'tick', 'microtask']);
    for (const { near, far } of [first, second]) {
      near.close();
      far.close();
    }
  });

  it('reports the hang-up, and no error, of a peer that left our packets unread', async () => {
    const { near, far } = connectedPair();
    near.send(Buffer.from('never read'));
    far.send(Buffer.from('answer'));
    far.close(); // POLLERR: libuv stops such a poll and says EBADF.
    assert.equal(
      await nextEvents(near, Watch.readable | Watch.disconnect),
      Watch.readable | Watch.disconnect,
    );
    assert.equal(near.receive(10)?.data.toString(), 'answer');
    assert.deepEqual(near.peek(1), { kind: 'end' });
    near.close();
  });

  it('refuses unknown bits, and a missing callback', () => {
    const { near, far } = connectedPair();
    requireArgumentError(() => near.watch(8, () => undefined), 'events');
    requireArgumentError(() => near.watch(-1, () => undefined), 'events');
    requireArgumentError(() => near.watch(Watch.readable), 'callback');
    near.watch(0);
    near.close();
    far.close();
  });

  it('keeps a watched socket alive, and no other', async () => {
    await collect();
    const before = countFds();
    const watched = (() => {
      const { ours, theirs } = native.socketpair();
      return {
        theirs,
        called: new Promise<string>((resolve) => {
          ours.watch(Watch.readable, () => {
            resolve(ours.receive(10)!.data.toString());
            ours.watch(0);
          });
        }),
      };
    })();
    const far = native.adopt(watched.theirs);
    await collect();
    far.send(Buffer.from('alive'));
    assert.equal(await watched.called, 'alive');
    // Forgotten and unwatched now, with its poll handle.
    assert.ok(await collectUntil(() => far.peek(1).kind === 'end'));
    far.close();
    await noMoreFdsThan(before);
  });

  it('survives thousands of sockets that are made, watched and closed in one turn of the loop', async () => {
    requireNoLeak(() => {
      const { near, far } = connectedPair();
      near.watch(Watch.readable | Watch.disconnect, () => assert.fail('closed before'));
      far.send(Buffer.of(1));
      near.close();
      far.close();
    }, 2000);
    await turnLoop();
  });
});

describe('release', () => {
  it('gives the fd away blocking and off the event loop', async () => {
    const { near, far } = connectedPair();
    far.send(Buffer.of(1));
    await nextEvents(near, Watch.readable);
    near.watch(Watch.readable, () => assert.fail('released'));
    await turnLoop(0);
    const { fd } = near;
    assert.ok(isNonBlocking(fd), 'uv_poll_init has set it');
    const released = near.release();
    assert.equal(near.fd, -1);
    assert.equal(released.number, fd);
    assert.ok(!isNonBlocking(fd));
    assert.ok(!isOnEventLoop(fd));
    await turnLoop();
    near.close();
    assert.ok(isOpen(fd), 'close() after release() does not touch it');
    released.close();
    far.close();
  });

  it('lets a process with the fd wait in recv(2), as CRIU does', async () => {
    const { near, far } = connectedPair();
    await nextEvents(near, Watch.writable);
    const { near: barrier, far: child } = connectedPair();
    const fd = near.release();
    const childEnd = child.release();
    const engine = native.spawn({
      file: '/usr/bin/env',
      argv: [
        'env',
        'python3',
        '-c',
        'import socket\nbarrier = socket.socket(fileno=1)\nbarrier.send(b"ready")\nbarrier.send(socket.socket(fileno=0).recv(10))',
      ],
      env: [`PATH=${process.env.PATH}`],
      fds: [
        { source: fd, target: 0 },
        { source: childEnd, target: 1 },
      ],
    });
    await nextEvents(barrier, Watch.readable);
    assert.equal(barrier.receive(10)?.data.toString(), 'ready');
    far.send(Buffer.from('late'));
    await nextEvents(barrier, Watch.readable);
    assert.equal(barrier.receive(10)?.data.toString(), 'late');
    await new Promise((resolve) => engine.onExit(resolve));
    for (const closable of [fd, childEnd, far, barrier, engine]) closable.close();
  });

  it('lets the same fd be adopted and watched again', async () => {
    const { near, far } = connectedPair();
    far.send(Buffer.of(1));
    await nextEvents(near, Watch.readable);
    const again = native.adopt(near.release());
    assert.equal(await nextEvents(again, Watch.readable), Watch.readable);
    again.close();
    far.close();
  });
});

describe('an ending environment', () => {
  it('with watched sockets and processes ends cleanly: process.exit()', () => {
    const { status, signal, stderr } = runFixture('end-with-watches.ts', 'exit');
    assert.equal(stderr, '');
    assert.deepEqual({ status, signal }, { status: 7, signal: null });
  });

  it('with watched sockets and processes ends cleanly: a terminated worker, and a worker that exits by itself', () => {
    const { status, signal, stdout, stderr } = runFixture('end-with-watches.ts', 'workers');
    assert.equal(stderr, '');
    assert.deepEqual({ status, signal }, { status: 0, signal: null });
    assert.equal(stdout, 'no descriptor left\n');
  });

  it('ends in spite of sockets that are not watched', () => {
    const { status, stdout } = runFixture('end-with-watches.ts', 'idle');
    assert.deepEqual({ status, stdout }, { status: 0, stdout: 'idle\n' });
  });

  it('turns an exception of a callback into an uncaught exception', () => {
    const { status, stdout } = runFixture('end-with-watches.ts', 'throw');
    assert.deepEqual({ status, stdout }, { status: 0, stdout: 'uncaught: socket\nuncaught: process\n' });
  });
});
