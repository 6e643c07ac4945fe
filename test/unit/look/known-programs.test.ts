import assert from 'node:assert/strict';
import { type KnownBy, knownFault } from '../../../src/look/known-programs.ts';

const plain: KnownBy = { name: 'sh', hasMaster: false, noNewPrivs: false, linux: '6.12.1' };
const kindOf = (more: Partial<KnownBy>) => knownFault({ ...plain, ...more })?.kind;

describe('a program that does not bear a dump', () => {
  it('is script(1) with a terminal, and no other program with one', () => {
    assert.equal(kindOf({ name: 'script', hasMaster: true }), 'interrupted');
    assert.equal(kindOf({ name: 'script' }), undefined);
    assert.equal(kindOf({ name: 'tmux: server', hasMaster: true }), undefined);
  });

  it('is xz(1) inside of its sandbox, where the kernel shuts abstract sockets out of it', () => {
    assert.equal(kindOf({ name: 'xz', noNewPrivs: true }), 'sandboxed');
    assert.equal(kindOf({ name: 'xz' }), undefined);
    assert.equal(kindOf({ name: 'xz', noNewPrivs: true, linux: '6.11.9' }), undefined);
    assert.equal(kindOf({ name: 'zstd', noNewPrivs: true }), undefined);
  });
});
