#!/usr/bin/env node
// The command line of the Solidity compiler that forge and the Rust crate use, over npm's solc: the version,
// and standard JSON from standard input. It needs no network.
"use strict";
const fs = require("fs");
const solc = require("solc");

const args = process.argv.slice(2);
if (args.includes("--version")) {
  console.log("solc, the solidity compiler commandline interface");
  console.log("Version: " + solc.version());
} else if (args.includes("--standard-json")) {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  console.error("solc.js: expected --version or --standard-json");
  process.exit(2);
}
