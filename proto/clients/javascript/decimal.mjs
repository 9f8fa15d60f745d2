// Decimal floats (P-4.2): an amount has a mantissa of 19 bits, a fee one of 4.

import { Refusal, insist } from "./refusal.mjs";

/** @typedef {{ mantissa: bigint, exponent: bigint }} Decimal */

export const AMOUNT_BITS = 19n;
export const FEE_BITS = 4n;
const EXPONENT_BITS = 5n;

/** @param {Decimal} decimal */
export const value = ({ mantissa, exponent }) => mantissa * 10n ** exponent;

/**
 * The one encoding of an integer.
 * @param {bigint} integer
 * @param {bigint} bits of the mantissa
 * @param {string} field
 * @returns {Decimal}
 */
export function decimal(integer, bits, field) {
  let [mantissa, exponent] = [integer, 0n];
  while (mantissa >> bits !== 0n && mantissa % 10n === 0n) [mantissa, exponent] = [mantissa / 10n, exponent + 1n];
  const fits = mantissa >= 0n && mantissa >> bits === 0n && exponent >> EXPONENT_BITS === 0n;
  if (!fits) throw new Refusal("P-4.2", field, `m · 10^e, m below 2^${bits}, e below 2^5`, integer);
  return { mantissa, exponent };
}

/**
 * Throws unless this is a number's one encoding.
 * @param {Decimal} decimal
 * @param {bigint} bits of the mantissa
 * @param {string} field
 */
export function checkDecimal({ mantissa, exponent }, bits, field) {
  insist(mantissa >> bits === 0n, "P-4.2", `${field}.mantissa`, `less than 2^${bits}`, mantissa);
  insist(exponent >> EXPONENT_BITS === 0n, "P-4.2", `${field}.exponent`, "less than 2^5", exponent);
  const canonical = exponent === 0n || (10n * mantissa) >> bits !== 0n;
  insist(canonical, "P-4.2", field, "the least exponent that holds it", `${mantissa} · 10^${exponent}`);
}
