/** Options about the tree of processes. */

import { flag, names, text, valued } from './builders.ts';
import { dumps, type OptionRow, targets, trees } from './row.ts';
import { parseChoice, parseCount, parseJoinNs, parsePid } from './values.ts';

export const treeOptions: readonly OptionRow[] = [
  valued('-t, --tree', 'pid', targets, 'Tree', 'the root of the process tree', 'pid', (value) => ({
    pid: parsePid(value),
  })),
  flag('-R, --leave-running', 'leaveRunning', ['dump'], 'Tree', 'let the tree run on after the dump'),
  flag('-s, --leave-stopped', 'leaveStopped', ['dump', 'restore'], 'Tree', 'leave the tree stopped'),
  {
    ...names('--force'),
    verbs: ['dump'],
    group: 'Tree',
    help: 'dump a tree that criuctl look would not let end',
  },
  flag(
    '-j, --shell-job',
    'shellJob',
    trees,
    'Tree',
    'the tree belongs to a session or terminal outside of the tree',
  ),
  {
    ...names('-d, --restore-detached'),
    verbs: ['restore'],
    group: 'Tree',
    help: 'accepted: criuctl never waits for the restored tree',
  },
  valued(
    '--timeout',
    'seconds',
    trees,
    'Tree',
    'longest time for collecting the tasks (default: 10)',
    'nothing',
    (value) => ({ timeout: parseCount(value) }),
  ),
  text(
    '--freeze-cgroup',
    'dir',
    'freezeCgroup',
    dumps,
    'Tree',
    'a freezer cgroup that holds the whole tree',
    'directory',
  ),
  text(
    '-r, --root',
    'dir',
    'root',
    ['restore'],
    'Tree',
    'root directory of the restored mount namespace',
    'directory',
  ),
  valued('--empty-ns', 'ns', trees, 'Tree', 'restore this namespace empty', ['net'], (value) => {
    parseChoice('net')(value);
    return { emptyNs: 0x40000000 };
  }),
  valued('-J, --join-ns', 'ns:pid|file', ['restore'], 'Tree', 'join this namespace', 'nothing', (value) => ({
    joinNs: [parseJoinNs(value)],
  })),
  {
    ...names('--detach'),
    value: { name: 'file', optional: true, completion: 'file' },
    verbs: dumps,
    group: 'Tree',
    help: 'ask from outside of the tree, for a program that dumps itself; the result goes to a file (default: criuctl.log)',
  },
  {
    ...names('--terminal'),
    value: { name: 'where', completion: 'file' },
    verbs: ['restore'],
    group: 'Tree',
    help: 'terminal of a program that had one: here (default), none, or a file that its output is appended to',
  },
  ...(['stdin', 'stdout', 'stderr'] as const).map((stream) => ({
    ...names(`--${stream}`),
    value: { name: 'file', completion: 'file' as const },
    verbs: stream === 'stdin' ? (['restore', 'run'] as const) : (['restore'] as const),
    group: 'Tree' as const,
    help: `put this file, or with - criuctl's own ${stream}, in the place of the program's`,
  })),
  {
    ...names('--restore-files'),
    verbs: ['restore', 'run', 'resume'],
    group: 'Tree',
    help: 'put files that have grown back to what they were, and keep what came after beside them',
  },
  {
    ...names('--wait'),
    verbs: ['restore'],
    group: 'Tree',
    help: 'stay until the program ends, pass signals on, and exit with its status',
  },
  {
    ...names('--action-script'),
    value: { name: 'file', completion: 'file' },
    verbs: trees,
    group: 'Tree',
    help: 'run this program at each step of CRIU, as this user; see criu(8)',
  },
];
