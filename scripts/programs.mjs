// Bundles each program into a CommonJS file, which Node loads in half the time of many files. Code that only some options need
// gets a file of its own, because V8 keeps the text of everything it has read.
import { basename } from 'node:path';
import { build } from 'esbuild';

export const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
};

export const program = {
  ...common,
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  // CommonJS has no import.meta; the files beside the bundle are found by its own path.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
};

/** Bundles by their names in import(): winston, prom-client and commander load more code than all the rest. */
export const optional = {
  './text-log.ts': 'src/systemd/text-log.ts',
  './metrics-text.ts': 'src/records/metrics-text.ts',
  '../daemon/command-line.ts': 'src/daemon/command-line.ts',
};

/**
 * The same for criuctl: only `look` and `dump` look at processes, only `images` parses images, only `dump` writes a manifest, only verbs of
 * jobs know jobs, only `status` asks systemd, only a person sees progress, few restores change streams, only a shell asks for
 * completions, and CRIU's errors are explained only after a failure.
 */
export const optionalOfCriuctl = {
  '../look/look.ts': 'src/look/look.ts',
  '../cli/completion.ts': 'src/cli/completion.ts',
  '../cli/status.ts': 'src/cli/status.ts',
  './failure-sentence.ts': 'src/cli/failure-sentence.ts',
  './machine.ts': 'src/cli/machine.ts',
  './put-back.ts': 'src/cli/files/put-back.ts',
  './progress.ts': 'src/cli/progress.ts',
  './stream-view.ts': 'src/cli/streams/stream-view.ts',
  './streams/stream-view.ts': 'src/cli/streams/stream-view.ts',
  './images/images.ts': 'src/cli/images/images.ts',
  './job/jobs.ts': 'src/cli/job/jobs.ts',
  '../cli/images/images.ts': 'src/cli/images/images.ts',
  './manifest.ts': 'src/client/manifest.ts',
};

const inFilesOfTheirOwn = (files) => ({
  name: 'optional',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ kind, path }) =>
      kind === 'dynamic-import' && path in files
        ? { path: `./${basename(path, '.ts')}.cjs`, external: true }
        : undefined,
    );
  },
});

/** criuctl without these bundles. */
export function bundleCriuctl(out) {
  return build({
    ...program,
    ...out,
    entryPoints: ['src/bin/criuctl.ts'],
    plugins: [inFilesOfTheirOwn(optionalOfCriuctl)],
    // Shorter code, line by line as readable in a stack trace.
    minifySyntax: true,
    supported: { 'dynamic-import': false },
  });
}

/** The service without these bundles. */
export function bundleService(out, plugins = []) {
  return build({
    ...program,
    ...out,
    entryPoints: ['src/bin/criu-service.ts'],
    plugins: [inFilesOfTheirOwn(optional), ...plugins],
    // A CommonJS file does not need Node's own modules for import().
    supported: { 'dynamic-import': false },
  });
}

/** `criu swrk` of the drop-in, which starts for each request of a client. */
export function bundleDropIn(out) {
  return build({ ...program, ...out, entryPoints: ['src/bin/criu-swrk.ts'], minifySyntax: true });
}
