// Where a batch's operations stand (P-6.2, P-6.3, P-7.1), and the two streams that follow (P-6.4, P-6.8).

import { toBytes } from "./field.mjs";
import { word } from "./operation.mjs";
import { tagged } from "./poseidon.mjs";
import { elements, posted } from "./record.mjs";
import { insist } from "./refusal.mjs";

/** @typedef {import("./operation.mjs").Operation} Operation */
/** @typedef {{ places: number, rooms: number, shards: number }} Shape `n`, `q` and `N` of P-7.1 */
/** @typedef {{ queued: boolean, words: bigint[] }} Group five places, and whether an operation of the queue comes before them */
/** @typedef {{ postedA: Buffer, postedB: Buffer, cA: bigint, cB: bigint }} Streams */

const GROUP = 5;

/** A batch's groups, filled in the order of execution. */
export class Places {
  #shape;
  /** @type {Group[]} */
  #groups = [];

  /** @param {Shape} shape */
  constructor(shape) {
    this.#shape = shape;
  }

  /**
   * Takes an operation to the next place where it may stand; what that leaves is no-ops.
   * @param {Operation} operation
   * @returns {boolean} whether there is such a place; without one nothing changes
   */
  take(operation) {
    const groups = [...this.#groups];
    const taken = operation.kind === "queued" ? this.#queued(groups) : this.#placed(groups, operation);
    if (taken) this.#groups = groups;
    return taken;
  }

  /** All groups of the batch's keys, padding included. @returns {Group[]} */
  get groups() {
    const padded = Array.from(
      { length: this.#groupsMax },
      (_, place) => this.#groups[place] ?? { queued: false, words: [] },
    );
    return padded.map(({ queued, words }) => ({ queued, words: [...words, ...Array(GROUP - words.length).fill(0n)] }));
  }

  get #groupsMax() {
    return (this.#shape.places / GROUP) * this.#shape.shards;
  }

  #queued(groups) {
    while (groups.length < this.#groupsMax) {
      const hasRoom = groups.length % (this.#shape.places / GROUP) < this.#shape.rooms;
      groups.push({ queued: hasRoom, words: [] });
      if (hasRoom) return true;
    }
    return false;
  }

  #placed(groups, operation) {
    const added = word(operation);
    const hasRecord = operation.kind === "withdrawal" || operation.kind === "creation";
    const last = groups.at(-1);
    const room = last ? GROUP - last.words.length : 0;
    if (room > (hasRecord ? 1 : 0)) {
      groups[groups.length - 1] = { ...last, words: [...last.words, added] };
      return true;
    }
    if (groups.length === this.#groupsMax) return false;
    groups.push({ queued: false, words: [added] });
    return true;
  }
}

/**
 * Lays a whole batch out.
 * @param {Operation[]} operations
 * @param {Shape} shape
 * @returns {Group[]}
 */
export function layOut(operations, shape) {
  const places = new Places(shape);
  operations.forEach((operation, index) => {
    insist(places.take(operation), "P-7.1", `operations[${index}]`, "a place that the keys have", "none");
  });
  return places.groups;
}

/**
 * The streams of a batch that was executed.
 * @param {Group[]} groups
 * @param {import("./record.mjs").Record[]} records in the order of execution
 * @returns {Streams}
 */
export function streams(groups, records) {
  const b = groups.map(groupElements);
  const isZero = (group) => group.every((element) => element === 0n);
  const postedGroups = b.slice(0, b.findLastIndex((group) => !isZero(group)) + 1);
  const chain = (tag, zeros) => (digest, values) => tagged([digest, ...values, ...zeros], tag);
  return {
    postedA: Buffer.concat(records.map(posted)),
    postedB: Buffer.concat(postedGroups.flat().map((element) => toBytes(element, 31))),
    cA: records.map(elements).reduce(chain("stream-a", [0n, 0n]), 0n),
    cB: b.reduce(chain("stream-b", [0n, 0n, 0n, 0n]), 0n),
  };
}

/**
 * @param {Group} group
 * @returns {[bigint, bigint]}
 */
function groupElements({ queued, words: [w0, w1, w2, w3, w4] }) {
  const [low, high] = [w2 & ((1n << 49n) - 1n), w2 >> 49n];
  return [w0 + (w1 << 99n) + (low << 198n) + (queued ? 1n << 247n : 0n), high + (w3 << 50n) + (w4 << 149n)];
}
