#!/usr/bin/env node
// Presents the npm package "solc" (solc-js) to forge as a native compiler: only --version and standard JSON on
// stdin. It must never call process.exit() after writing: stdout may be a pipe.
"use strict";
const solc = require("../node_modules/solc");

if (process.argv.includes("--version")) {
  const version = solc.version().replace(/\.(Emscripten|mod).*$/, "");
  process.stdout.write("solc, the solidity compiler commandline interface\nVersion: " + version + "\n");
} else if (process.argv.includes("--standard-json")) {
  const input = require("node:fs").readFileSync(0, "utf8"); // forge inlines every source
  process.stdout.write(solc.compile(input));
} else {
  process.stderr.write("solc wrapper: unsupported arguments: " + process.argv.slice(2).join(" ") + "\n");
  process.exitCode = 1;
}
