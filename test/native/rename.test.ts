import { strict as assert } from 'node:assert';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../../src/native/binding.ts';
import { requireArgumentError, withDirectory } from './support.ts';

describe('exchange', () => {
  it('exchanges two directories with all that is in them', () => {
    withDirectory((directory) => {
      const [one, other] = [join(directory, 'one'), join(directory, 'other')];
      for (const each of [one, other]) {
        mkdirSync(each);
        writeFileSync(join(each, 'name'), each);
      }
      native.exchange(one, other);
      assert.equal(readFileSync(join(one, 'name'), 'utf8'), other);
      assert.equal(readFileSync(join(other, 'name'), 'utf8'), one);
    });
  });

  it('fails with the errno of the kernel, and leaves both as they are', () => {
    withDirectory((directory) => {
      const one = join(directory, 'one');
      writeFileSync(one, 'one');
      assert.throws(() => native.exchange(one, join(directory, 'none')), {
        code: 'ENOENT',
        syscall: 'renameat2',
      });
      assert.deepEqual(readdirSync(directory), ['one']);
      requireArgumentError(() => native.exchange(one, undefined as never), 'other');
    });
  });
});
