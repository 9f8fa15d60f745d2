#!/usr/bin/env node
// A Solidity compiler that stays: loading it takes longer than compiling a mutant. With a module's path, this is the compiler, which
// prints the port that it listens on and ends with its standard input; without, it is what forge starts in the compiler's place.
"use strict";
const fs = require("fs");
const net = require("net");

const LOOPBACK = "127.0.0.1";

function serve(module) {
  const solc = require(module);
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const parts = [];
    client.on("data", (part) => parts.push(part));
    client.on("end", () => client.end(answer(solc, Buffer.concat(parts).toString())));
    client.on("error", () => client.destroy());
  });
  server.listen(0, LOOPBACK, () => console.log(server.address().port));
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}

function answer(solc, request) {
  if (request !== "") return solc.compile(request);
  return "solc, the solidity compiler commandline interface\nVersion: " + solc.version() + "\n";
}

function ask() {
  const request = process.argv.includes("--version") ? "" : fs.readFileSync(0);
  const compiler = net.connect(Number(process.env.MUTATE_COMPILER), LOOPBACK, () => compiler.end(request));
  compiler.on("error", (error) => {
    console.error(error.message);
    process.exit(1);
  });
  compiler.pipe(process.stdout);
}

if (process.env.MUTATE_COMPILER) ask();
else serve(process.argv[2]);
