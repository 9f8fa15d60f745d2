// The client against a server that breaks off, refuses, counts chunks and looks at tokens; what the real service says is tested with it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import grpc from "@grpc/grpc-js";
import {
  BatchInfo,
  BatchStatus,
  Client,
  GetInfoResponse,
  ProverServiceService,
  ServiceError,
  encodeBatch,
} from "../dist/client.js";
import * as rpc from "../dist/gen/rpc.js";
import { toBytes } from "../field.mjs";

const server = new grpc.Server();
const seen = { chunks: [], submissions: 0, watches: [], tokens: [], pages: [] };
let url;
let directory;

/** An error as the service has it, with details. */
function refused(code, message, details) {
  const encoded = Object.entries(details).map(([name, value]) => ({
    typeUrl: `type.googleapis.com/google.rpc.${name}`,
    value: rpc[name].encode(rpc[name].fromPartial(value)).finish(),
  }));
  const status = rpc.Status.encode(rpc.Status.fromPartial({ code, message, details: encoded })).finish();
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(status));
  return { code, details: message, metadata };
}

const service = {
  submitBatch(call, answer) {
    let header;
    const chunks = [];
    call.on("data", ({ part }) => (part.$case === "header" ? (header = part.header) : chunks.push(part.chunk)));
    call.on("end", () => {
      const content = Buffer.concat(chunks);
      assert.deepEqual(header.sha256, createHash("sha256").update(content).digest());
      assert.equal(header.totalBytes, BigInt(content.length));
      seen.chunks = chunks.map(({ length }) => length);
      seen.submissions += 1;
      // Once it is away, and once it is full.
      if (header.requestId === "again" && seen.submissions === 1) {
        return answer({ code: grpc.status.UNAVAILABLE, details: "stopping" });
      }
      if (header.requestId === "again" && seen.submissions === 2) {
        const retryDelay = { seconds: 0n, nanos: 1_000_000 };
        return answer(refused(grpc.status.RESOURCE_EXHAUSTED, "full", { RetryInfo: { retryDelay } }));
      }
      const batch = { batchId: header.requestId, batchNumber: header.batchNumber };
      answer(null, { batch: BatchInfo.fromPartial(batch), alreadyExisted: false });
    });
  },
  watchBatch(call) {
    const { batchId, afterRevision } = call.request;
    seen.watches.push(afterRevision);
    if (batchId === "unknown") return call.emit("error", { code: grpc.status.NOT_FOUND, details: "no such batch" });
    if (afterRevision === 0n) {
      call.write({ batch: BatchInfo.fromPartial({ batchId, revision: 7n, status: BatchStatus.BATCH_STATUS_PROVING }) });
      return call.emit("error", { code: grpc.status.UNAVAILABLE, details: "stopping" });
    }
    call.write({ batch: BatchInfo.fromPartial({ batchId, revision: 9n, status: BatchStatus.BATCH_STATUS_PROVEN }) });
    call.end();
  },
  listBatches(call, answer) {
    const { pageToken } = call.request;
    seen.pages.push(pageToken);
    const batches = pageToken === "" ? ["b2", "b1"] : ["b0"];
    const nextPageToken = pageToken === "" ? "next" : "";
    answer(null, { batches: batches.map((batchId) => BatchInfo.fromPartial({ batchId })), nextPageToken });
  },
  getBatch(call, answer) {
    const details = {
      ErrorInfo: { reason: "BAD", domain: "prover.zkrollup", metadata: { rule: "P-4.4.5" } },
      BadRequest: { fieldViolations: [{ field: "batch.operations[3].signature", description: "another" }] },
      PreconditionFailure: { violations: [{ type: "CHAIN", subject: "batch.number", description: "not the next" }] },
      QuotaFailure: { violations: [{ subject: "watches_max", description: "32" }] },
      ResourceInfo: { resourceType: "batch", resourceName: call.request.batchId },
    };
    answer(refused(grpc.status.INVALID_ARGUMENT, "refused", details));
  },
  getInfo(call, answer) {
    seen.tokens.push(...call.metadata.get("authorization"));
    answer(null, GetInfoResponse.fromPartial({}));
  },
};

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "client-"));
  server.addService(ProverServiceService, service);
  const port = await new Promise((resolve, reject) => {
    const bound = (error, port) => (error ? reject(error) : resolve(port));
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), bound);
  });
  url = `http://127.0.0.1:${port}`;
});

after(async () => {
  server.forceShutdown();
  await rm(directory, { recursive: true });
});

test("a batch goes over in chunks of at most one mebibyte, compressed or not", async () => {
  for (const gzip of [false, true]) {
    const client = await Client.connect(url, {}, { gzip });
    const operations = Array(300_000).fill({ kind: { $case: "noOp", noOp: {} } });
    const batch = encodeBatch({ number: 5n, contract: toBytes(7n, 20), operations });
    const { batch: info } = await client.submit("large", batch);
    client.close();
    assert.deepEqual([info.batchId, info.batchNumber], ["large", 5n]);
    const whole = Math.floor(batch.length / 2 ** 20);
    assert.ok(whole >= 1);
    assert.deepEqual(seen.chunks, [...Array(whole).fill(2 ** 20), batch.length % 2 ** 20]);
  }
});

test("a submission is made again where the service is away or full", async () => {
  seen.submissions = 0;
  const client = await Client.connect(url);
  const { batch } = await client.submit("again", { number: 6n });
  client.close();
  assert.deepEqual([batch.batchId, batch.batchNumber, seen.submissions], ["again", 6n, 3]);
});

test("a watch that breaks is resumed from the last revision, and any other end is told", async () => {
  const client = await Client.connect(url);
  const statuses = [];
  for await (const { status } of client.watch("b1")) statuses.push(status);
  assert.deepEqual(statuses, ["BATCH_STATUS_PROVING", "BATCH_STATUS_PROVEN"]);
  assert.deepEqual(seen.watches, [0n, 7n]);
  await assert.rejects(
    async () => {
      for await (const _ of client.watch("unknown"));
    },
    { name: "ServiceError", code: "NOT_FOUND", message: "no such batch", reason: undefined, fields: [] },
  );
  client.close();
});

test("all pages are listed", async () => {
  const client = await Client.connect(url);
  const listed = [];
  for await (const { batchId } of client.list()) listed.push(batchId);
  client.close();
  assert.deepEqual([listed, seen.pages], [["b2", "b1", "b0"], ["", "next"]]);
});

test("a refusal's details have their types", async () => {
  const client = await Client.connect(url);
  await assert.rejects(client.batch("b1"), (error) => {
    assert.ok(error instanceof ServiceError);
    const { code, message, reason, metadata, fields, preconditions, limits, resource, retryMs } = error;
    assert.deepEqual([code, message, reason], ["INVALID_ARGUMENT", "refused", "BAD"]);
    assert.deepEqual(metadata, { rule: "P-4.4.5" });
    assert.deepEqual(fields, [{ field: "batch.operations[3].signature", description: "another" }]);
    assert.deepEqual(preconditions, [{ type: "CHAIN", subject: "batch.number", description: "not the next" }]);
    assert.deepEqual(limits, [{ subject: "watches_max", description: "32" }]);
    assert.deepEqual(resource, { type: "batch", name: "b1" });
    assert.equal(retryMs, undefined);
    return true;
  });
  client.close();
});

test("a token goes with each call, and a URL of another scheme is refused", async () => {
  const token = join(directory, "token");
  await writeFile(token, "s3cret\n");
  const client = await Client.connect(url, { token });
  await client.info();
  client.close();
  assert.deepEqual(seen.tokens, ["Bearer s3cret"]);
  await assert.rejects(Client.connect("ftp://127.0.0.1"), /ftp:\/\/127.0.0.1: expected http:\/\/ or https:\/\//);
});
