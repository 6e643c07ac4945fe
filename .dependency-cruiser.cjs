/**
 * The one way in: bin -> cli -> daemon, client, drop-in, look, images, job -> session -> records -> engine -> policy -> proc, systemd -> protocol, native.
 * Imports point down this list, never up and never in a circle.
 */
const layers = [
  ['bin'],
  ['cli'],
  ['daemon', 'client', 'drop-in', 'look', 'images', 'job'],
  ['session'],
  ['records'],
  ['engine'],
  ['policy'],
  ['proc', 'systemd'],
  ['protocol', 'native'],
];

const upward = layers.flatMap((layer, depth) =>
  layers.slice(0, depth).map((above) => ({
    name: `no-${layer.join('-')}-to-${above.join('-')}`,
    severity: 'error',
    comment: 'Imports point down the list of layers.',
    from: { path: `^src/(${layer.join('|')})/` },
    to: { path: `^src/(${above.join('|')})/` },
  })),
);

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    ...upward,
    {
      name: 'one-way-to-the-addon',
      severity: 'error',
      comment: 'binding.ts is the only file that loads the addon.',
      from: { path: '^src/', pathNot: '^src/native/binding\\.ts$' },
      to: { path: '\\.node$' },
    },
    {
      name: 'policy-is-pure',
      severity: 'error',
      comment: 'Policy reads nothing, and loads without the addon. What it judges has types of proc.',
      from: { path: '^src/policy/' },
      to: {
        path: '^(src/(native|systemd|proc)/|fs$|child_process$)',
        pathNot: '^src/proc/tree-limit\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'verdicts-are-pure',
      severity: 'error',
      comment: 'Facts come in, verdicts go out.',
      from: { path: '^src/look/(verdicts|conclusion|things)\\.ts$' },
      to: {
        path: '^src/',
        pathNot: '^src/(policy/criu-version|look/(verdicts|conclusion|things))\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'verdicts-about-images-are-pure',
      severity: 'error',
      comment: 'Facts come in, verdicts go out.',
      from: { path: '^src/images/(verdicts|things)\\.ts$' },
      to: { path: '^src/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'the-state-of-a-job-is-pure',
      severity: 'error',
      comment: 'Facts come in, states and steps go out.',
      from: { path: '^src/job/(state|checkpoints|duration|interval|end|name|spec)\\.ts$' },
      to: { path: '^(src/|fs$|child_process$)', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'the-machine-is-pure',
      severity: 'error',
      comment: 'States, inputs and actions alone: nothing is read, sent or waited for.',
      from: { path: '^src/session/machine/' },
      to: {
        path: '^src/',
        pathNot: '^src/(session/machine|policy|protocol|records/vocabulary\\.ts|native/errnos\\.ts)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'sources-know-no-tests',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^test/' },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'] },
  },
};
