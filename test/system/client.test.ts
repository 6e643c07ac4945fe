/** The client library against real CRIU: over the service's socket, and with an engine of its own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { CriuClient, isCriuError } from '../../src/client/index.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, startCounting } from '../hostile/support/people.ts';
import { binary, eventually, example, freshDirectory, needsSoftDirty, run } from './support/bench.ts';
import { it } from './support/it.ts';
import { endProcess, isFree, pageServers, processesNamed } from './support/proc.ts';
import { Target } from './support/targets.ts';

function outputOf(pid: number): string {
  return readlinkSync(`/proc/${pid}/fd/1`);
}

const ways: readonly [string, CriuClient][] = [
  ['over the socket of the service', new CriuClient()],
  ['with an engine of its own', new CriuClient({ criu: true })],
];

for (const [way, client] of ways) {
  describe(`the client library ${way}`, () => {
    it('dumps a process, which is then gone, and restores it, and it counts on', async () => {
      const target = Target.start();
      const imagesDir = freshDirectory();
      assert.deepEqual(await client.dump({ pid: target.pid, imagesDir }), { restored: false });
      await target.assertGone();
      const workDir = freshDirectory();
      const options = { imagesDir, workDir, logFile: 'restore.log', logLevel: 4 };
      assert.deepEqual(await client.restore(options), { pid: target.pid });
      assert.ok(existsSync(join(workDir, 'restore.log')));
      await target.assertCountsOn();
    });

    it('makes images that only root can read', async () => {
      const target = Target.start();
      const imagesDir = freshDirectory();
      await client.dump({ pid: target.pid, imagesDir, leaveRunning: true });
      await client.cpuinfoDump({ imagesDir });
      const modes = readdirSync(imagesDir).map((name) => [
        name,
        statSync(join(imagesDir, name)).mode & 0o777,
      ]);
      assert.ok(modes.length > 10);
      assert.deepEqual(
        modes.filter(([, mode]) => mode !== 0o600),
        [],
      );
      await target.assertCountsOn();
    });

    it('reports the version and the features of the installed criu, and that it is sufficient', async () => {
      const { major, minor } = await client.version();
      assert.match(run('criu', '--version'), new RegExp(`^Version: ${major}\\.${minor}(\\.|$)`, 'm'));
      assert.equal((await client.features()).pidfdStore, true);
      await client.check({ imagesDir: freshDirectory() });
      const imagesDir = freshDirectory();
      await client.cpuinfoDump({ imagesDir });
      await client.cpuinfoCheck({ imagesDir });
    });

    it('leaves out a file that its handler names, and a restore takes another in its place', async () => {
      const [before, after] = [freshDirectory(), freshDirectory()].map((each) =>
        openSync(join(each, 'f'), 'a'),
      );
      const held = spawn('setsid', ['--fork', 'sleep', '1000'], { stdio: ['ignore', before!, 'ignore'] });
      try {
        const { ino } = fstatSync(before!);
        const path = readlinkSync(`/proc/self/fd/${before}`);
        let pid = 0;
        await eventually('it runs', () => {
          pid = processesNamed('sleep').find((each) => outputOf(each) === path) ?? 0;
          return pid > 0;
        });
        const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/1`, 'latin1'))![1]!;
        const key = `file[${Number(mount).toString(16)}:${ino.toString(16)}]`;
        const imagesDir = freshDirectory();
        await client.dump({ pid, imagesDir, notifications: { queryExtFiles: () => [key] } });
        await eventually('it has ended', () => isFree(pid));
        await client.restore({ imagesDir, inheritFd: [{ key, fd: after! }] });
        assert.equal(outputOf(pid), readlinkSync(`/proc/self/fd/${after}`));
        endProcess(pid);
      } finally {
        held.kill('SIGKILL');
        for (const fd of [before!, after!]) closeSync(fd);
      }
    });

    it('passes on each step of a dump and of a restore, with its pid if it has one', async () => {
      const target = Target.start();
      const imagesDir = freshDirectory();
      const heard: string[] = [];
      const pids: (number | undefined)[] = [];
      const notifications = {
        any: ({ script }: { script: string }) => void heard.push(script),
        postRestore: ({ pid }: { pid?: number }) => void pids.push(pid),
      };
      await client.dump({ pid: target.pid, imagesDir, notifications });
      assert.deepEqual(heard.splice(0), ['pre-dump', 'query-ext-files', 'post-dump']);
      await target.assertGone();
      await client.restore({ imagesDir, notifications });
      for (const script of ['pre-restore', 'post-restore', 'pre-resume', 'post-resume']) {
        assert.ok(heard.includes(script), heard.join(' '));
      }
      assert.deepEqual(pids, [target.pid]);
      await target.assertCountsOn();
    });

    it('makes CRIU roll back if a handler throws, and the process counts on', async () => {
      const target = Target.start();
      const cause = new Error('not now');
      const notifications = {
        postDump: () => {
          throw cause;
        },
      };
      const options = { pid: target.pid, imagesDir: freshDirectory(), notifications };
      await assert.rejects(
        client.dump(options),
        (error) => isCriuError(error, 'NOTIFICATION') && error.cause === cause,
      );
      await target.assertCountsOn();
    });

    it('makes CRIU roll back if it is aborted, and the process counts on', async () => {
      const target = Target.start();
      const abort = new AbortController();
      const notifications = { postDump: () => abort.abort() };
      const options = { pid: target.pid, imagesDir: freshDirectory(), notifications, signal: abort.signal };
      await assert.rejects(client.dump(options), (error) => isCriuError(error, 'ABORTED'));
      await target.assertCountsOn();
    });

    it('reports the cause of a failed restore, and the path of CRIU’s log', async () => {
      const target = Target.start();
      const imagesDir = freshDirectory();
      await client.dump({ pid: target.pid, imagesDir, leaveRunning: true });
      await assert.rejects(client.restore({ imagesDir, logFile: 'restore.log' }), (error) => {
        assert.ok(isCriuError(error, 'FAILED'));
        assert.equal(error.errnoName, 'EEXIST');
        assert.equal(error.log, join(imagesDir, 'restore.log'));
        return existsSync(error.log);
      });
      await target.assertCountsOn();
    });

    it('sends the pages of a dump to a page server, and restores the images that it wrote', async () => {
      const target = Target.start();
      const [pages, images] = [freshDirectory(), freshDirectory()];
      const { port } = await client.pageServer({ imagesDir: pages, ps: { address: '127.0.0.1', port: 0 } });
      assert.ok(port > 0);
      await client.dump({ pid: target.pid, imagesDir: images, ps: { address: '127.0.0.1', port } });
      await target.assertGone();
      await eventually('the page server has everything and leaves', () => pageServers().length === 0);
      assert.ok(readdirSync(pages).some((file) => file.startsWith('pages-')));
      for (const file of readdirSync(pages)) run('cp', '-n', join(pages, file), images);
      await client.restore({ imagesDir: images });
      await target.assertCountsOn();
    });

    it('pre-dumps in rounds that a dump ends, and restores the last of the images', async function () {
      needsSoftDirty(this);
      const target = Target.start();
      const images = freshDirectory();
      run('mkdir', ...[1, 2, 3].map((number) => join(images, `${number}`)));
      const first = { pid: target.pid, imagesDir: join(images, '1'), trackMem: true };
      for await (const round of client.preDump(first)) {
        const next = { imagesDir: join(images, `${round.number + 1}`), parentImg: `../${round.number}` };
        if (round.number < 2) round.next(next);
        else await round.dump(next);
      }
      await target.assertGone();
      await client.restore({ imagesDir: join(images, '3') });
      await target.assertCountsOn();
    });
  });
}

describe('the TypeScript example', () => {
  it('dumps and restores a process of alice’s, as alice, and reports a refusal to her', async () => {
    const target = startCounting('alice', unshackled(), binary('counter'));
    const images = directoryOf('alice');
    const alice = (...argv: string[]): string => {
      const [file, ...rest] = [...as('alice'), 'node', example('checkpoint.mjs'), ...argv];
      return run(file!, ...rest);
    };
    assert.match(
      alice('dump', `${target.pid}`, images),
      new RegExp(`CRIU is at post-dump\nprocess ${target.pid} is in`),
    );
    await target.assertGone();
    assert.equal(alice('restore', images), `process ${target.pid} runs again\n`);
    await target.assertCountsOn();
    const foreign = Target.start();
    assert.throws(
      () => alice('dump', `${foreign.pid}`, images),
      /has the uid 0, and yours is 1500.*\(EPERM\)/s,
    );
    await foreign.assertCountsOn();
  });
});

describe('the client library of the package', () => {
  it('is found by Node where Debian puts modules', async () => {
    const program =
      "new (require('criu-service').CriuClient)().version().then(({ major }) => console.log(major))";
    assert.match(run('node', '-e', program), /^\d+\n$/);
    const reader = "console.log(typeof require('criu-service/images').showImages)";
    assert.equal(run('node', '-e', reader), 'function\n');
    const jobs = "console.log(typeof require('criu-service/job').Job)";
    assert.equal(run('node', '-e', jobs), 'function\n');
  });
});
