/** Clients of CRIU that start criu themselves, in the place of criuctl: with the drop-in in their PATH. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { payload } from '../../system/support/bench.ts';
import { type Program, progress } from '../program.ts';

const dropIn = 'PATH=/usr/lib/criu-service/bin:$PATH';
const goClient = join(payload, 'go-criu');

/** Compiles the library of Debian's package, which is a single GOPATH. */
function buildGoClient(): void {
  execFileSync('go', ['build', '-o', goClient, join(payload, 'clients', 'go-criu.go')], {
    env: {
      PATH: process.env.PATH,
      GO111MODULE: 'off',
      GOPATH: '/usr/share/gocode',
      GOCACHE: '/var/tmp/go-cache',
    },
    stdio: 'inherit',
  });
}

export const clients: readonly Program[] = [
  {
    name: 'a shell loop, by go-criu',
    build: buildGoClient,
    start: `while :; do date +%N >progress; sleep 0.1; done`,
    ready: 'test -s progress',
    // A client that dumps itself reads where to connect for that, and runs on.
    prepare: `${dropIn} ${goClient} dump-self self 2>self.log; grep 'connects to /run/criu-service.socket' self.log || { cat self.log >&2; false; }`,
    works: progress,
    by: {
      dump: `${dropIn} ${goClient} dump "$IMAGES" "$PID" | grep -qx post-dump`,
      restore: `${dropIn} ${goClient} restore "$IMAGES" | grep -qx "post-restore $PID"`,
    },
  },
];
