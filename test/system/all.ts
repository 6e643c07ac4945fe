/** Every system test, in the order in which they are read best. */
import './pycriu.test.ts';
import './libcriu.test.ts';
import './client.test.ts';
import './criuctl.test.ts';
import './examples.test.ts';
import './dialogs.test.ts';
import './compare.test.ts';
import './engine-failures.test.ts';
import './ahead.test.ts';
import './refused-callers.test.ts';
import './page-server.test.ts';
import './versions.test.ts';
import './alice.test.ts';
import './kerndat.test.ts';
import './systemd.test.ts';
import './resume.test.ts';
import './lifecycle.test.ts';
import '../soak/tenth.ts';
import './listener-errors.test.ts';
import './limits.test.ts';
import './journal.test.ts';
import './mutations.test.ts';
import '../hostile/all.ts';
import './rpm.test.ts';
// These come last: the package is removed, and the machine is left as it is to be found after a reboot.
import './package.test.ts';
import './before-reboot.test.ts';
