import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants as os } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ConfinedEngineEvents, Engine } from '../../../src/engine/engine.ts';
import { StderrFile } from '../../../src/engine/stderr-file.ts';
import { native, type Packet, type SeqpacketSocket } from '../../../src/native/binding.ts';
import { sleepsOn } from '../../../src/proc/sleeping.ts';
import { threadsAreInClose } from '../../native/support.ts';

/** Works until a byte arrives on its standard input; then it answers, and waits for the next request. */
const work = `
  const { readSync, writeSync } = require('node:fs');
  readSync(0, Buffer.alloc(1));
  writeSync(3, 'the answer');
  readSync(3, Buffer.alloc(1));
`;

describe('Engine.sleepsReading', () => {
  it('is false if the engine answers, and waits for the next request, between the two checks', async () => {
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
      shutdown() {},
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

  it('reads nothing of /proc if the engine has spoken or exited, because its pid may belong to another process', async () => {
    // Create the child before the connection: for a moment after spawn() returns, a child has a copy of every descriptor.
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

describe('the end of an engine', () => {
  it('is told although a copy of its connection always has another message', async () => {
    const engineProcess = native.spawn({ file: '/bin/sleep', argv: ['sleep', '60'], env: [], fds: [] });
    const { ours, theirs } = native.socketpair();
    const copy = native.adopt(theirs);
    const most = 10_000;
    let messages = 0;
    await new Promise<void>((resolve) => {
      const onMessage = (): void => {
        messages += 1;
        if (messages === 1) engineProcess.signal(os.signals.SIGKILL);
        try {
          if (messages < most) copy.send(Buffer.from('another'));
        } catch {
          // The connection takes no more.
        }
        engine.resume();
      };
      const events = { onMessage, onHangup() {}, onEnd: () => resolve() };
      const engine = new Engine(engineProcess, ours, new StderrFile('criu-stderr'), events);
      copy.send(Buffer.from('the first'));
    });
    assert.ok(messages > 0 && messages < most, `${messages} messages`);
    copy.close();
  });
});

describe('a message of an engine', () => {
  it('stays in its queue until its owner is done with it, however long that takes', async () => {
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

describe('a descriptor that a confined engine sends', () => {
  const lingering = fileURLToPath(new URL('../../native/fixtures/lingering.py', import.meta.url));
  const started: (() => void)[] = [];
  afterEach(async () => {
    for (const end of started.splice(0)) end();
    await threadsAreInClose(0);
  });

  /** Records the events of an engine until it ends. The messages come from a child that `hasSent`, or from the test. */
  async function heardOf(argv: readonly string[], expects: boolean, hasSent = false) {
    const { ours, theirs } = native.socketpair();
    const input = native.socketpair();
    const engineProcess = native.spawn({
      file: '/usr/bin/env',
      argv: ['env', ...argv],
      env: [`PATH=${process.env.PATH}`],
      fds: [
        { source: input.theirs, target: 0 },
        { source: input.theirs, target: 1 },
        { source: theirs, target: 3 },
      ],
    });
    input.theirs.close();
    const peer = native.adopt(theirs);
    started.push(() => input.ours.close());
    // A child that has sent the descriptor closes its own copy and then writes a byte; from then on, the queue has the only copy.
    while (hasSent && input.ours.peek(100).kind === 'nothing') await sleep(10);
    const heard: (string | Packet)[] = [];
    let onHeard = () => {};
    const tell = (what: string | Packet) => {
      heard.push(what);
      onHeard();
    };
    const events: ConfinedEngineEvents = {
      onMessage: tell,
      onHangup: () => tell('hang-up'),
      expectsTerminal: (message) => expects && `${message}` === 'terminal',
      onLie: (reason) => tell(reason),
      onEnd: () => tell('end'),
    };
    const engine = new Engine(engineProcess, ours, new StderrFile('criu-stderr'), events, 3, events);
    const next = () =>
      new Promise<string | Packet>((resolve) => {
        onHeard = () => resolve(heard.at(-1)!);
      });
    return { engine, peer, ours, heard, next };
  }

  it('is closed on a thread of its own if its close lingers, and ends the connection', async () => {
    for (const expects of [false, true]) {
      const { peer, ours, next } = await heardOf(
        ['python3', lingering, Buffer.from('terminal').toString('hex')],
        expects,
        true,
      );
      peer.close();
      assert.equal(await next(), 'sent a descriptor that is not due');
      assert.equal(ours.fd, -1);
      // Another thread is closing it, for as long as the engine lives.
      await threadsAreInClose(1);
      for (const end of started.splice(0)) end();
      await threadsAreInClose(0);
    }
  });

  it('is passed on if it is the expected terminal, and closed on another thread', async () => {
    const { peer, next } = await heardOf(['cat'], true);
    const master = native.open('/dev/ptmx', fs.constants.O_RDWR | fs.constants.O_NOCTTY);
    peer.send(Buffer.from('terminal'), [master]);
    const message = (await next()) as Packet;
    assert.equal(`${message.data}`, 'terminal');
    assert.equal(message.fds.length, 1);
    assert.equal(fs.fstatSync(message.fds[0]!.number).rdev, fs.fstatSync(master.number).rdev);
    message.fds[0]!.close();
    peer.close();
    master.close();
  });

  for (const [what, text, expects, sent] of [
    ['an unexpected terminal', 'terminal', false, ['/dev/ptmx']],
    ['a terminal with another message', 'other', true, ['/dev/ptmx']],
    ['a file that is no terminal', 'terminal', true, ['/dev/null']],
    ['a terminal and another descriptor', 'terminal', true, ['/dev/ptmx', '/dev/ptmx']],
  ] as const) {
    it(`ends the connection: ${what}`, async () => {
      const { peer, heard, next } = await heardOf(['cat'], expects);
      const fds = sent.map((path) => native.open(path, fs.constants.O_RDWR | fs.constants.O_NOCTTY));
      peer.send(Buffer.from(text), fds);
      assert.equal(await next(), 'sent a descriptor that is not due');
      assert.equal(heard.length, 1);
      assert.throws(() => peer.send(Buffer.from('more')), /Broken pipe|Connection reset/);
      for (const closable of [peer, ...fds]) closable.close();
    });
  }

  it('leaves an earlier message valid', async () => {
    const { engine, peer, next } = await heardOf(['cat'], false);
    const null_ = native.open('/dev/null', fs.constants.O_RDWR);
    peer.send(Buffer.from('first'));
    assert.equal(`${((await next()) as Packet).data}`, 'first');
    peer.send(Buffer.from('second'), [null_]);
    const lie = next();
    engine.resume();
    assert.equal(await lie, 'sent a descriptor that is not due');
    peer.close();
    null_.close();
  });
});
