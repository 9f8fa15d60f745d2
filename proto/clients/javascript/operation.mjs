// Operations (section 4) as values, with their words and messages, from and to the interface's `Operation`.

import { AMOUNT_BITS, FEE_BITS, checkDecimal } from "./decimal.mjs";
import { element, exactly, toBytes, toInteger } from "./field.mjs";
import { tagged } from "./poseidon.mjs";
import { checkEntry } from "./record.mjs";
import { Refusal, insist } from "./refusal.mjs";

/** @typedef {import("./decimal.mjs").Decimal} Decimal */
/** @typedef {import("./record.mjs").Record} Record */
/** @typedef {import("./signature.mjs").Point} Point */
/** @typedef {import("./signature.mjs").Signature} Signature */

/** @typedef {{ from: bigint, to: bigint, amount: Decimal, fee: Decimal, nonce: bigint, expiry: bigint, token: bigint }} Transfer */
/** @typedef {{ from: bigint, amount: bigint, fee: Decimal, nonce: bigint, expiry: bigint, token: bigint }} Withdrawal */
/** @typedef {{ index: bigint, token: bigint, owner: Point, l1Address: bigint }} Creation */
/**
 * @typedef {{ kind: "transfer", transfer: Transfer, signature: Signature }
 *   | { kind: "withdrawal", withdrawal: Withdrawal, signature: Signature }
 *   | { kind: "creation", creation: Creation, signature: Signature }
 *   | { kind: "queued", queued: Record }
 *   | { kind: "noOp" }} Operation
 */

/** Numbers of the queue's kinds (P-6.6), by their names in the interface. */
export const QUEUED_KINDS = {
  QUEUED_KIND_DEPOSIT_NEW: 1n,
  QUEUED_KIND_DEPOSIT_EXISTING: 2n,
  QUEUED_KIND_FORCED_EXIT: 3n,
  QUEUED_KIND_KEY_CHANGE: 4n,
};

const NO_DECIMAL = { mantissa: 0n, exponent: 0n };

/**
 * The word of an operation that stands in a place (P-4.3).
 * @param {Operation} operation
 * @returns {bigint}
 */
export function word(operation) {
  switch (operation.kind) {
    case "transfer":
      return transferWord(operation.transfer);
    case "withdrawal":
      return withdrawalWord(operation.withdrawal);
    case "creation":
      return pack(0n, NO_DECIMAL, NO_DECIMAL, operation.creation.index);
    case "noOp":
      return 0n;
    default:
      throw new TypeError("an operation of the queue has no word");
  }
}

/**
 * What the sender signs (P-5.2).
 * @param {Transfer} transfer
 * @param {bigint} rollupId
 * @param {import("./state.mjs").Account} receiver the account at `to` as the sender means it
 */
export function transferMessage(transfer, rollupId, receiver) {
  const { nonce, expiry, token } = transfer;
  const inputs = [rollupId, transferWord(transfer), nonce, expiry, token, receiver.owner[1], receiver.l1Address];
  return tagged(inputs, "transfer");
}

/**
 * What the account's owner signs (P-5.5).
 * @param {Withdrawal} withdrawal
 * @param {bigint} rollupId
 * @param {bigint} l1Address the account's own
 */
export function withdrawalMessage(withdrawal, rollupId, l1Address) {
  const { nonce, expiry, token, amount } = withdrawal;
  return tagged([rollupId, withdrawalWord(withdrawal), nonce, expiry, token, amount, l1Address], "withdraw");
}

/**
 * What the new account's owner signs (P-5.6).
 * @param {Omit<Creation, "index">} creation
 * @param {bigint} rollupId
 */
export function creationMessage({ token, owner, l1Address }, rollupId) {
  return tagged([rollupId, token, ...owner, l1Address, 0n, 0n], "create");
}

/**
 * An operation of the interface, all its fields checked by themselves.
 * @param {any} message a decoded `Operation`
 * @returns {Operation}
 */
export function fromProto(message) {
  const kind = message.kind?.$case;
  const signed = ["transfer", "withdrawal", "creation"].includes(kind);
  insist(kind !== undefined, "P-4.12", "kind", "one of the five", "none");
  insist(
    Boolean(message.signature) === signed,
    "P-4.12",
    "signature",
    signed ? "one" : "none",
    signed ? "none" : "one",
  );
  if (kind === "noOp") return { kind };
  const value = READERS[kind](message.kind[kind]);
  return signed ? { kind, [kind]: value, signature: signatureFromProto(message.signature) } : { kind, [kind]: value };
}

/**
 * @param {Operation} operation
 * @returns {any} an `Operation` to be encoded
 */
export function toProto(operation) {
  const { kind, signature } = /** @type {any} */ (operation);
  const message = { kind: { $case: kind, [kind]: WRITERS[kind](operation[kind]) } };
  return signature ? { ...message, signature: signatureToProto(signature) } : message;
}

const READERS = {
  transfer: (message) => ({
    from: index(message.from, "transfer.from"),
    to: index(message.to, "transfer.to"),
    amount: decimalFromProto(message.amount, AMOUNT_BITS, "transfer.amount"),
    ...paid(message, "transfer"),
  }),
  withdrawal: (message) => ({
    from: index(message.from, "withdrawal.from"),
    amount: exactly(message.amount, 16, "withdrawal.amount"),
    ...paid(message, "withdrawal"),
  }),
  creation: (message) => ({
    index: index(message.index, "creation.index"),
    token: token(message.token, "creation.token"),
    owner: [element(message.ownerX, "creation.owner_x"), element(message.ownerY, "creation.owner_y")],
    l1Address: exactly(message.l1Address, 20, "creation.l1_address"),
  }),
  queued: (message) => {
    const kind = QUEUED_KINDS[message.kind];
    insist(kind !== undefined, "P-4.11", "queued.kind", "one of the four", message.kind);
    return checkEntry({
      kind,
      code: 0n,
      token: BigInt(message.token),
      index: below(BigInt(message.index), 33n, "P-12.6", "queued.index"),
      amount: orNone(message.amount, 16, "queued.amount"),
      address: exactly(message.address, 20, "queued.address"),
      u: orNone(message.u, 32, "queued.u"),
      v: orNone(message.v, 32, "queued.v"),
    });
  },
};

const WRITERS = {
  transfer: (transfer) => ({
    from: transfer.from,
    to: transfer.to,
    amount: decimalToProto(transfer.amount),
    ...paidToProto(transfer),
  }),
  withdrawal: (withdrawal) => ({
    from: withdrawal.from,
    amount: toBytes(withdrawal.amount, 16),
    ...paidToProto(withdrawal),
  }),
  creation: (creation) => ({
    index: creation.index,
    token: Number(creation.token),
    ownerX: toBytes(creation.owner[0], 32),
    ownerY: toBytes(creation.owner[1], 32),
    l1Address: toBytes(creation.l1Address, 20),
  }),
  queued: (entry) => ({
    kind: Object.keys(QUEUED_KINDS).find((name) => QUEUED_KINDS[name] === entry.kind),
    token: Number(entry.token),
    index: entry.index,
    amount: toBytes(entry.amount, 16),
    address: toBytes(entry.address, 20),
    u: toBytes(entry.u, 32),
    v: toBytes(entry.v, 32),
  }),
  noOp: () => ({}),
};

const transferWord = ({ from, amount, fee, to }) => pack(from, amount, fee, to);
const withdrawalWord = ({ from, fee }) => pack(from, NO_DECIMAL, fee, 0n);

const pack = (from, amount, fee, to) =>
  from +
  (amount.mantissa << 33n) +
  (amount.exponent << 52n) +
  (fee.mantissa << 57n) +
  (fee.exponent << 61n) +
  (to << 66n);

/** What transfer and withdrawal have in common. */
const paid = (message, name) => ({
  fee: decimalFromProto(message.fee, FEE_BITS, `${name}.fee`),
  nonce: BigInt(message.nonce),
  expiry: below(BigInt(message.expiry), 40n, "P-4.1", `${name}.expiry`),
  token: token(message.token, `${name}.token`),
});

const paidToProto = ({ fee, nonce, expiry, token }) => ({
  fee: decimalToProto(fee),
  nonce,
  expiry,
  token: Number(token),
});

function decimalFromProto(message, bits, field) {
  if (!message) throw new Refusal("P-4.2", field, "a number", "none");
  const decimal = { mantissa: BigInt(message.mantissa), exponent: BigInt(message.exponent) };
  checkDecimal(decimal, bits, field);
  return decimal;
}

const decimalToProto = ({ mantissa, exponent }) => ({ mantissa: Number(mantissa), exponent: Number(exponent) });

/** Elements are canonical, or there is no signature that they could be (P-5.4). @returns {Signature} */
const signatureFromProto = ({ r8X, r8Y, s }) => ({
  r8: [element(r8X, "signature.r8_x"), element(r8Y, "signature.r8_y")],
  s: exactly(s, 32, "signature.s"),
});

const signatureToProto = ({ r8, s }) => ({ r8X: toBytes(r8[0], 32), r8Y: toBytes(r8[1], 32), s: toBytes(s, 32) });

/** @param {bigint} value @param {bigint} bits @param {string} rule @param {string} field */
function below(value, bits, rule, field) {
  insist(value >> bits === 0n, rule, field, `less than 2^${bits}`, value);
  return value;
}

function index(given, field) {
  const value = below(BigInt(given), 33n, "P-3.4", field);
  insist(value !== 0n, "P-3.5", field, "an index that is not 0", value);
  return value;
}

function token(given, field) {
  const value = BigInt(given);
  insist(value >= 1n && value <= 65535n, "P-3.3", field, "1 to 65535", value);
  return value;
}

const orNone = (bytes, length, field) => (bytes.length === 0 ? 0n : exactly(bytes, length, field));
