// What comes from outside: floats, operations of the interface, entries of the queue, places, whole batches, key files.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { decodeBatch, encodeBatch } from "../dist/client.js";
import { AMOUNT_BITS, FEE_BITS, checkDecimal, decimal, value } from "../decimal.mjs";
import { R, toBytes } from "../field.mjs";
import { fromProto, toProto } from "../operation.mjs";
import { Places, layOut } from "../places.mjs";
import { DEPOSIT_EXISTING, DEPOSIT_NEW, FORCED_EXIT, KEY_CHANGE, L1_INDEX_MIN, checkEntry } from "../record.mjs";
import { Sequencer, replay } from "../sequencer.mjs";
import { State } from "../state.mjs";
import { Wallet } from "../wallet.mjs";

const ROLLUP = { chainId: 31337n, contract: 7n };
const TERMS = { rollupId: (31337n << 160n) + 7n, expiry: 1_800_000_000n };
const alice = new Wallet(Buffer.alloc(32, 1), 11n);
const [u, v] = alice.owner;
const named = (index) => ({
  index,
  account: { token: 1n, nonce: 2n ** 64n - 1n, balance: 0n, owner: alice.owner, l1Address: 11n },
});
const transfer = alice.transfer(named(L1_INDEX_MIN), named(5n), { amount: 52_429n * 10n ** 31n, fee: 20n }, TERMS);
const withdrawal = alice.withdrawal(named(7n), { amount: 2n ** 128n - 1n, fee: 0n }, TERMS);
const creation = alice.creation(1n, 65_536n, TERMS.rollupId);
const NEW = { kind: DEPOSIT_NEW, code: 0n, token: 1n, index: L1_INDEX_MIN, amount: 9n, address: 11n, u, v };
const queued = (entry) => ({ kind: "queued", queued: entry });
const OPERATIONS = [transfer, withdrawal, creation, queued(NEW), { kind: "noOp" }];

/** A batch of these operations as it comes from outside. */
const received = (operations, fields = {}) =>
  decodeBatch(
    encodeBatch({
      protocolVersion: 2,
      chainId: 31337n,
      contract: toBytes(7n, 20),
      number: 0n,
      time: 5n,
      operations,
      ...fields,
    }),
  );

test("a float has one encoding", () => {
  for (const [integer, mantissa, exponent] of [
    [0n, 0n, 0n],
    [524_287n, 524_287n, 0n],
    [524_290n, 52_429n, 1n],
    [10n ** 18n, 100_000n, 13n],
  ]) {
    assert.deepEqual(decimal(integer, AMOUNT_BITS, "amount"), { mantissa, exponent });
    assert.equal(value({ mantissa, exponent }), integer);
  }
  for (const [integer, bits] of [
    [524_289n, AMOUNT_BITS],
    [524_288n * 10n ** 31n, AMOUNT_BITS],
    [17n, FEE_BITS],
    [-1n, FEE_BITS],
  ]) {
    assert.throws(() => decimal(integer, bits, "amount"), { rule: "P-4.2", field: "amount" });
  }
  checkDecimal({ mantissa: 2n, exponent: 31n }, FEE_BITS, "fee");
  for (const [mantissa, exponent] of [
    [1n, 1n],
    [0n, 1n],
    [16n, 0n],
    [2n, 32n],
  ]) {
    assert.throws(() => checkDecimal({ mantissa, exponent }, FEE_BITS, "fee"), { rule: "P-4.2" });
  }
  assert.throws(() => checkDecimal({ mantissa: 52_428n, exponent: 1n }, AMOUNT_BITS, "amount"), { rule: "P-4.2" });
});

test("operations come back from the wire as they were", () => {
  assert.deepEqual(received(OPERATIONS.map(toProto)).operations.map(fromProto), OPERATIONS);
});

test("a field that no operation has is refused by its name", () => {
  const refuses = (field, operation, change) => {
    const [message] = received([toProto(operation)]).operations;
    change(message.kind[operation.kind], message);
    assert.throws(() => fromProto(message), { name: "Refusal", field });
  };
  const short = Buffer.alloc(3);
  refuses("kind", transfer, (_, message) => (message.kind = undefined));
  refuses("signature", transfer, (_, message) => (message.signature = undefined));
  refuses("signature", { kind: "noOp" }, (_, message) => (message.signature = {}));
  refuses("signature.r8_x", transfer, (_, message) => (message.signature.r8X = toBytes(R, 32)));
  refuses("signature.r8_y", transfer, (_, message) => (message.signature.r8Y = toBytes(R, 32)));
  refuses("signature.s", transfer, (_, message) => (message.signature.s = short));
  refuses("transfer.from", transfer, (inner) => (inner.from = 0n));
  refuses("transfer.to", transfer, (inner) => (inner.to = 2n ** 33n));
  refuses("transfer.amount", transfer, (inner) => (inner.amount = undefined));
  refuses("transfer.fee", transfer, (inner) => (inner.fee = { mantissa: 1, exponent: 1 }));
  refuses("transfer.expiry", transfer, (inner) => (inner.expiry = 2n ** 40n));
  refuses("transfer.token", transfer, (inner) => (inner.token = 0));
  refuses("withdrawal.from", withdrawal, (inner) => (inner.from = 0n));
  refuses("withdrawal.amount", withdrawal, (inner) => (inner.amount = short));
  refuses("withdrawal.fee", withdrawal, (inner) => (inner.fee = undefined));
  refuses("withdrawal.token", withdrawal, (inner) => (inner.token = 65_536));
  refuses("creation.index", creation, (inner) => (inner.index = 0n));
  refuses("creation.token", creation, (inner) => (inner.token = 0));
  refuses("creation.owner_x", creation, (inner) => (inner.ownerX = toBytes(R, 32)));
  refuses("creation.owner_y", creation, (inner) => (inner.ownerY = short));
  refuses("creation.l1_address", creation, (inner) => (inner.l1Address = short));
  refuses("queued.kind", queued(NEW), (inner) => (inner.kind = "QUEUED_KIND_UNSPECIFIED"));
  refuses("queued.index", queued(NEW), (inner) => (inner.index = 2n ** 33n));
  refuses("queued.amount", queued(NEW), (inner) => (inner.amount = short));
  refuses("queued.address", queued(NEW), (inner) => (inner.address = short));
  refuses("queued.u", queued(NEW), (inner) => (inner.u = short));
  refuses("queued.v", queued(NEW), (inner) => (inner.v = short));
});

test("an entry that L1's queue cannot have is refused", () => {
  const existing = { ...NEW, kind: DEPOSIT_EXISTING, u: 11n };
  const exit = { ...NEW, kind: FORCED_EXIT, amount: 0n, u: 0n, v: 0n };
  const change = { ...NEW, kind: KEY_CHANGE, token: 0n, amount: 0n };
  for (const entry of [NEW, { ...NEW, index: 1n, amount: 0n }, existing, exit, { ...exit, token: 0n }, change])
    checkEntry(entry);
  for (const [field, entry] of [
    ["queued.index", { ...NEW, index: 2n ** 33n }],
    ["queued.index", { ...NEW, index: 2n }],
    ["queued.token", { ...NEW, token: 0n }],
    ["queued.token", { ...exit, token: 65_536n }],
    ["queued.amount", { ...NEW, amount: 0n }],
    ["queued.amount", { ...NEW, index: 1n }],
    ["queued.u", { ...NEW, u: u + R }],
    ["queued.u", { ...NEW, u: u + 1n }],
    ["queued.u", { ...change, u: 0n, v: R - 1n }],
    ["queued.token", { ...existing, token: 0n }],
    ["queued.amount", { ...existing, amount: 0n }],
    ["queued.u", { ...existing, u: 2n ** 160n }],
    ["queued.v", { ...existing, v: R }],
    ["queued.amount", { ...exit, amount: 1n }],
    ["queued.u", { ...exit, v: 1n }],
    ["queued.token", { ...change, token: 1n }],
    ["queued.amount", { ...change, amount: 1n }],
    ["queued.kind", { ...NEW, kind: 5n }],
  ]) {
    assert.throws(() => checkEntry(entry), { name: "Refusal", field });
  }
});

test("operations stand where the groups have room for them", () => {
  const shape = { places: 10, rooms: 1, shards: 2 };
  const laid = (operations) => {
    const places = new Places(shape);
    const taken = operations.map((operation) => places.take(operation));
    return [
      taken.lastIndexOf(true) + 1,
      places.groups.map(({ queued, words }) => (queued ? "q" : "") + words.map((word) => (word ? "x" : "-")).join("")),
    ];
  };
  const empty = "-----";
  // The second entry needs the next shard's room; the third has none.
  assert.deepEqual(laid([queued(NEW), queued(NEW), queued(NEW)]), [2, ["q-----", empty, "q-----", empty]]);
  assert.deepEqual(laid([transfer, queued(NEW)]), [2, ["x----", empty, "q-----", empty]]);
  // A record's operation leaves a group's last place to a no-op, a transfer does not.
  assert.deepEqual(laid(Array(5).fill(withdrawal)), [5, ["xxxx-", "x----", empty, empty]]);
  assert.deepEqual(laid([queued(NEW), transfer, transfer, transfer, creation, transfer]), [
    6,
    ["qxxxxx", empty, empty, empty],
  ]);
  assert.deepEqual(laid(Array(21).fill(transfer)), [20, Array(4).fill("xxxxx")]);
  assert.deepEqual(laid(Array(17).fill(creation)), [16, Array(4).fill("xxxx-")]);
  assert.throws(() => layOut(Array(21).fill(transfer), shape), { rule: "P-7.1", field: "operations[20]" });
});

test("a sequencer's batches are replayed, and changed ones refused with nothing moved", () => {
  const sequencer = new Sequencer(ROLLUP, { places: 5, rooms: 1, shards: 1 }, 5n);
  const fees = { ...NEW, index: 1n, amount: 0n };
  assert.equal(sequencer.add(queued(fees)), undefined);
  const first = sequencer.add(queued(NEW));
  assert.throws(
    () =>
      sequencer.add(
        alice.transfer(sequencer.account(L1_INDEX_MIN), sequencer.account(1n), { amount: 10n, fee: 0n }, TERMS),
      ),
    {
      rule: "P-4.4.7",
    },
  );
  assert.throws(() => sequencer.account(65_536n), { rule: "P-3.2" });
  assert.throws(
    () =>
      alice.withdrawal(
        { index: 1n, account: { ...named(1n).account, l1Address: 12n } },
        { amount: 0n, fee: 0n },
        TERMS,
      ),
    { rule: "P-5.8" },
  );
  const second = sequencer.close();
  const messages = [first, second].map(({ message }) => decodeBatch(encodeBatch(message)));
  assert.deepEqual(messages[0].newRoot, messages[1].oldRoot);

  const state = new State();
  const { root } = state;
  const [message] = messages;
  const refuses = (changes, expected) => {
    assert.throws(() => replay(state, { ...message, ...changes }), { name: "Refusal", ...expected });
    assert.equal(state.root, root);
  };
  refuses({ protocolVersion: 1 }, { field: "protocol_version" });
  refuses({ oldRoot: message.newRoot }, { field: "old_root" });
  refuses({ newRoot: message.oldRoot }, { field: "new_root" });
  const stranger = toProto(creation);
  refuses(
    {
      operations: [
        ...message.operations,
        received([{ ...stranger, signature: toProto(transfer).signature }]).operations[0],
      ],
    },
    {
      field: "operations[1].signature",
      operation: 1,
    },
  );
  for (const each of messages) replay(state, each);
  assert.equal(toBytes(state.root, 32).toString("hex"), messages[1].newRoot.toString("hex"));
});

test("a key file makes a wallet, and anything else does not", async () => {
  const directory = await mkdtemp(join(tmpdir(), "wallet-"));
  const path = join(directory, "alice.key");
  const write = (file) => writeFile(path, JSON.stringify(file));
  try {
    await write({ version: 1, secret_key: `0x${"01".repeat(32)}` });
    assert.deepEqual((await Wallet.fromFile(path, 11n)).owner, alice.owner);
    await write({ version: 2, secret_key: `0x${"01".repeat(32)}` });
    await assert.rejects(Wallet.fromFile(path, 11n), /expected version 1, found 2/);
    await write({ version: 1, secret_key: "0x01" });
    await assert.rejects(Wallet.fromFile(path, 11n), /secret_key: expected 0x and 64 digits/);
    assert.throws(() => new Wallet(Buffer.alloc(31), 11n), /a secret key has 32 bytes, not 31/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
