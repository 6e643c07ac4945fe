import assert from 'node:assert/strict';
import { labelModuleOf } from '../../../src/proc/security-module.ts';

describe('labelModuleOf', () => {
  it('returns the module that answers in /proc/PID/attr, if it is known', () => {
    assert.equal(labelModuleOf('lockdown,capability,landlock,yama,apparmor,tomoyo,bpf\n'), 'apparmor');
    assert.equal(labelModuleOf('capability,selinux'), 'selinux');
    assert.equal(labelModuleOf('capability,smack,apparmor'), undefined);
    assert.equal(labelModuleOf('lockdown,capability,yama'), undefined);
    assert.equal(labelModuleOf(''), undefined);
  });
});
