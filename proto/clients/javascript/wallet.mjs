// A user's wallet: a key, an L1 address, and the operations that they sign.

import { readFile } from "node:fs/promises";
import { AMOUNT_BITS, FEE_BITS, decimal } from "./decimal.mjs";
import { hex } from "./field.mjs";
import { creationMessage, transferMessage, withdrawalMessage } from "./operation.mjs";
import { insist } from "./refusal.mjs";
import { publicKey, sign } from "./signature.mjs";

/** @typedef {import("./operation.mjs").Operation} Operation */
/** @typedef {import("./state.mjs").Account} Account */
/** @typedef {{ index: bigint, account: Account }} Named an account, and the index where it is */
/** @typedef {{ rollupId: bigint, expiry: bigint }} Terms for which rollup, and until which batch time */

export class Wallet {
  #secret;

  /**
   * @param {Uint8Array} secret 32 bytes
   * @param {bigint} l1Address
   */
  constructor(secret, l1Address) {
    if (secret.length !== 32) throw new RangeError(`a secret key has 32 bytes, not ${secret.length}`);
    this.#secret = secret;
    this.l1Address = l1Address;
    this.owner = publicKey(secret);
  }

  /**
   * The wallet of a key file (P-5.7).
   * @param {string} path
   * @param {bigint} l1Address
   */
  static async fromFile(path, l1Address) {
    const { version, secret_key: secret } = JSON.parse(await readFile(path, "utf8"));
    if (version !== 1) throw new Error(`${path}: expected version 1, found ${version}`);
    if (!/^0x[0-9a-f]{64}$/i.test(secret)) throw new Error(`${path}: secret_key: expected 0x and 64 digits`);
    return new Wallet(Buffer.from(secret.slice(2), "hex"), l1Address);
  }

  /**
   * Pays from one of this wallet's accounts to the account that is meant (P-4.1, P-5.2).
   * @param {Named} from
   * @param {Named} to
   * @param {{ amount: bigint, fee: bigint }} value in smallest units, both decimal floats (P-4.2)
   * @param {Terms} terms
   * @returns {Operation}
   */
  transfer(from, to, { amount, fee }, { rollupId, expiry }) {
    this.#insistOwn(from);
    const transfer = {
      from: from.index,
      to: to.index,
      amount: decimal(amount, AMOUNT_BITS, "amount"),
      fee: decimal(fee, FEE_BITS, "fee"),
      nonce: from.account.nonce,
      expiry,
      token: from.account.token,
    };
    const message = transferMessage(transfer, rollupId, to.account);
    return { kind: "transfer", transfer, signature: sign(this.#secret, message) };
  }

  /**
   * Takes an exact amount to this wallet's L1 address (P-4.7, P-5.5).
   * @param {Named} from
   * @param {{ amount: bigint, fee: bigint }} value
   * @param {Terms} terms
   * @returns {Operation}
   */
  withdrawal(from, { amount, fee }, { rollupId, expiry }) {
    this.#insistOwn(from);
    const { nonce, token } = from.account;
    const withdrawal = { from: from.index, amount, fee: decimal(fee, FEE_BITS, "fee"), nonce, expiry, token };
    const message = withdrawalMessage(withdrawal, rollupId, this.l1Address);
    return { kind: "withdrawal", withdrawal, signature: sign(this.#secret, message) };
  }

  /**
   * Asks for an account of this wallet (P-4.9, P-5.6). The index is not signed: whoever makes the batch chooses it.
   * @param {bigint} token
   * @param {bigint} index
   * @param {bigint} rollupId
   * @returns {Operation}
   */
  creation(token, index, rollupId) {
    const creation = { index, token, owner: this.owner, l1Address: this.l1Address };
    return { kind: "creation", creation, signature: sign(this.#secret, creationMessage(creation, rollupId)) };
  }

  /** That an account is this wallet's by key and by address (P-5.8): anybody can make one with this key and their own address. */
  #insistOwn({ account }) {
    const shown = ({ owner, l1Address }) =>
      [...owner.map((coordinate) => hex(coordinate, 32)), hex(l1Address, 20)].join(" ");
    insist(shown(account) === shown(this), "P-5.8", "from", shown(this), shown(account));
  }
}
