// Integers, elements of F, and their bytes (P-1.1, P-1.2). All are bigints; bytes are big endian.

import { insist } from "./refusal.mjs";

/** Order of F. */
export const R = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
/** Order of BabyJubJub's subgroup (P-1.3). */
export const L = 2736030358979909402780800718157159386076813972158567259200215660948447373041n;

/**
 * @param {bigint} value below 2^(8 bytes)
 * @param {number} bytes
 * @returns {Buffer}
 */
export function toBytes(value, bytes) {
  const digits = value.toString(16).padStart(2 * bytes, "0");
  if (value < 0n || digits.length > 2 * bytes) throw new RangeError(`${value} has no ${bytes} bytes`);
  return Buffer.from(digits, "hex");
}

/**
 * @param {Uint8Array} bytes
 * @returns {bigint}
 */
export const toInteger = (bytes) => BigInt(`0x0${Buffer.from(bytes).toString("hex")}`);

/**
 * An integer of exactly so many bytes.
 * @param {Uint8Array} bytes
 * @param {number} length
 * @param {string} field
 * @returns {bigint}
 */
export function exactly(bytes, length, field) {
  insist(bytes.length === length, "P-1.2", field, `${length} bytes`, `${bytes.length} bytes`);
  return toInteger(bytes);
}

/**
 * A canonical element.
 * @param {Uint8Array} bytes
 * @param {string} field
 * @returns {bigint}
 */
export function element(bytes, field) {
  const value = exactly(bytes, 32, field);
  insist(value < R, "P-1.2", field, "less than r", hex(value, 32));
  return value;
}

/**
 * @param {bigint} value
 * @param {number} bytes
 */
export const hex = (value, bytes) => `0x${toBytes(value, bytes).toString("hex")}`;
