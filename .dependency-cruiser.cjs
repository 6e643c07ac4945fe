/**
 * The one way in: bin -> daemon, client -> policy, engine, systemd -> protocol, socket -> native.
 * Imports point down this list, never up and never in a circle.
 */
const layers = [
  ['bin'],
  ['cli'],
  ['daemon', 'client'],
  ['policy', 'engine', 'systemd'],
  ['protocol', 'socket'],
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
      from: { path: '^src/', pathNot: '^src/socket/binding\\.ts$' },
      to: { path: '\\.node$' },
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
