// Each rule of section 4 is broken once, each code of the queue comes about, and what is refused moves nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEPOSIT_EXISTING, DEPOSIT_NEW, FORCED_EXIT, KEY_CHANGE, L1_INDEX_MIN, elements } from "../record.mjs";
import { execute } from "../rules.mjs";
import { Draft, State } from "../state.mjs";
import { EMPTY_ROOT } from "../tree.mjs";
import { Wallet } from "../wallet.mjs";

const TERMS = { rollupId: (31337n << 160n) + 7n, time: 1_800_000_000n };
const SIGN = { rollupId: TERMS.rollupId, expiry: TERMS.time };
const [ETH, ALICE, BOB, DAI_ALICE, CAROL] = [1n, L1_INDEX_MIN, L1_INDEX_MIN + 1n, L1_INDEX_MIN + 2n, 65536n];
const NOBODY = 2n ** 33n - 1n;
const BALANCE_MAX = 2n ** 128n - 1n;
const VALUE = { amount: 1500n, fee: 20n };
const [alice, bob, carol] = [1, 2, 3].map((name) => new Wallet(Buffer.alloc(32, name), BigInt(name)));

const account = (wallet, fields) => ({
  token: ETH,
  nonce: 0n,
  balance: 0n,
  owner: wallet.owner,
  l1Address: wallet.l1Address,
  ...fields,
});

/** Fee accounts of tokens 1 and 2, alice and bob with ETH, alice with DAI and with a token that has no fee account. */
function draft(changes = {}) {
  const draft = new Draft(new State());
  const accounts = {
    1: account(carol, {}),
    2: account(carol, { token: 2n }),
    [ALICE]: account(alice, { balance: 10_000n, nonce: 5n }),
    [BOB]: account(bob, {}),
    [DAI_ALICE]: account(alice, { token: 2n, balance: 10_000n }),
    ...changes,
  };
  for (const [index, made] of Object.entries(accounts)) draft.set(BigInt(index), made);
  return draft;
}

const named = (draft, index) => ({ index, account: draft.get(index) });
const pay = (draft, value = VALUE, terms = SIGN) =>
  alice.transfer(named(draft, ALICE), named(draft, BOB), value, terms);
const leave = (draft, value = VALUE, terms = SIGN) => alice.withdrawal(named(draft, ALICE), value, terms);

function refuses(rule, draft, operation) {
  const before = new Map(draft.changes);
  assert.throws(() => execute(draft, operation, TERMS), { name: "Refusal", rule });
  assert.deepEqual(draft.changes, before);
}

/** An operation with other fields, its signature as it was. */
const changed = (operation, fields) => ({
  ...operation,
  [operation.kind]: { ...operation[operation.kind], ...fields },
});

test("a transfer moves amount and fee, and the nonce", () => {
  const state = draft();
  assert.equal(execute(state, pay(state), TERMS), undefined);
  const { nonce, balance } = state.get(ALICE);
  assert.deepEqual([nonce, balance, state.get(BOB).balance, state.get(ETH).balance], [6n, 8480n, 1500n, 20n]);
});

test("a transfer to oneself pays the fee alone", () => {
  const state = draft();
  execute(state, alice.transfer(named(state, ALICE), named(state, ALICE), VALUE, SIGN), TERMS);
  assert.equal(state.get(ALICE).balance, 9980n);
});

test("each rule of a transfer is kept", () => {
  const state = draft();
  const valid = pay(state);
  refuses("P-4.4.1", state, changed(valid, { from: NOBODY }));
  refuses("P-4.4.2", state, changed(valid, { to: NOBODY }));
  refuses("P-4.4.3", state, changed(valid, { to: DAI_ALICE }));
  refuses("P-4.4.3", state, changed(valid, { token: 2n }));
  const odd = { token: 3n, balance: 10_000n };
  const withoutFees = draft({ [ALICE]: account(alice, odd), [BOB]: account(bob, odd) });
  refuses("P-4.4.4", withoutFees, pay(withoutFees));
  refuses("P-4.4.5", state, changed(valid, { nonce: 4n }));
  refuses("P-4.4.6", state, pay(state, VALUE, { ...SIGN, expiry: TERMS.time - 1n }));
  refuses("P-4.4.7", state, pay(state, { amount: 9_981n, fee: 20n }));
  refuses("P-4.4.8", state, changed(valid, { amount: { mantissa: 1501n, exponent: 0n } }));
  refuses("P-4.4.8", state, pay(state, VALUE, { ...SIGN, rollupId: SIGN.rollupId + 1n }));
  refuses("P-4.4.8", state, { ...valid, signature: leave(state).signature });
  const replaced = draft({ [BOB]: account(bob, { l1Address: 9n }) });
  refuses("P-4.4.8", replaced, valid);
  for (const index of [BOB, ETH]) {
    const owner = index === BOB ? bob : carol;
    const full = draft({ [index]: account(owner, { balance: BALANCE_MAX }) });
    refuses("P-4.4.9", full, pay(full));
  }
});

test("a signature that is not one does not verify", () => {
  const state = draft();
  const { signature, ...valid } = pay(state);
  const L = 2736030358979909402780800718157159386076813972158567259200215660948447373041n;
  for (const other of [
    { s: signature.s + 1n },
    { s: signature.s + L },
    { r8: [0n, 1n] },
    { r8: [1n, 1n] },
    { r8: [signature.r8[1], signature.r8[0]] },
  ]) {
    refuses("P-4.4.8", state, { ...valid, signature: { ...signature, ...other } });
  }
});

test("each rule of a withdrawal is kept, and its record names the account's address", () => {
  const state = draft();
  const valid = leave(state);
  refuses("P-4.7.1", state, changed(valid, { from: NOBODY }));
  refuses("P-4.7.2", state, changed(valid, { token: 2n }));
  const withoutFees = draft({ [ALICE]: account(alice, { token: 3n, balance: 10_000n }) });
  refuses("P-4.7.3", withoutFees, leave(withoutFees));
  refuses("P-4.7.4", state, changed(valid, { nonce: 6n }));
  refuses("P-4.7.5", state, leave(state, VALUE, { ...SIGN, expiry: TERMS.time - 1n }));
  refuses("P-4.7.6", state, leave(state, { amount: 9_981n, fee: 20n }));
  refuses("P-4.7.7", state, changed(valid, { amount: 1n }));
  const full = draft({ [ETH]: account(carol, { balance: BALANCE_MAX }) });
  refuses("P-4.7.8", full, leave(full));
  const record = execute(state, valid, TERMS);
  assert.deepEqual([record.kind, record.amount, record.address, state.get(ALICE).balance], [5n, 1500n, 1n, 8480n]);
});

test("each rule of a creation is kept", () => {
  const valid = carol.creation(ETH, CAROL, TERMS.rollupId);
  refuses("P-4.9.1", draft(), changed(valid, { index: 65535n }));
  refuses("P-4.9.1", draft(), changed(valid, { index: L1_INDEX_MIN }));
  refuses("P-4.9.2", draft({ [CAROL]: account(bob, {}) }), valid);
  refuses("P-4.9.3", draft(), carol.creation(3n, CAROL, TERMS.rollupId));
  refuses("P-4.9.4", draft(), changed(valid, { l1Address: 9n }));
  refuses("P-4.9.4", draft(), changed(valid, { owner: [0n, 1n] }));
  const state = draft();
  execute(state, valid, TERMS);
  assert.deepEqual(state.get(CAROL), account(carol, {}));
});

test("an entry of the queue has a code, and only with code 0 an effect", () => {
  const entry = { code: 0n, token: ETH, index: ALICE, amount: 0n, address: 1n, u: 0n, v: 0n };
  const [u, v] = bob.owner;
  const cases = [
    [{ kind: DEPOSIT_NEW, index: NOBODY, amount: 7n, u, v }, 0n],
    [{ kind: DEPOSIT_NEW, amount: 7n, u, v }, 1n],
    [{ kind: DEPOSIT_NEW, index: 0n, amount: 7n, u, v }, 1n],
    [{ kind: DEPOSIT_EXISTING, amount: 7n, u: 1n, v: alice.owner[1] }, 0n],
    [{ kind: DEPOSIT_EXISTING, index: NOBODY, amount: 7n, u: 1n, v: alice.owner[1] }, 1n],
    [{ kind: DEPOSIT_EXISTING, token: 2n, amount: 7n, u: 2n, v }, 2n],
    [{ kind: DEPOSIT_EXISTING, amount: 7n, u: 2n, v }, 3n],
    [{ kind: DEPOSIT_EXISTING, amount: 7n, u: 1n, v }, 4n],
    [{ kind: FORCED_EXIT }, 0n],
    [{ kind: FORCED_EXIT, index: 0n }, 1n],
    [{ kind: FORCED_EXIT, token: 0n, address: 2n }, 2n],
    [{ kind: FORCED_EXIT, address: 2n }, 3n],
    [{ kind: KEY_CHANGE, token: 0n, u, v }, 0n],
    [{ kind: KEY_CHANGE, token: 0n, index: NOBODY, u, v }, 1n],
    [{ kind: KEY_CHANGE, token: 0n, address: 2n, u, v }, 3n],
  ];
  for (const [fields, code] of cases) {
    const state = draft();
    const before = new Map(state.changes);
    const queued = { ...entry, ...fields };
    const record = execute(state, { kind: "queued", queued }, TERMS);
    const exited = fields.kind === FORCED_EXIT && code === 0n ? 10_000n : queued.amount;
    assert.deepEqual(record, { ...queued, code, amount: exited });
    assert.equal(
      code === 0n,
      [...state.changes].some(([index, account]) => before.get(index) !== account),
    );
  }
  const full = draft({ [ALICE]: account(alice, { balance: BALANCE_MAX }) });
  refuses("P-4.11", full, {
    kind: "queued",
    queued: { ...entry, kind: DEPOSIT_EXISTING, amount: 1n, u: 1n, v: alice.owner[1] },
  });
});

test("a key change keeps nonce and balance", () => {
  const state = draft();
  const [u, v] = bob.owner;
  const queued = { kind: KEY_CHANGE, code: 0n, token: 0n, index: ALICE, amount: 0n, address: 1n, u, v };
  execute(state, { kind: "queued", queued }, TERMS);
  assert.deepEqual(state.get(ALICE), account(bob, { l1Address: 1n, balance: 10_000n, nonce: 5n }));
});

test("the empty state has the root of P-3.6, and a draft leaves its state alone", () => {
  assert.equal(EMPTY_ROOT, 0x113546cad171002bd1b8f16603b113e11df1e25b1185ae23b092a7804737d912n);
  const state = new State();
  const changes = new Draft(state);
  changes.set(ALICE, account(alice, {}));
  const root = state.rootWith(changes);
  assert.equal(state.root, EMPTY_ROOT);
  assert.equal(state.get(ALICE), undefined);
  state.commit(changes);
  assert.equal(state.root, root);
});

test("a record has every field in its bits", () => {
  const largest = {
    kind: 7n,
    code: 7n,
    token: 2n ** 16n - 1n,
    index: 2n ** 33n - 1n,
    amount: 2n ** 128n - 1n,
    address: 2n ** 160n - 1n,
    u: 2n ** 254n - 1n,
    v: 2n ** 254n - 1n,
  };
  assert.deepEqual(elements(largest), [2n ** 183n - 1n, 2n ** 248n - 1n, 2n ** 248n - 1n, 2n ** 172n - 1n]);
  for (const field of Object.keys(largest)) {
    assert.notDeepEqual(elements({ ...largest, [field]: 0n }), elements(largest), field);
  }
});
