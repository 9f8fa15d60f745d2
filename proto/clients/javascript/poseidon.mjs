// The hash (section 2): circomlib's Poseidon with eight inputs, and with five for a signature's challenge.

import { buildPoseidon } from "circomlibjs";

const poseidon = await buildPoseidon();
const F = poseidon.F;

/**
 * `Poseidon_n` (P-2.1).
 * @param {bigint[]} inputs
 * @returns {bigint}
 */
export const hash = (inputs) => F.toObject(poseidon(inputs.map((input) => F.e(input))));

/**
 * `H` of seven inputs and a tag (P-2.3).
 * @param {bigint[]} inputs
 * @param {"leaf" | "transfer" | "withdraw" | "create" | "stream-a" | "stream-b"} tag
 * @returns {bigint}
 */
export const tagged = (inputs, tag) => hash([...inputs, BigInt(`0x${Buffer.from(tag, "ascii").toString("hex")}`)]);
