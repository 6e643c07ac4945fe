// What the bundle has in the place of node:child_process; our own code asks process.getBuiltinModule() for it.
module.exports = {};
