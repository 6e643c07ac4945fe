/** Every batch system. */
import './htcondor.test.ts';
import './slurm.test.ts';
