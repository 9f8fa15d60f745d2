// Makes circomlibjs.json, the vectors that tests/vectors.rs reads. In an empty folder, with Node 20:
//
//   npm install circomlibjs@0.1.7 @zk-kit/eddsa-poseidon@1.1.0
//   cp <repository>/circuits/rules/tests/vectors/generate.mjs . && node generate.mjs > circomlibjs.json
//
// Hashes, keys, signatures and verdicts come from circomlibjs; zk-kit must agree on every key and signature. Words,
// messages and leaves are composed here from PROTOCOL.md, not from the Rust code.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { buildEddsa, buildBabyjub, buildPoseidon } from "circomlibjs";

// zk-kit's ES module imports a CommonJS one by name, which Node refuses; its CommonJS build loads.
const zkKit = createRequire(import.meta.url)("@zk-kit/eddsa-poseidon");

const r = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const l = 2736030358979909402780800718157159386076813972158567259200215660948447373041n;

const eddsa = await buildEddsa();
const curve = await buildBabyjub();
const poseidon = await buildPoseidon();
const F = curve.F;

const digest = (text) => createHash("sha256").update(text).digest();
const integer = (text) => BigInt("0x" + digest(text).toString("hex"));
const element = (text) => integer(text) % r;
const hex = (value, bytes = 32) => "0x" + value.toString(16).padStart(2 * bytes, "0");
const hash = (inputs) => F.toObject(poseidon(inputs.map((input) => F.e(input))));
const ascii = (text) => BigInt("0x" + Buffer.from(text).toString("hex"));
const point = ([x, y]) => ({ x: hex(F.toObject(x)), y: hex(F.toObject(y)) });

function insist(condition, what) {
  if (!condition) throw new Error(what);
}

function poseidonVectors() {
  const inputs = [];
  for (const n of [5, 8]) {
    inputs.push(Array(n).fill(0n), Array(n).fill(r - 1n));
    inputs.push([...Array(n).keys()].map((i) => BigInt(i + 1)));
    for (let i = 0; i < 8; i++) inputs.push([...Array(n).keys()].map((j) => element(`poseidon ${n} ${i} ${j}`)));
  }
  return inputs.map((list) => ({ inputs: list.map((input) => hex(input)), output: hex(hash(list)) }));
}

// Signs with circomlibjs; zk-kit must make the same signature.
function sign(seed, message) {
  const signature = eddsa.signPoseidon(seed, F.e(message));
  const other = zkKit.signMessage(seed, message);
  insist(other.S === signature.S || BigInt(other.S) === signature.S, "zk-kit's S differs");
  insist(BigInt(other.R8[0]) === F.toObject(signature.R8[0]), "zk-kit's R8 differs");
  return signature;
}

function publicKey(seed) {
  const key = eddsa.prv2pub(seed);
  const other = zkKit.derivePublicKey(seed);
  insist(BigInt(other[0]) === F.toObject(key[0]) && BigInt(other[1]) === F.toObject(key[1]), "zk-kit's key differs");
  return key;
}

function record(note, key, message, signature, expected) {
  let accepted = false;
  try {
    accepted = eddsa.verifyPoseidon(F.e(message), signature, key);
  } catch {
    accepted = false;
  }
  return {
    note,
    key: point(key),
    message: hex(message),
    signature: { r8: point(signature.R8), s: hex(signature.S) },
    circomlibjs_accepts: accepted,
    expected,
  };
}

function signatureVectors() {
  const vectors = [];
  for (let i = 0; i < 12; i++) {
    const seed = digest(`signer ${i}`);
    const message = i === 0 ? 0n : i === 1 ? r - 1n : element(`message ${i}`);
    const vector = record(`valid ${i}`, publicKey(seed), message, sign(seed, message), "valid");
    insist(vector.circomlibjs_accepts, "a signature of its own");
    vectors.push({ seed: "0x" + seed.toString("hex"), ...vector });
  }
  return vectors;
}

// Expected is the check of P-5.4 that fails first. circomlibjs is laxer about keys and R8 of small order.
function invalidVectors() {
  const seed = digest("signer 0");
  const key = publicKey(seed);
  const message = element("message invalid");
  const valid = sign(seed, message);
  const identity = [F.zero, F.one];
  const orderTwo = [F.zero, F.neg(F.one)];
  // a x² = 1 at y = 0: a point of order four.
  const orderFour = [F.div(F.one, F.sqrt(F.e(168700n))), F.zero];
  insist(curve.inCurve(orderFour), "the point of order four");
  const offCurve = [F.e(1n), F.e(1n)];
  const S0 = element("scalar") % l;
  const free = curve.mulPointEscalar(curve.Base8, S0);
  const vector = (note, expected, changes) => {
    const all = { key, message, R8: valid.R8, S: valid.S, ...changes };
    return record(note, all.key, all.message, { R8: all.R8, S: all.S }, expected);
  };
  return [
    vector("another message", "equation", { message: message + 1n }),
    vector("another key", "equation", { key: publicKey(digest("signer 1")) }),
    vector("S + 1", "equation", { S: valid.S + 1n }),
    vector("S + l", "scalar_range", { S: valid.S + l }),
    vector("S = l", "scalar_range", { S: l }),
    vector("S = 2^256 - 1", "scalar_range", { S: 2n ** 256n - 1n }),
    vector("R8 negated", "equation", { R8: [F.neg(valid.R8[0]), valid.R8[1]] }),
    vector("R8 + a point of order two", "equation", { R8: curve.addPoint(valid.R8, orderTwo) }),
    vector("R8 + a point of order four", "equation", { R8: curve.addPoint(valid.R8, orderFour) }),
    vector("R8 off the curve", "nonce_off_curve", { R8: offCurve }),
    vector("R8 is the identity", "nonce_zero_x", { R8: identity }),
    vector("R8 of order two", "nonce_zero_x", { R8: orderTwo }),
    vector("R8 of order four", "equation", { R8: orderFour }),
    vector("R8 and A swapped", "equation", { R8: key, key: valid.R8 }),
    vector("key off the curve", "key_off_curve", { key: offCurve }),
    vector("key is the identity, equation holds", "key_small_order", { key: identity, R8: free, S: S0 }),
    vector("key of order two, equation holds", "key_small_order", { key: orderTwo, R8: free, S: S0 }),
    vector("key of order four, equation holds", "key_small_order", { key: orderFour, R8: free, S: S0 }),
  ];
}

// P-4.3, P-5.2, P-5.5 and P-5.6, composed from the text: what is signed of each operation.
function signedVectors() {
  const rows = [
    [1n, 1n, 0n, 0n, 0n, 0n, 0n, 2n ** 40n - 1n, 1n, 0n],
    [65536n, 65537n, 1500n, 0n, 7n, 1n, 3n, 1_800_000_000n, 1n, 10n ** 18n],
    [2n ** 33n - 1n, 2n ** 33n - 1n, 2n ** 19n - 1n, 31n, 15n, 31n, 2n ** 64n - 1n, 2n ** 40n - 1n, 65535n, 2n ** 128n - 1n],
  ];
  return rows.map(([from, to, mAmount, eAmount, mFee, eFee, nonce, expiry, token, exact], i) => {
    const chainId = [1n, 31337n, 2n ** 64n - 1n][i];
    const contract = integer(`contract ${i}`) % 2n ** 160n;
    const rollup = chainId * 2n ** 160n + contract;
    const seed = digest(`sender ${i}`);
    const [x, y] = publicKey(seed).map((coordinate) => F.toObject(coordinate));
    const other = publicKey(digest(`receiver ${i}`)).map((coordinate) => F.toObject(coordinate));
    const address = integer(`sender's address ${i}`) % 2n ** 160n;
    const otherAddress = integer(`receiver's address ${i}`) % 2n ** 160n;
    const feePart = 2n ** 57n * mFee + 2n ** 61n * eFee;
    const signed = (word, inputs, tag) => {
      const message = hash([...inputs, ascii(tag)]);
      const signature = sign(seed, message);
      return { word: hex(word), message: hex(message), signature: { r8: point(signature.R8), s: hex(signature.S) } };
    };
    const transfer = from + 2n ** 33n * mAmount + 2n ** 52n * eAmount + feePart + 2n ** 66n * to;
    const withdrawal = from + feePart;
    const creation = 2n ** 66n * to;
    return {
      rollup_id: { chain_id: chainId.toString(), contract: hex(contract, 20) },
      from: Number(from),
      to: Number(to),
      amount: (mAmount * 10n ** eAmount).toString(),
      withdrawn: exact.toString(),
      fee: (mFee * 10n ** eFee).toString(),
      nonce: nonce.toString(),
      expiry: Number(expiry),
      token: Number(token),
      seed: "0x" + seed.toString("hex"),
      owner: { x: hex(x), y: hex(y) },
      l1_address: hex(address, 20),
      receiver: { x: hex(other[0]), y: hex(other[1]) },
      receiver_address: hex(otherAddress, 20),
      transfer: signed(transfer, [rollup, transfer, nonce, expiry, token, other[1], otherAddress], "transfer"),
      withdrawal: signed(withdrawal, [rollup, withdrawal, nonce, expiry, token, exact, address], "withdraw"),
      creation: signed(creation, [rollup, token, x, y, address, 0n, 0n], "create"),
    };
  });
}

// P-3.2 and P-3.4: one account at index 65536 of an otherwise empty tree.
function stateVector() {
  const seed = digest("owner");
  const [x, y] = publicKey(seed).map((coordinate) => F.toObject(coordinate));
  const address = integer("address") % 2n ** 160n;
  const [token, nonce, balance] = [65535n, 2n ** 64n - 1n, 2n ** 128n - 1n];
  const leaf = hash([token, nonce, balance, x, y, address, 0n, ascii("leaf")]);
  const empty = [0n];
  for (let j = 0; j < 11; j++) empty.push(hash(Array(8).fill(empty[j])));
  let node = leaf;
  for (let j = 0n; j < 11n; j++) {
    const children = Array(8).fill(empty[Number(j)]);
    children[Number((65536n >> (3n * j)) % 8n)] = node;
    node = hash(children);
  }
  return {
    account: {
      token: Number(token),
      nonce: nonce.toString(),
      balance: balance.toString(),
      owner: { x: hex(x), y: hex(y) },
      l1_address: hex(address, 20),
    },
    leaf: hex(leaf),
    index: 65536,
    root: hex(node),
    empty_root: hex(empty[11]),
  };
}

console.log(
  JSON.stringify(
    {
      made_by: "generate.mjs with circomlibjs 0.1.7 and @zk-kit/eddsa-poseidon 1.1.0",
      poseidon: poseidonVectors(),
      signatures: signatureVectors(),
      invalid_signatures: invalidVectors(),
      signed: signedVectors(),
      state: stateVector(),
    },
    null,
    1,
  ),
);
