/** A tenth of the soak, as part of the system tests. */
import { inVm } from '../system/support/bench.ts';
import { eachCall } from './each-call.ts';
import { idleExit } from './idle-exit.ts';
import { jobs } from './jobs.ts';
import { mutations } from './mutations.ts';
import { restarts } from './restarts.ts';

restarts(20);
// In the VM each strike takes ten seconds.
eachCall(inVm ? 40 : 10);
idleExit(20);
mutations(1_000);
jobs({ strikes: 8, number: 3, pause: 0.03, every: '3s' });
