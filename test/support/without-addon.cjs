/** Replaces the addon where it is not built: each use fails with the name of the function. */
const Module = require('node:module');

const addon = new Proxy(
  {},
  {
    get(_, name) {
      // The module loader reads this property.
      if (name === '__esModule') return undefined;
      throw new Error(`native.${String(name)} was used, and these tests have no addon`);
    },
  },
);

const load = Module._load;
Module._load = (request, ...more) => (request.endsWith('criu_service.node') ? addon : load(request, ...more));
