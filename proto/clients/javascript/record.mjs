// Records of stream A (P-6.6), and what L1's queue can have of them (section 12).

import { R, toBytes } from "./field.mjs";
import { insist } from "./refusal.mjs";
import { isKey } from "./signature.mjs";

/**
 * @typedef {{ kind: bigint, code: bigint, token: bigint, index: bigint, amount: bigint, address: bigint, u: bigint, v: bigint }} Record
 */

export const DEPOSIT_NEW = 1n;
export const DEPOSIT_EXISTING = 2n;
export const FORCED_EXIT = 3n;
export const KEY_CHANGE = 4n;
export const WITHDRAWAL = 5n;
export const CREATION = 6n;

/** The first index that L1 gives (P-3.5). */
export const L1_INDEX_MIN = 1n << 32n;

/**
 * The four elements of a record.
 * @param {Record} record
 * @returns {bigint[]}
 */
export function elements({ kind, code, token, index, amount, address, u, v }) {
  return [
    kind | (code << 3n) | (token << 6n) | (index << 22n) | (amount << 55n),
    address | ((u & mask(88n)) << 160n),
    (u >> 88n) | ((v & mask(82n)) << 166n),
    v >> 82n,
  ];
}

/**
 * A record as it is posted: 124 bytes.
 * @param {Record} record
 */
export const posted = (record) => Buffer.concat(elements(record).map((element) => toBytes(element, 31)));

/**
 * Throws unless L1's queue can have this entry (P-12.4 to P-12.9).
 * @param {Record} entry
 * @returns {Record} the entry
 */
export function checkEntry(entry) {
  const { kind, token, index, amount, u, v } = entry;
  insist(index >> 33n === 0n, "P-12.6", "queued.index", "less than 2^33", index);
  insist(token >> 16n === 0n, "P-6.6", "queued.token", "less than 2^16", token);
  if (kind === DEPOSIT_NEW || kind === KEY_CHANGE) {
    insist(isKey([u, v]), "P-12.5", "queued.u", "a key, with queued.v", `${u}, ${v}`);
  }
  switch (kind) {
    case DEPOSIT_NEW: {
      const isFeeAccount = index === token;
      insist(token !== 0n, "P-3.3", "queued.token", "1 to 65535", token);
      insist(
        isFeeAccount || index >= L1_INDEX_MIN,
        "P-12.4",
        "queued.index",
        "the token's id, or at least 2^32",
        index,
      );
      insist(
        (amount === 0n) === isFeeAccount,
        isFeeAccount ? "P-12.9" : "P-12.7",
        "queued.amount",
        isFeeAccount ? "0" : "not 0",
        amount,
      );
      break;
    }
    case DEPOSIT_EXISTING:
      insist(token !== 0n, "P-3.3", "queued.token", "1 to 65535", token);
      insist(amount !== 0n, "P-12.7", "queued.amount", "not 0", amount);
      insist(u >> 160n === 0n, "P-12.6", "queued.u", "an address", u);
      insist(v < R, "P-12.6", "queued.v", "less than r", v);
      break;
    case KEY_CHANGE:
      insist(token === 0n, "P-6.6", "queued.token", "0", token);
      insist(amount === 0n, "P-6.6", "queued.amount", "0", amount);
      break;
    case FORCED_EXIT:
      insist(amount === 0n, "P-6.6", "queued.amount", "0", amount);
      insist(u === 0n && v === 0n, "P-6.6", "queued.u", "0, and queued.v too", `${u}, ${v}`);
      break;
    default:
      insist(false, "P-4.11", "queued.kind", "1 to 4", kind);
  }
  return entry;
}

const mask = (bits) => (1n << bits) - 1n;
