// A rollup's first batches, from the first deposit to a withdrawal, against a running service.
//
//   node main.mjs --coordinator http://127.0.0.1:7400 [--proofs DIR] [--seed TEXT]
//     [--tls-ca FILE] [--tls-cert FILE --tls-key FILE] [--token-file FILE]
//
// The service's chain must be empty. Entries of the queue are made up here: a sequencer takes them from L1's `Queued` events, in
// their order. Prints one JSON object.

import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Client, ServiceError, proofFile } from "./dist/client.js";
import { hex, toBytes, toInteger } from "./field.mjs";
import { toProto } from "./operation.mjs";
import { DEPOSIT_EXISTING, DEPOSIT_NEW, FORCED_EXIT, KEY_CHANGE, L1_INDEX_MIN } from "./record.mjs";
import { USER_INDEX_MIN } from "./rules.mjs";
import { PROTOCOL_VERSION, Sequencer, rollupId } from "./sequencer.mjs";
import { EMPTY_ROOT } from "./tree.mjs";
import { Wallet } from "./wallet.mjs";

const ETH = 1n;
const GWEI = 10n ** 9n;
const LIFETIME_SECONDS = 3600n;
const FEE = 20n * GWEI;
/** Alice's first transfer, to bob. */
const PAYMENT = { amount: 250_000n * GWEI, fee: FEE };
const [ALICE, BOB, CAROL] = [L1_INDEX_MIN, L1_INDEX_MIN + 1n, USER_INDEX_MIN];

const { values: options } = parseArgs({
  options: {
    coordinator: { type: "string", default: "http://127.0.0.1:7400" },
    proofs: { type: "string" },
    seed: { type: "string", default: "example" },
    "tls-ca": { type: "string" },
    "tls-cert": { type: "string" },
    "tls-key": { type: "string" },
    "token-file": { type: "string" },
  },
});

try {
  const client = await Client.connect(options.coordinator, {
    ca: options["tls-ca"],
    certificate: options["tls-cert"],
    key: options["tls-key"],
    token: options["token-file"],
  });
  try {
    console.log(JSON.stringify(await run(client), null, 1));
  } finally {
    client.close();
  }
} catch (error) {
  const { code, message } = error;
  console.error(`error: ${code ? `${code}: ` : ""}${message}`);
  process.exitCode = 1;
}

/** Makes two chapters of batches, the second from the accounts that the first made, and has each proven. */
async function run(client) {
  const info = await client.info();
  expect(info.protocolVersion === PROTOCOL_VERSION, `protocol version ${PROTOCOL_VERSION}`, info.protocolVersion);
  const root = hex(toInteger(info.headRoot), 32);
  expect(
    root === hex(EMPTY_ROOT, 32) && info.nextBatchNumber === 0n,
    "a chain without batches",
    `batch ${info.nextBatchNumber}`,
  );

  const rollup = { chainId: info.chainId, contract: toInteger(info.contract) };
  const shape = { places: info.shardPlaces, rooms: info.shardRooms, shards: info.shardsMax };
  const now = BigInt(Math.floor(Date.now() / 1000));
  const time = now > info.headTime ? now : info.headTime;
  const sequencer = new Sequencer(rollup, shape, time);
  const people = makePeople();
  const chapter = (operations) => [...collect(sequencer, operations), sequencer.close()];
  const terms = { rollupId: rollupId(rollup), expiry: time + LIFETIME_SECONDS };

  const first = await prove(client, chapter(deposits(people)));
  const second = chapter(everyKind(people, sequencer, terms));
  const refusals = await refused(client, second[0], people, terms);
  const batches = [...first, ...(await prove(client, second))];

  const accounts = [ETH, ALICE, BOB, CAROL].map((index) => {
    const { account } = sequencer.account(index);
    return { index: index.toString(), nonce: account.nonce.toString(), balance: account.balance.toString() };
  });
  return { preset: info.preset, refusals, batches, accounts };
}

/** Keys and addresses that follow from the seed, and protect nothing. */
function makePeople() {
  const digest = (text) => createHash("sha256").update(`${options.seed} ${text}`).digest();
  const address = (name) => toInteger(digest(`address of ${name}`).subarray(0, 20));
  const person = (name, key = name) => new Wallet(digest(`key of ${key}`), address(name));
  return {
    operator: person("operator"),
    alice: person("alice"),
    aliceLater: person("alice", "alice, later"),
    bob: person("bob"),
    carol: person("carol"),
    mallory: person("mallory"),
  };
}

/** What the queue begins with: the fee account of ETH (P-12.9), then two users who come with a deposit (P-12.4). */
function* deposits({ operator, alice, bob }) {
  const depositNew = (index, { owner: [u, v], l1Address: address }, amount) =>
    entry({ kind: DEPOSIT_NEW, token: ETH, index, amount, address, u, v });
  yield depositNew(ETH, operator, 0n);
  yield depositNew(ALICE, alice, 1_000_000_000n * GWEI);
  yield depositNew(BOB, bob, 500_000_000n * GWEI);
}

/** Every other kind of operation. Each is made from the accounts as the one before it left them. */
function* everyKind({ alice, aliceLater, bob, carol }, sequencer, terms) {
  const account = (index) => sequencer.account(index);
  yield entry({ kind: FORCED_EXIT, token: ETH, index: BOB, address: bob.l1Address });
  yield alice.transfer(account(ALICE), account(BOB), PAYMENT, terms);
  yield carol.creation(ETH, CAROL, terms.rollupId);
  yield bob.transfer(account(BOB), account(CAROL), { amount: 3_000n * GWEI, fee: FEE }, terms);
  // Exact, where a transfer's amount is a decimal float.
  yield carol.withdrawal(account(CAROL), { amount: 1_234_567_890_123n, fee: FEE }, terms);
  yield { kind: "noOp" };
  const [u, v] = aliceLater.owner;
  yield entry({ kind: KEY_CHANGE, index: ALICE, address: alice.l1Address, u, v });
  yield aliceLater.transfer(account(ALICE), account(ETH), { amount: 0n, fee: FEE }, terms);
  // Alice has another key by now: this has code 4 and no effect, and L1 owes the amount to bob again.
  const gift = { token: ETH, index: ALICE, amount: 7n * GWEI, address: bob.l1Address };
  yield entry({ kind: DEPOSIT_EXISTING, ...gift, u: alice.l1Address, v: alice.owner[1] });
}

/** @returns {import("./operation.mjs").Operation} an entry of the queue */
function entry(fields) {
  return { kind: "queued", queued: { code: 0n, token: 0n, amount: 0n, u: 0n, v: 0n, ...fields } };
}

/** Adds operations, and yields the batches that are closed on the way. */
function* collect(sequencer, operations) {
  for (const operation of operations) {
    const closed = sequencer.add(operation);
    if (closed) yield closed;
  }
}

/** What the service says to a batch with a wrong root, and to one whose first transfer another key signed. */
async function refused(client, { message, operations }, { bob, mallory }, terms) {
  const stolen = {
    index: ALICE,
    account: { token: ETH, nonce: 0n, owner: mallory.owner, l1Address: mallory.l1Address },
  };
  const forged = mallory.transfer(stolen, { index: BOB, account: bob }, PAYMENT, terms);
  const place = operations.findIndex(({ kind }) => kind === "transfer");
  const replaced = message.operations.map((operation, index) => (index === place ? toProto(forged) : operation));
  return {
    wrong_root: await refusal(client, { ...message, newRoot: message.oldRoot }),
    other_key: { ...(await refusal(client, { ...message, operations: replaced })), expected_operation: place },
  };
}

async function refusal(client, message) {
  try {
    await client.submit("refused", message);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    const { code, reason, metadata } = error;
    return { code, reason, metadata };
  }
  throw new Error("the service took a batch that it had to refuse");
}

/** Submits batches, then follows each until it is proven, and fetches its proof. */
async function prove(client, closed) {
  const submitted = [];
  for (const batch of closed) {
    const requestId = `example-${batch.message.number}`;
    const first = await client.submit(requestId, batch.message);
    const again = await client.submit(requestId, batch.message);
    expect(again.alreadyExisted && again.batch.batchId === first.batch.batchId, "the same batch", again.batch.batchId);
    submitted.push({ batch, id: first.batch.batchId });
  }
  const results = [];
  for (const { batch, id } of submitted) results.push(await follow(client, batch, id));
  return results;
}

async function follow(client, { message, operations, records, streams }, id) {
  const statuses = [];
  let last;
  for await (last of client.watch(id)) {
    if (statuses.at(-1) !== last.status) statuses.push(last.status);
  }
  expect(last?.status === "BATCH_STATUS_PROVEN", "a proven batch", `${last?.status} ${last?.failure}`);
  const proof = await client.proof(id);
  // The proof is worth something for what was executed here alone: roots, and the data that L1 will read.
  const own = {
    oldRoot: message.oldRoot,
    newRoot: message.newRoot,
    postedA: streams.postedA,
    postedB: streams.postedB,
    cA: toBytes(streams.cA, 32),
    cB: toBytes(streams.cB, 32),
  };
  for (const [name, bytes] of Object.entries(own)) {
    expect(proof[name].equals(bytes), `${name} ${bytes.toString("hex")}`, proof[name].toString("hex"));
  }
  const file = options.proofs && join(options.proofs, `proof-${message.number}.json`);
  if (file) await writeFile(file, JSON.stringify(proofFile(proof)));
  return {
    number: Number(message.number),
    batch_id: id,
    statuses,
    operations: operations.map(({ kind }) => kind),
    records: records.map(({ kind, code }) => ({ kind: Number(kind), code: Number(code) })),
    old_root: hex(toInteger(message.oldRoot), 32),
    new_root: hex(toInteger(message.newRoot), 32),
    proof: file ?? null,
  };
}

function expect(condition, expected, found) {
  if (!condition) throw new Error(`expected ${expected}, found ${found}`);
}
