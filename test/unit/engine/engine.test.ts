import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants as os } from 'node:os';
import { Engine } from '../../../src/engine/engine.ts';
import { sleepsOn } from '../../../src/engine/sleeping.ts';
import { StderrFile } from '../../../src/engine/stderr-file.ts';
import { native, type SeqpacketSocket } from '../../../src/socket/binding.ts';

/** At work until something comes on its standard input; then it answers, and waits for the next request. */
const work = `
  const { readSync, writeSync } = require('node:fs');
  readSync(0, Buffer.alloc(1));
  writeSync(3, 'the answer');
  readSync(3, Buffer.alloc(1));
`;

describe('an engine that may have its request', () => {
  it('is not taken for one without when it answers, and waits for the next, between two looks', async () => {
    const input = native.socketpair();
    const connection = native.socketpair();
    const engineProcess = native.spawn({
      file: process.execPath,
      argv: ['node', '-e', work],
      env: [],
      fds: [
        { source: input.theirs, target: 0 },
        { source: connection.theirs, target: 3 },
      ],
    });
    const { pid } = engineProcess;
    while (!sleepsOn(pid, 0));
    let between = () => {};
    const socket: Partial<SeqpacketSocket> = {
      watch() {},
      close() {},
      peek(limit) {
        const seen = connection.ours.peek(limit);
        between();
        return seen;
      },
    };
    let waits: boolean | undefined;
    await new Promise<void>((resolve) => {
      const events = { onMessage() {}, onHangup() {}, onEnd: () => resolve() };
      const engine = new Engine(
        engineProcess,
        socket as SeqpacketSocket,
        new StderrFile('criu-stderr'),
        events,
      );
      between = () => {
        input.ours.send(Buffer.from('\n'));
        while (!sleepsOn(pid, 3));
      };
      waits = engine.sleepsReading;
      between = () => {};
      input.ours.send(Buffer.from('\n'));
      connection.ours.send(Buffer.from('\n'));
    });
    assert.equal(waits, false);
    for (const each of [input.ours, input.theirs, connection.ours, connection.theirs]) each.close();
  });

  it('is not looked at when it has said something, or has left: its pid may be somebody else’s by then', async () => {
    // Before there is a connection: a child has a copy of every descriptor for a moment after it has let us go on.
    const engineProcess = native.spawn({ file: '/bin/sleep', argv: ['sleep', '60'], env: [], fds: [] });
    const { ours, theirs } = native.socketpair();
    const peer = native.adopt(theirs);
    const end = new Promise<void>((resolve) => {
      const events = { onMessage() {}, onHangup() {}, onEnd: () => resolve() };
      const engine = new Engine(engineProcess, ours, new StderrFile('criu-stderr'), events);
      const { readFileSync } = fs;
      let looks = 0;
      fs.readFileSync = () => {
        looks += 1;
        throw Object.assign(new Error('must not be read'), { code: 'EPERM' });
      };
      syncBuiltinESMExports();
      try {
        assert.deepEqual([engine.sleepsReading, looks], [undefined, 1]);
        peer.send(Buffer.from('the answer'));
        assert.deepEqual([engine.sleepsReading, looks], [false, 1]);
        ours.receive(16);
        peer.close();
        assert.deepEqual([engine.sleepsReading, looks], [false, 1]);
      } finally {
        fs.readFileSync = readFileSync;
        syncBuiltinESMExports();
        engineProcess.signal(os.signals.SIGKILL);
      }
    });
    await end;
  });
});

describe('a message of an engine', () => {
  it('stays in its queue until it has been dealt with, however long that takes', async () => {
    const { ours, theirs } = native.socketpair();
    const engineProcess = native.spawn({
      file: process.execPath,
      argv: ['node', '-e', `require('node:fs').writeSync(3, 'one'); require('node:fs').writeSync(3, 'two');`],
      env: [],
      fds: [{ source: theirs, target: 3 }],
    });
    const heard: string[] = [];
    const inQueue = (): string => {
      const head = ours.peek(100);
      return head.kind === 'packet' ? `${head.data}` : head.kind;
    };
    await new Promise<void>((resolve) => {
      const engine: Engine = new Engine(engineProcess, ours, new StderrFile('criu-stderr'), {
        onMessage({ data }) {
          heard.push(`${data}`);
          setTimeout(() => {
            heard.push(inQueue());
            engine.resume();
          }, 50);
        },
        onHangup() {},
        onEnd: () => resolve(),
      });
    });
    assert.deepEqual(heard, ['one', 'one', 'two', 'two']);
    theirs.close();
  });
});
