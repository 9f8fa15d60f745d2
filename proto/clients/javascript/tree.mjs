// The sparse tree of the state (P-3.4): 8-ary, of depth 11.

import { hash } from "./poseidon.mjs";

const DEPTH = 11;

/** Roots of the empty subtrees, by their height. */
const EMPTY = [0n];
for (let height = 0; height < DEPTH; height++) EMPTY.push(hash(Array(8).fill(EMPTY[height])));

/** The root of the empty state (P-3.6). */
export const EMPTY_ROOT = EMPTY[DEPTH];

/** A tree that knows the nodes which are not empty subtrees, by height and place. */
export class Tree {
  /** @type {Map<bigint, bigint>[]} */
  #levels = Array.from({ length: DEPTH + 1 }, () => new Map());

  get root() {
    return this.#node(DEPTH, 0n);
  }

  /**
   * The nodes that other leaves make: each is hashed once. Nothing changes before `commit`.
   * @param {Map<bigint, bigint>} leaves by index
   * @returns {{ root: bigint, levels: Map<bigint, bigint>[] }}
   */
  update(leaves) {
    const levels = [leaves];
    for (let height = 0; height < DEPTH; height++) {
      const below = levels[height];
      const above = new Map();
      for (const place of below.keys()) {
        const parent = place >> 3n;
        if (above.has(parent)) continue;
        const children = [...Array(8).keys()].map((digit) => (parent << 3n) + BigInt(digit));
        above.set(parent, hash(children.map((child) => below.get(child) ?? this.#node(height, child))));
      }
      levels.push(above);
    }
    return { root: levels[DEPTH].get(0n) ?? this.root, levels };
  }

  /** @param {{ levels: Map<bigint, bigint>[] }} update */
  commit({ levels }) {
    levels.forEach((nodes, height) => nodes.forEach((node, place) => this.#levels[height].set(place, node)));
  }

  #node(height, place) {
    return this.#levels[height].get(place) ?? EMPTY[height];
  }
}
