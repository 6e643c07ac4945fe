import { strict as assert } from 'node:assert';
import { consentOf, needsRelation, type Related, tracingUnder } from '../../../src/policy/yama.ts';

describe('Yama’s ptrace_scope', () => {
  const dump = { needs: 0, mayTrace: false, canName: true };
  const restore = { needs: 1, mayTrace: false, canName: true };

  it('leaves a dump alone under 0, makes its target name the engine under 1, and refuses it from 2 on', () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((scope) => tracingUnder({ ...dump, scope })),
      ['free', 'named', 'refused', 'refused'],
    );
  });

  it('never asks a target for a restore, whose processes descend from the engine', () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((scope) => tracingUnder({ ...restore, scope })),
      ['free', 'free', 'refused', 'refused'],
    );
  });

  it('does not matter to a caller that may trace everything', () => {
    for (const scope of [0, 1, 2]) assert.equal(tracingUnder({ ...dump, scope, mayTrace: true }), 'free');
  });

  it('refuses a dump from 1 on, where no process can be made to name an engine', () => {
    assert.deepEqual(
      [0, 1].map((scope) => tracingUnder({ ...dump, scope, canName: false })),
      ['free', 'refused'],
    );
  });
});

describe('the consent of a tree', () => {
  const related: readonly Related[] = ['self', 'descendant', 'named'];

  it('is what the kernel says about its root, whatever else holds', () => {
    for (const rule of ['kernel', 'own'] as const) {
      for (const restored of [false, true]) {
        for (const each of related) assert.equal(consentOf(each, { rule, restored }), each);
      }
    }
  });

  const unrelated = [
    ['kernel', false, undefined, true],
    ['kernel', true, 'restored', false],
    ['own', false, 'own', false],
    ['own', true, 'restored', false],
  ] as const;
  for (const [rule, restored, consent, needs] of unrelated) {
    it(`with --yama=${rule} and a root that was ${restored ? '' : 'not '}restored by this service is ${consent ?? 'missing'}`, () => {
      assert.equal(consentOf('nothing', { rule, restored }), consent);
      assert.equal(needsRelation({ rule, restored }), needs);
    });
  }
});
