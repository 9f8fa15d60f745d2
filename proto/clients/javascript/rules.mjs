// What operations do (section 4): when they are valid, and their effects.

import { value } from "./decimal.mjs";
import { R } from "./field.mjs";
import { creationMessage, transferMessage, withdrawalMessage } from "./operation.mjs";
import {
  CREATION,
  DEPOSIT_EXISTING,
  DEPOSIT_NEW,
  FORCED_EXIT,
  KEY_CHANGE,
  L1_INDEX_MIN,
  WITHDRAWAL,
} from "./record.mjs";
import { insist } from "./refusal.mjs";
import { verifies } from "./signature.mjs";
import { Draft } from "./state.mjs";

/** @typedef {{ rollupId: bigint, time: bigint }} Terms what a batch is executed with; `time` is its T */

/** The first index of users (P-3.5). */
export const USER_INDEX_MIN = 65536n;

const BALANCE_BITS = 128n;

/**
 * Executes an operation; a refused one leaves the draft as it was.
 * @param {Draft} draft
 * @param {import("./operation.mjs").Operation} operation
 * @param {Terms} terms
 * @returns {import("./record.mjs").Record | undefined} its record, if it has one
 */
export function execute(draft, operation, terms) {
  const step = new Draft(draft);
  const { kind, signature } = /** @type {any} */ (operation);
  const record = EXECUTE[kind](step, operation[kind], signature, terms);
  draft.commit(step);
  return record;
}

const EXECUTE = { transfer, withdrawal, creation, queued, noOp: () => undefined };

/** P-4.4 and P-4.5. */
function transfer(draft, operation, signature, { rollupId, time }) {
  const { from, to, nonce, expiry, token } = operation;
  const [amount, fee] = [value(operation.amount), value(operation.fee)];
  const sender = occupied(draft, from, "P-4.4.1", "transfer.from");
  const receiver = occupied(draft, to, "P-4.4.2", "transfer.to");
  insist(sender.token === token, "P-4.4.3", "transfer.token", sender.token, token);
  insist(receiver.token === token, "P-4.4.3", "transfer.token", receiver.token, token);
  occupied(draft, token, "P-4.4.4", "transfer.token");
  insist(nonce === sender.nonce, "P-4.4.5", "transfer.nonce", sender.nonce, nonce);
  insist(time <= expiry, "P-4.4.6", "transfer.expiry", `at least ${time}`, expiry);
  insist(
    sender.balance >= amount + fee,
    "P-4.4.7",
    "transfer.amount",
    `at most ${sender.balance} with its fee`,
    amount + fee,
  );
  const message = transferMessage(operation, rollupId, receiver);
  insist(verifies(sender.owner, message, signature), "P-4.4.8", "signature", "the owner's", "another");
  pay(draft, from, amount + fee);
  credit(draft, to, amount, "P-4.4.9");
  credit(draft, token, fee, "P-4.4.9");
}

/** P-4.7 and P-4.8. */
function withdrawal(draft, operation, signature, { rollupId, time }) {
  const { from, amount, nonce, expiry, token } = operation;
  const fee = value(operation.fee);
  const account = occupied(draft, from, "P-4.7.1", "withdrawal.from");
  insist(account.token === token, "P-4.7.2", "withdrawal.token", account.token, token);
  occupied(draft, token, "P-4.7.3", "withdrawal.token");
  insist(nonce === account.nonce, "P-4.7.4", "withdrawal.nonce", account.nonce, nonce);
  insist(time <= expiry, "P-4.7.5", "withdrawal.expiry", `at least ${time}`, expiry);
  insist(
    account.balance >= amount + fee,
    "P-4.7.6",
    "withdrawal.amount",
    `at most ${account.balance} with its fee`,
    amount + fee,
  );
  const message = withdrawalMessage(operation, rollupId, account.l1Address);
  insist(verifies(account.owner, message, signature), "P-4.7.7", "signature", "the owner's", "another");
  pay(draft, from, amount + fee);
  credit(draft, token, fee, "P-4.7.8");
  return { kind: WITHDRAWAL, code: 0n, token, index: from, amount, address: account.l1Address, u: 0n, v: 0n };
}

/** P-4.9 and P-4.10. */
function creation(draft, operation, signature, { rollupId }) {
  const { index, token, owner, l1Address } = operation;
  const isUsers = index >= USER_INDEX_MIN && index < L1_INDEX_MIN;
  insist(isUsers, "P-4.9.1", "creation.index", "65536 to 2^32 - 1", index);
  insist(!draft.get(index), "P-4.9.2", "creation.index", "one that is not occupied", index);
  occupied(draft, token, "P-4.9.3", "creation.token");
  insist(
    verifies(owner, creationMessage(operation, rollupId), signature),
    "P-4.9.4",
    "signature",
    "the owner's",
    "another",
  );
  draft.set(index, { token, nonce: 0n, balance: 0n, owner, l1Address });
  return { kind: CREATION, code: 0n, token, index, amount: 0n, address: l1Address, u: owner[0], v: owner[1] };
}

/** P-4.11: each has a code, and with another than 0 no effect. */
function queued(draft, entry) {
  const code = codeOf(draft.get(entry.index), entry);
  if (code !== 0n) return { ...entry, code };
  const { index, token, address, amount } = entry;
  const [account, key] = [draft.get(index), [entry.u % R, entry.v % R]];
  switch (entry.kind) {
    case DEPOSIT_NEW:
      draft.set(index, { token, nonce: 0n, balance: amount, owner: key, l1Address: address });
      return entry;
    case DEPOSIT_EXISTING:
      // No state that is reached breaks this (P-4.13).
      credit(draft, index, amount, "P-4.11");
      return entry;
    case FORCED_EXIT:
      draft.set(index, { ...account, balance: 0n });
      return { ...entry, amount: account.balance };
    default:
      draft.set(index, { ...account, owner: key });
      return entry;
  }
}

/** The first condition of the entry's row that holds, or 0. */
function codeOf(account, { kind, token, index, address, u, v }) {
  if (index === 0n) return 1n;
  if (kind === DEPOSIT_NEW) return account ? 1n : 0n;
  if (!account) return 1n;
  if (kind !== KEY_CHANGE && account.token !== token) return 2n;
  if (kind !== DEPOSIT_EXISTING) return account.l1Address !== address ? 3n : 0n;
  if (account.l1Address !== u % R) return 3n;
  return account.owner[1] !== v % R ? 4n : 0n;
}

function occupied(draft, index, rule, field) {
  const account = draft.get(index);
  insist(account !== undefined, rule, field, "an account", `none at index ${index}`);
  return account;
}

function pay(draft, index, total) {
  const account = draft.get(index);
  draft.set(index, { ...account, nonce: account.nonce + 1n, balance: account.balance - total });
}

function credit(draft, index, amount, rule) {
  const account = draft.get(index);
  const balance = account.balance + amount;
  insist(balance >> BALANCE_BITS === 0n, rule, `balance of ${index}`, "less than 2^128", balance);
  draft.set(index, { ...account, balance });
}
