/** Stands in for the addon where it is not built: whatever uses it fails, and says what it has used. */
const Module = require('node:module');

const addon = new Proxy(
  {},
  {
    get(_, name) {
      // The loader of modules asks for it.
      if (name === '__esModule') return undefined;
      throw new Error(`native.${String(name)} was used, and these tests have no addon`);
    },
  },
);

const load = Module._load;
Module._load = (request, ...more) => (request.endsWith('criu_service.node') ? addon : load(request, ...more));
