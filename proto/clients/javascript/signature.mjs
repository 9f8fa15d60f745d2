// Keys and signatures (section 5): EdDSA-Poseidon over BabyJubJub.

import { buildEddsa } from "circomlibjs";
import { L, R } from "./field.mjs";
import { hash } from "./poseidon.mjs";

const eddsa = await buildEddsa();
const curve = eddsa.babyJub;
const F = curve.F;

/** @typedef {[bigint, bigint]} Point x and y */
/** @typedef {{ r8: Point, s: bigint }} Signature */

/**
 * The key that belongs to a secret (P-5.7).
 * @param {Uint8Array} secret 32 bytes
 * @returns {Point}
 */
export const publicKey = (secret) => fromCurve(eddsa.prv2pub(secret));

/**
 * @param {Uint8Array} secret 32 bytes
 * @param {bigint} message
 * @returns {Signature}
 */
export function sign(secret, message) {
  const { R8, S } = eddsa.signPoseidon(secret, F.e(message));
  return { r8: fromCurve(R8), s: S };
}

/**
 * Whether a key is one (P-5.1).
 * @param {Point} key
 */
export function isKey(key) {
  if (!key.every((coordinate) => coordinate < R)) return false;
  const point = toCurve(key);
  return curve.inCurve(point) && fromCurve(curve.mulPointEscalar(point, 8n)).join() !== "0,1";
}

/**
 * Whether a signature verifies (P-5.4).
 * @param {Point} key
 * @param {bigint} message
 * @param {Signature} signature
 */
export function verifies(key, message, { r8, s }) {
  if (!isKey(key) || !r8.every((coordinate) => coordinate < R)) return false;
  const nonce = toCurve(r8);
  if (!curve.inCurve(nonce) || r8[0] === 0n || s >= L) return false;
  const challenge = hash([...r8, ...key, message]);
  const right = curve.addPoint(nonce, curve.mulPointEscalar(toCurve(key), 8n * challenge));
  return fromCurve(curve.mulPointEscalar(curve.Base8, s)).join() === fromCurve(right).join();
}

/** @param {Point} point */
const toCurve = (point) => point.map((coordinate) => F.e(coordinate));

/**
 * @param {Uint8Array[]} point
 * @returns {Point}
 */
const fromCurve = ([x, y]) => [F.toObject(x), F.toObject(y)];
