// The client against a server that breaks off, counts chunks and looks at tokens; what the real service says is tested with it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { Client, encodeBatch, refusalOf } from "../client.mjs";
import { toBytes } from "../field.mjs";

const includeDirs = [fileURLToPath(new URL("../../../", import.meta.url))];
const definitions = loader.loadSync("zkrollup/prover/v1/prover_service.proto", { longs: String, includeDirs });
const server = new grpc.Server();
const seen = { chunks: [], watches: [], tokens: [] };
let url;
let directory;

const service = {
  submitBatch(call, answer) {
    let header;
    const chunks = [];
    call.on("data", (part) => (part.header ? (header = part.header) : chunks.push(part.chunk)));
    call.on("end", () => {
      const content = Buffer.concat(chunks);
      assert.deepEqual(header.sha256, createHash("sha256").update(content).digest());
      assert.equal(header.totalBytes, content.length.toString());
      seen.chunks = chunks.map(({ length }) => length);
      answer(null, { batch: { batchId: header.requestId, batchNumber: header.batchNumber } });
    });
  },
  watchBatch(call) {
    const { batchId, afterRevision } = call.request;
    seen.watches.push(afterRevision);
    if (batchId === "unknown") return call.emit("error", { code: grpc.status.NOT_FOUND, details: "no such batch" });
    if (afterRevision === "0") {
      call.write({ batch: { batchId, revision: "7", status: "BATCH_STATUS_PROVING" } });
      return call.emit("error", { code: grpc.status.UNAVAILABLE, details: "stopping" });
    }
    call.write({ batch: { batchId, revision: "9", status: "BATCH_STATUS_PROVEN" } });
    call.end();
  },
  getInfo(call, answer) {
    seen.tokens.push(...call.metadata.get("authorization"));
    answer(null, {});
  },
};

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "client-"));
  server.addService(definitions["zkrollup.prover.v1.ProverService"], service);
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

test("a batch goes over in chunks of at most one mebibyte", async () => {
  const client = await Client.connect(url);
  const operations = Array(1_000_000).fill({ noOp: {} });
  const batch = encodeBatch({ number: "5", contract: toBytes(7n, 20), operations });
  const { batch: info } = await client.submit("large", batch);
  client.close();
  assert.deepEqual([info.batchId, info.batchNumber], ["large", "5"]);
  const whole = Math.floor(batch.length / 2 ** 20);
  assert.ok(whole >= 2);
  assert.deepEqual(seen.chunks, [...Array(whole).fill(2 ** 20), batch.length % 2 ** 20]);
});

test("a watch that breaks is resumed from the last revision, and any other end is told", async () => {
  const client = await Client.connect(url);
  const statuses = [];
  for await (const { status } of client.watch("b1")) statuses.push(status);
  assert.deepEqual(statuses, ["BATCH_STATUS_PROVING", "BATCH_STATUS_PROVEN"]);
  assert.deepEqual(seen.watches, ["0", "7"]);
  await assert.rejects(
    async () => {
      for await (const _ of client.watch("unknown"));
    },
    (error) => {
      assert.deepEqual(refusalOf(error), { code: "NOT_FOUND", message: "no such batch" });
      return true;
    },
  );
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
