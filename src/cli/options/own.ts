/** Options about output, and of criuctl itself. */

import { names, text } from './builders.ts';
import { asking, images, jobVerbs, type OptionRow, trees, verbs } from './row.ts';
import { parseVerbosity } from './values.ts';

export const ownOptions: readonly OptionRow[] = [
  text(
    '-o, --log-file',
    'file',
    'logFile',
    [...images, 'check'],
    'Output',
    'name of CRIU’s log in the work directory (default: VERB.log)',
    'nothing',
  ),
  {
    ...names('-v, --verbosity'),
    value: { name: 'level', optional: true, completion: ['0', '1', '2', '3', '4'] },
    verbs: [...images, 'check'],
    group: 'Output',
    help: 'level of CRIU’s log: 1 errors, 2 warnings (default), 3 information, 4 everything',
    request: (value) => ({ logLevel: parseVerbosity(value) }),
  },
  {
    ...names('--display-stats'),
    verbs: trees,
    group: 'Output',
    help: 'print the summary on standard error also without a terminal',
  },
  { ...names('--json'), verbs, group: 'criuctl', help: 'print the result as a JSON object' },
  {
    ...names('--service'),
    value: { name: 'path', completion: 'file' },
    verbs: asking,
    group: 'criuctl',
    help: 'socket of the service (default: /run/criu-service.socket)',
  },
  {
    ...names('--trust-images'),
    verbs: [...images, 'images', 'check', ...jobVerbs],
    group: 'criuctl',
    help: 'as root, use images and directories that others can write',
  },
  {
    ...names('-n, --lines'),
    value: { name: 'number', completion: 'nothing' },
    verbs: ['status', 'logs'],
    group: 'criuctl',
    help: 'number of requests or lines to show (default: 10)',
  },
];
