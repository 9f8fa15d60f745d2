// A sequencer: executes operations as they come, and closes a batch when the next one has no place in it.

import { hex, toBytes, toInteger } from "./field.mjs";
import { fromProto, toProto } from "./operation.mjs";
import { Places, streams } from "./places.mjs";
import { Refusal, insist } from "./refusal.mjs";
import { execute } from "./rules.mjs";
import { Draft, State } from "./state.mjs";

/** @typedef {import("./operation.mjs").Operation} Operation */
/** @typedef {import("./record.mjs").Record} Record */

/** The version of PROTOCOL.md that this implements. */
export const PROTOCOL_VERSION = 2;

/** @typedef {{ chainId: bigint, contract: bigint }} Rollup */

/** `rollup_id` (P-5.2). @param {Rollup} rollup */
export const rollupId = ({ chainId, contract }) => (chainId << 160n) + contract;

/**
 * @typedef {{ message: any, operations: Operation[], records: Record[], streams: import("./places.mjs").Streams }} Closed
 *   a batch: what is encoded and submitted, and what L1 will read of it
 */

export class Sequencer {
  #rollup;
  #shape;
  #state;
  #time;
  #number;
  /** @type {{ draft: Draft, places: Places, operations: Operation[], records: Record[] }} */
  #open;

  /**
   * Begins on the empty state (P-3.6).
   * @param {Rollup} rollup
   * @param {import("./places.mjs").Shape} shape
   * @param {bigint} time T of its batches (P-9.4)
   */
  constructor(rollup, shape, time) {
    this.#rollup = rollup;
    this.#shape = shape;
    this.#state = new State();
    this.#time = time;
    this.#number = 0n;
    this.#begin();
  }

  /**
   * An account as it is after all that was added.
   * @param {bigint} index
   * @returns {import("./wallet.mjs").Named}
   */
  account(index) {
    const account = this.#open.draft.get(index);
    insist(account !== undefined, "P-3.2", "index", "an occupied one", index);
    return { index, account };
  }

  /**
   * Executes an operation and takes it into the batch, or into the next when it has no place there.
   * @param {Operation} operation
   * @returns {Closed | undefined} the batch that was closed for that
   */
  add(operation) {
    // What is refused has moved nothing, and closed no batch.
    const step = new Draft(this.#open.draft);
    const record = execute(step, operation, { rollupId: rollupId(this.#rollup), time: this.#time });
    const closed = this.#open.places.take(operation) ? undefined : this.close();
    if (closed && !this.#open.places.take(operation))
      throw new Error("the service's keys have no place for this operation");
    this.#open.draft.commit(step);
    this.#open.operations.push(operation);
    if (record) this.#open.records.push(record);
    return closed;
  }

  /** Closes the batch and begins the next. @returns {Closed} */
  close() {
    const { draft, places, operations, records } = this.#open;
    const oldRoot = this.#state.root;
    this.#state.commit(draft);
    const message = {
      protocolVersion: PROTOCOL_VERSION,
      chainId: this.#rollup.chainId,
      contract: toBytes(this.#rollup.contract, 20),
      number: this.#number,
      time: this.#time,
      oldRoot: toBytes(oldRoot, 32),
      newRoot: toBytes(this.#state.root, 32),
      operations: operations.map(toProto),
    };
    this.#number += 1n;
    this.#begin();
    return { message, operations, records, streams: streams(places.groups, records) };
  }

  #begin() {
    this.#open = { draft: new Draft(this.#state), places: new Places(this.#shape), operations: [], records: [] };
  }
}

/**
 * Executes somebody's batch again and moves the state over it; one that is refused leaves the state as it was.
 * @param {State} state
 * @param {any} message a decoded `Batch`
 * @returns {{ operations: Operation[], records: Record[] }}
 */
export function replay(state, message) {
  insist(
    message.protocolVersion === PROTOCOL_VERSION,
    "P-7.3",
    "protocol_version",
    PROTOCOL_VERSION,
    message.protocolVersion,
  );
  const oldRoot = hex(state.root, 32);
  insist(shown(message.oldRoot) === oldRoot, "P-9.2", "old_root", oldRoot, shown(message.oldRoot));
  const rollup = { chainId: message.chainId, contract: toInteger(message.contract) };
  const terms = { rollupId: rollupId(rollup), time: message.time };
  const draft = new Draft(state);
  const operations = [];
  const records = [];
  message.operations.forEach((given, index) => {
    try {
      const operation = fromProto(given);
      const record = execute(draft, operation, terms);
      operations.push(operation);
      if (record) records.push(record);
    } catch (error) {
      throw error instanceof Refusal ? error.ofOperation(index) : error;
    }
  });
  const newRoot = hex(state.rootWith(draft), 32);
  insist(shown(message.newRoot) === newRoot, "P-7.4", "new_root", newRoot, shown(message.newRoot));
  state.commit(draft);
  return { operations, records };
}

const shown = (bytes) => `0x${Buffer.from(bytes).toString("hex")}`;
