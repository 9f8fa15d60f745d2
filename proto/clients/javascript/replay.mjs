// Executes batch files again, one after the other from the empty state: `node replay.mjs PLACES ROOMS SHARDS FILE…`, with `n`, `q`
// and `N` of P-7.1. Prints one JSON object: for each file the root that it leads to and its data, or the rule that it breaks; such a
// batch has no effect, and the next follows on the one before it.

import { readFile } from "node:fs/promises";
import { decodeBatch } from "./dist/client.js";
import { hex } from "./field.mjs";
import { layOut, streams } from "./places.mjs";
import { Refusal } from "./refusal.mjs";
import { replay } from "./sequencer.mjs";
import { State } from "./state.mjs";

const [places, rooms, shards] = process.argv.slice(2, 5).map(Number);
const state = new State();
const counts = {};
const count = (name) => (counts[name] = (counts[name] ?? 0) + 1);
const batches = [];
for (const file of process.argv.slice(5)) {
  batches.push(outcome(decodeBatch(await readFile(file))));
}
console.log(JSON.stringify({ batches, counts }, null, 1));

function outcome(message) {
  try {
    const { operations, records } = replay(state, message);
    operations.forEach(({ kind }) => count(kind));
    records.forEach(({ kind, code }) => count(`record ${kind}, code ${code}`));
    const { postedA, postedB, cA, cB } = streams(layOut(operations, { places, rooms, shards }), records);
    return {
      root: hex(state.root, 32),
      posted_a: postedA.toString("hex"),
      posted_b: postedB.toString("hex"),
      c_a: hex(cA, 32),
      c_b: hex(cB, 32),
    };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { rule: error.rule, operation: error.operation ?? null, message: error.message };
  }
}
