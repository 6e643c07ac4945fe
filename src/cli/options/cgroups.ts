/** Options about cgroups. */

import { list, names, text, valued } from './builders.ts';
import { type OptionRow, trees } from './row.ts';
import { parseCgroupRoot, parseChoice } from './values.ts';

const cgroupModes = ['ignore', 'none', 'props', 'soft', 'full', 'strict'] as const;

export const cgroupOptions: readonly OptionRow[] = [
  {
    ...names('--manage-cgroups'),
    value: { name: 'mode', optional: true, completion: cgroupModes },
    verbs: trees,
    group: 'Cgroups',
    help: 'extent to which cgroups are restored (default: soft)',
    request: (value) => ({ manageCgroupsMode: value === '' ? 'soft' : parseChoice(...cgroupModes)(value) }),
  },
  valued(
    '--cgroup-root',
    '[ctrl:]path',
    trees,
    'Cgroups',
    'move cgroup paths below another root',
    'nothing',
    (value) => ({ cgRoot: [parseCgroupRoot(value)] }),
  ),
  text('--cgroup-props', 'yaml', 'cgroupProps', trees, 'Cgroups', 'cgroup properties to dump'),
  text(
    '--cgroup-props-file',
    'file',
    'cgroupPropsFile',
    trees,
    'Cgroups',
    'cgroup properties from a file',
    'file',
  ),
  list(
    '--cgroup-dump-controller',
    'name',
    'cgroupDumpController',
    trees,
    'Cgroups',
    'dump only this controller',
  ),
  text(
    '--cgroup-yard',
    'dir',
    'cgroupYard',
    trees,
    'Cgroups',
    'directory where the cgroup hierarchies are mounted already',
    'directory',
  ),
];
