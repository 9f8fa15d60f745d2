// Against a running service, which is started again meanwhile: `node service.js URL[,URL...] CA TOKEN BATCH_FILE REQUEST_ID PROOF_FILE`.
// Prints one JSON object a line: what a refusal carries, that the batch is watched, what came of it.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import type { BatchInfo } from "../client.js";
import { BatchStatus, Client, ServiceError, decodeBatch, proofFile } from "../client.js";

const [url, ca, token, batchFile, requestId, file] = process.argv.slice(2);
assert.ok(url && ca && token && batchFile && requestId && file, "six arguments");
const tell = (told: object) => process.stdout.write(`${JSON.stringify(told)}\n`);

const client = await Client.connect(url, { ca, token }, { gzip: true });
const info = await client.info();
tell({ refusal: await refusal() });

const bytes = await readFile(batchFile);
const batch = decodeBatch(bytes);
const { batch: submitted } = await client.submit(requestId, bytes, { priority: 1, labels: ["clients"] });
assert.ok(submitted);
const statuses: BatchStatus[] = [];
let last: BatchInfo | undefined;
for await (const seen of client.watch(submitted.batchId)) {
  if (last === undefined) tell({ watching: seen.batchId });
  assert.ok(last === undefined || seen.revision > last.revision, "a revision that was not seen");
  if (statuses.at(-1) !== seen.status) statuses.push(seen.status);
  last = seen;
}
assert.equal(last?.status, BatchStatus.BATCH_STATUS_PROVEN);
assert.deepEqual(last, await client.batch(submitted.batchId));

const again = await client.submit(requestId, batch);
const listed: string[] = [];
for await (const { batchId } of client.list({ label: "clients" })) listed.push(batchId);
const proof = await client.proof(submitted.batchId);
assert.deepEqual(proof.newRoot, batch.newRoot);
await writeFile(file, JSON.stringify(proofFile(proof)));
const billing = last?.billing;
assert.ok(billing);
const fees = billing.fees.map(({ token, amount }) => [token, BigInt(`0x${amount.toString("hex")}`).toString()]);
const l1_gas = Number(billing.l1GasEstimate);
tell({ batch_id: submitted.batchId, already_existed: again.alreadyExisted, statuses, listed, fees, l1_gas });
client.close();

/** What the service says to the next batch with a wrong new root. */
async function refusal() {
  const time = BigInt(Math.floor(Date.now() / 1000));
  const wrong = {
    protocolVersion: info.protocolVersion,
    chainId: info.chainId,
    contract: info.contract,
    number: info.nextBatchNumber,
    time: time > info.headTime ? time : info.headTime,
    oldRoot: info.headRoot,
    newRoot: Buffer.alloc(32, 1),
    operations: [{ kind: { $case: "noOp" as const, noOp: {} } }],
  };
  try {
    await client.submit("refused-typescript", wrong);
  } catch (error) {
    assert.ok(error instanceof ServiceError);
    const { code, reason, metadata, fields, retryMs } = error;
    return { code, reason, metadata, fields, retry_ms: retryMs ?? null };
  }
  throw new Error("a batch with a wrong root was taken");
}
