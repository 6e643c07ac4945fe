/** The full soak: `npm run test:soak`. */
import { eachCall } from './each-call.ts';
import { idleExit } from './idle-exit.ts';
import { jobs } from './jobs.ts';
import { mutations } from './mutations.ts';
import { restarts } from './restarts.ts';

restarts(200);
eachCall(1);
idleExit(200);
mutations(10_000);
jobs({ strikes: 300, number: 100, pause: 1, every: '1min' });
