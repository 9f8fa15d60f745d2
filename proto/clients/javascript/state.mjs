// The state (section 3): accounts by index, and the tree over their leaves.

import { tagged } from "./poseidon.mjs";
import { Tree } from "./tree.mjs";

/** @typedef {{ token: bigint, nonce: bigint, balance: bigint, owner: import("./signature.mjs").Point, l1Address: bigint }} Account */

/**
 * The leaf of an account (P-3.2).
 * @param {Account} account
 */
export const leaf = ({ token, nonce, balance, owner, l1Address }) =>
  tagged([token, nonce, balance, ...owner, l1Address, 0n], "leaf");

/** The state after the batches so far; empty at first (P-3.6). */
export class State {
  /** @type {Map<bigint, Account>} */
  #accounts = new Map();
  #tree = new Tree();

  get root() {
    return this.#tree.root;
  }

  /**
   * @param {bigint} index
   * @returns {Account | undefined} undefined where the index is not occupied
   */
  get(index) {
    return this.#accounts.get(index);
  }

  /** The root with a draft's changes. @param {Draft} draft */
  rootWith(draft) {
    return this.#update(draft).root;
  }

  /** Takes a draft's changes. @param {Draft} draft */
  commit(draft) {
    this.#tree.commit(this.#update(draft));
    draft.changes.forEach((account, index) => this.#accounts.set(index, account));
  }

  #update(draft) {
    return this.#tree.update(new Map([...draft.changes].map(([index, account]) => [index, leaf(account)])));
  }
}

/** Changes on a state, or on another draft, that can be dropped. */
export class Draft {
  #base;
  /** @type {Map<bigint, Account>} */
  changes = new Map();

  /** @param {State | Draft} base */
  constructor(base) {
    this.#base = base;
  }

  /**
   * @param {bigint} index
   * @returns {Account | undefined}
   */
  get(index) {
    return this.changes.get(index) ?? this.#base.get(index);
  }

  /**
   * @param {bigint} index
   * @param {Account} account
   */
  set(index, account) {
    this.changes.set(index, Object.freeze(account));
  }

  /** Takes the changes of a draft on this one. @param {Draft} draft */
  commit(draft) {
    draft.changes.forEach((account, index) => this.changes.set(index, account));
  }
}
