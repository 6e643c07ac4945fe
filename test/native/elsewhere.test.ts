import { strict as assert } from 'node:assert';
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants as os } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { native, type ProcQuestion } from '../../src/socket/binding.ts';
import { collect, countFds, isOpen, openNull, requireArgumentError } from './support.ts';

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY;

describe('what is read on another thread', () => {
  it('is what the same questions are answered with here', async () => {
    const self = native.open('/proc/self', directoryFlags);
    const questions: ProcQuestion[] = [
      { read: 'file', path: 'auxv' },
      { read: 'link', path: 'ns/user' },
      { read: 'names', path: 'ns' },
      { read: 'mount', path: 'root' },
    ];
    const [auxv, user, ns, root] = (await native.readElsewhere(self, questions)) as string[];
    self.close();
    assert.equal(auxv, readFileSync('/proc/self/auxv', 'latin1'));
    assert.equal(user, readlinkSync('/proc/self/ns/user'));
    assert.deepEqual(ns!.split('\n').slice(0, -1).sort(), readdirSync('/proc/self/ns').sort());
    assert.match(root!, /^\/\n(.*\n)*mnt_id:\t\d+$/m);
  });

  it('is an errno where there is no answer, and the next question is answered all the same', async () => {
    const directory = native.open('/proc/self', directoryFlags);
    const answers = await native.readElsewhere(directory, [
      { read: 'file', path: 'nothing' },
      { read: 'link', path: 'status' },
      { read: 'names', path: 'status' },
      { read: 'mount', path: 'exe' },
      { read: 'file', path: 'comm' },
    ]);
    directory.close();
    const { ENOENT, EINVAL, ENOTDIR } = os.errno;
    assert.deepEqual(answers, [ENOENT, EINVAL, ENOTDIR, ENOTDIR, readFileSync('/proc/self/comm', 'latin1')]);
  });

  it('outlives the directory that it was asked for, and leaves no descriptor', async () => {
    await collect();
    const before = countFds();
    for (let round = 0; round < 50; round += 1) {
      const directory = native.open('/proc/self', directoryFlags);
      const reading = native.readElsewhere(directory, [{ read: 'file', path: 'comm' }]);
      directory.close();
      assert.equal(typeof (await reading)[0], 'string');
    }
    assert.equal(countFds(), before);
  });

  it('wants questions that it knows', () => {
    const directory = openNull();
    const ask = (question: unknown) => () => native.readElsewhere(directory, [question as ProcQuestion]);
    requireArgumentError(ask({ read: 'all', path: 'x' }), 'questions[0].read');
    requireArgumentError(ask({ read: 'file' }), 'questions[0].path');
    requireArgumentError(ask('status'), 'questions[0]');
    directory.close();
  });
});

describe('what is closed on another thread', () => {
  it('is closed, whatever lane it is in', async () => {
    const fds = Array.from({ length: 20 }, () => openNull());
    const numbers = fds.map((fd) => fd.number);
    fds.forEach((fd, i) => {
      native.closeElsewhere(fd, i % 3);
    });
    assert.ok(fds.every((fd) => fd.number === -1));
    for (let tries = 0; native.pendingCloses() > 0; tries += 1) {
      assert.ok(tries < 1000, `${native.pendingCloses()} are still open`);
      await sleep(1);
    }
    assert.deepEqual(numbers.filter(isOpen), []);
  });

  it('wants a lane', () => {
    const fd = openNull();
    requireArgumentError(() => native.closeElsewhere(fd, -1), 'lane');
    assert.ok(isOpen(fd.number));
    fd.close();
  });
});
