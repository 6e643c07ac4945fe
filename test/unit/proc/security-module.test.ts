import assert from 'node:assert/strict';
import { labelModuleOf } from '../../../src/proc/security-module.ts';

describe('the security module whose labels can be taken over', () => {
  it('is the one that answers in /proc/PID/attr, if it is known', () => {
    assert.equal(labelModuleOf('lockdown,capability,landlock,yama,apparmor,tomoyo,bpf\n'), 'apparmor');
    assert.equal(labelModuleOf('capability,selinux'), 'selinux');
    assert.equal(labelModuleOf('capability,smack,apparmor'), undefined);
    assert.equal(labelModuleOf('lockdown,capability,yama'), undefined);
    assert.equal(labelModuleOf(''), undefined);
  });
});
