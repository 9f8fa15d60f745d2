// The client against a server that breaks off, refuses, counts chunks and looks at tokens; what the real service says is tested with it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
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

const servers = [];
let seen;
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

/** What a coordinator that stands by says of another that leads, empty where none does. */
const notLeader = (leader) =>
  refused(grpc.status.UNAVAILABLE, "stands by", {
    ErrorInfo: { reason: "NOT_LEADER", domain: "prover.zkrollup", metadata: { leader } },
    RetryInfo: { retryDelay: { seconds: 0n, nanos: 1_000_000 } },
  });

/** A service that notes what it sees. It stands by where it has been told who leads. */
const service = (seen) => ({
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
      if (seen.leader !== undefined) return answer(notLeader(seen.leader));
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
    if (seen.leader !== undefined) {
      call.write({ batch: BatchInfo.fromPartial({ batchId, revision: 8n }) });
      return call.emit("error", { code: grpc.status.UNAVAILABLE, details: "stopping" });
    }
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
    seen.asked += 1;
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
    seen.asked += 1;
    seen.tokens.push(...call.metadata.get("authorization"));
    answer(null, GetInfoResponse.fromPartial({}));
  },
});

/** Starts a service; its URL, and what it sees. */
async function start() {
  const seen = { leader: undefined, asked: 0, chunks: [], submissions: 0, watches: [], tokens: [], pages: [] };
  const server = new grpc.Server();
  servers.push(server);
  server.addService(ProverServiceService, service(seen));
  const port = await new Promise((resolve, reject) => {
    const bound = (error, port) => (error ? reject(error) : resolve(port));
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), bound);
  });
  return { url: `http://127.0.0.1:${port}`, seen };
}

/** Three services, and a client of them. */
async function several(t, options = {}) {
  const all = [await start(), await start(), await start()];
  const [first, second, third] = all.map(({ url }) => url);
  const client = await Client.connect(`${first}, ${second}/,${third}`, {}, options);
  t.after(() => client.close());
  return { client, urls: [first, second, third], seen: all.map(({ seen }) => seen) };
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "client-"));
  ({ url, seen } = await start());
});

after(async () => {
  for (const server of servers) server.forceShutdown();
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

test("one that stands by is read from, and the leader that it names is turned to and stayed with", async (t) => {
  const { client, urls, seen } = await several(t);
  seen[0].leader = `${urls[2]}/`;
  await client.info();
  assert.equal(seen[0].asked, 1);
  for (const name of ["one", "two"]) assert.equal((await client.submit(name, { number: 6n })).batch.batchId, name);
  await client.info();
  assert.deepEqual(
    seen.map(({ submissions, asked }) => [submissions, asked]),
    [
      [1, 1],
      [0, 0],
      [2, 1],
    ],
  );
});

test("a leader that is none of those given is never called, but the next is", async (t) => {
  const stranger = await start();
  for (const leader of [stranger.url, "", "nonsense", "itself"]) {
    const { client, urls, seen } = await several(t);
    seen[0].leader = leader === "itself" ? urls[0] : leader;
    await client.submit("one", { number: 6n });
    const submissions = seen.map(({ submissions }) => submissions);
    assert.deepEqual([submissions, stranger.seen.submissions], [[1, 1, 0], 0], leader);
  }
});

test("one that is gone, or takes connections and does not answer, is turned from", async (t) => {
  for (const listens of [true, false]) {
    const taken = [];
    const held = createServer((socket) => taken.push(socket));
    await new Promise((resolve) => held.listen(0, "127.0.0.1", resolve));
    const { port } = held.address();
    const close = () => new Promise((resolve) => held.close(resolve));
    if (!listens) await close();
    const other = await start();
    const client = await Client.connect(`http://127.0.0.1:${port},${other.url}`, {}, { connectMs: 300 });
    t.after(() => client.close());
    await client.submit("one", { number: 6n });
    await client.info();
    assert.deepEqual([other.seen.submissions, other.seen.asked], [1, 1]);
    for (const socket of taken) socket.destroy();
    if (listens) await close();
  }
});

test("what another would not answer otherwise is not asked elsewhere", async (t) => {
  const { client, seen } = await several(t);
  await assert.rejects(client.batch("b1"), { code: "INVALID_ARGUMENT" });
  assert.deepEqual(
    seen.map(({ asked }) => asked),
    [1, 0, 0],
  );
  // Away, then full, which is waited for where it is said.
  seen[1].submissions = 1;
  await client.submit("again", { number: 6n });
  assert.deepEqual(
    seen.map(({ submissions }) => submissions),
    [1, 3, 0],
  );
});

test("a watch goes on at another, from the last revision", async (t) => {
  const { client, seen } = await several(t);
  seen[0].leader = "";
  const revisions = [];
  for await (const { revision } of client.watch("b1", 5n)) revisions.push(revision);
  assert.deepEqual(revisions, [8n, 9n]);
  assert.deepEqual(
    seen.map(({ watches }) => watches),
    [[5n], [8n], []],
  );
});

test("while nobody leads, each is asked though patience has ended", async (t) => {
  const { client, seen } = await several(t, { patienceMs: 0 });
  for (const each of seen) each.leader = "";
  await assert.rejects(client.submit("one", { number: 6n }), { reason: "NOT_LEADER", metadata: { leader: "" } });
  assert.ok(seen.every(({ submissions }) => submissions === 1));
});

test("an URL among several that is none is refused", async () => {
  for (const wrong of ["", "ftp://127.0.0.1", "http://", "127.0.0.1:7400"]) {
    const refusal = { message: `${wrong}: expected http:// or https://, and a host` };
    await assert.rejects(Client.connect(`${url},${wrong}`), refusal);
  }
});
