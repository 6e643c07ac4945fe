/** Ports of a program that comes back soon after its end. */
import { readFileSync } from 'node:fs';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, needsInternet } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { Program } from './support/program.ts';

/** A connection without SO_REUSEADDR, with both of its ends in the tree. */
const connection = `l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen()
a = l.getsockname(); p = os.getpid()
if os.fork() == 0:
  s, _ = l.accept(); open("accepted", "w").close()
  while os.getppid() == p: time.sleep(0.1)
  os._exit(0)
l.close(); c = socket.socket(); c.connect(a)
while not os.path.exists("accepted"): time.sleep(0.1)`;

/** A connection of this machine is in TIME_WAIT, 06 in proc_pid_net(5). */
const closes = (): boolean => /^ *\d+: \S+ \S+ 06 /m.test(readFileSync('/proc/net/tcp', 'latin1'));

describe('a restore within a minute of the end of a program with a connection', () => {
  it('says that a port is in use for so long, and brings the program back after that', async function () {
    needsInternet(this);
    const program = await Program.start('root', connection);
    try {
      const images = directoryOf('root');
      const restore = () => criuctlAs('root', 'restore', '-D', images, '--tcp-close');
      must(criuctlAs('root', 'dump', `${program.pid}`, '-D', images, '--tcp-close'));
      await program.reaped();
      failed(restore(), 1, /a port of the program is in use/, /Try it again in a minute/);
      await eventually('the connection has closed', () => !closes());
      must(restore());
      await program.runsOn();
    } finally {
      program.end();
    }
  });
});
