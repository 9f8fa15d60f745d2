// A client of the service, made from the .proto files: gRPC, with TLS and a token where they are given.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const PACKAGE = "zkrollup.prover.v1";
const PROTO = fileURLToPath(new URL("../../", import.meta.url));
const OPTIONS = { longs: String, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO] };
const FILES = ["batch", "prover_service"].map((name) => `${PACKAGE.replaceAll(".", "/")}/${name}.proto`);
/** @type {any} */
const definitions = loader.loadSync(FILES, OPTIONS);
/** @type {any} */
const services = grpc.loadPackageDefinition(definitions);
const { ProverService } = services.zkrollup.prover.v1;

const field = (type, id, rule) => ({ type, id, ...(rule && { rule }) });
/** What errors carry (`google.rpc`), as far as it is read here. @type {any} */
const ERRORS = {
  Any: { fields: { typeUrl: field("string", 1), value: field("bytes", 2) } },
  Status: { fields: { details: field("Any", 3, "repeated") } },
  ErrorInfo: { fields: { reason: field("string", 1), metadata: { keyType: "string", type: "string", id: 3 } } },
};
/** @type {any} */
const { Status, ErrorInfo } = loader.fromJSON({ nested: ERRORS }, OPTIONS);

const CHUNK_BYTES = 1 << 20;
const CALL_MS_MAX = 60_000;
const CONNECT_MS_MAX = 60_000;
const RESUMES_MAX = 30;
const RESUME_MS = 1_000;

/** @typedef {{ ca?: string, certificate?: string, key?: string, token?: string }} Papers paths of PEM files, and of a token's */

/** An encoded batch, as a batch file has it. @param {any} batch @returns {Buffer} */
export const encodeBatch = (batch) => definitions[`${PACKAGE}.Batch`].serialize(batch);

/** @param {Buffer} bytes @returns {any} */
export const decodeBatch = (bytes) => definitions[`${PACKAGE}.Batch`].deserialize(bytes);

/**
 * What the service says of a refusal.
 * @param {grpc.ServiceError} error
 * @returns {{ code: string, message: string, reason?: string, metadata?: Record<string, string> }}
 */
export function refusalOf(error) {
  const [encoded] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = encoded ? Status.deserialize(encoded).details : [];
  const info = details.find(({ typeUrl }) => typeUrl.endsWith("/google.rpc.ErrorInfo"));
  const said = { code: grpc.status[error.code], message: error.details };
  return info ? { ...said, ...ErrorInfo.deserialize(info.value) } : said;
}

export class Client {
  #stub;
  #token;

  /**
   * Connects, and waits for that.
   * @param {string} url `http://HOST:PORT` on this machine, or `https://HOST:PORT`
   * @param {Papers} [papers]
   */
  static async connect(url, papers = {}) {
    const { protocol, host } = new URL(url);
    if (protocol !== "http:" && protocol !== "https:") throw new Error(`${url}: expected http:// or https://`);
    const read = async (path) => (path ? await readFile(path) : null);
    const [ca, certificate, key, token] = await Promise.all(
      [papers.ca, papers.certificate, papers.key, papers.token].map(read),
    );
    const { createInsecure, createSsl } = grpc.credentials;
    const credentials = protocol === "https:" ? createSsl(ca, key, certificate) : createInsecure();
    const client = new Client(new ProverService(host, credentials), token?.toString().trim());
    await new Promise((resolve, reject) => {
      client.#stub.waitForReady(Date.now() + CONNECT_MS_MAX, (error) => (error ? reject(error) : resolve(undefined)));
    });
    return client;
  }

  constructor(stub, token) {
    this.#stub = stub;
    this.#token = token;
  }

  close() {
    this.#stub.close();
  }

  /** What the service proves, and where its chain stands. */
  info() {
    return this.#call("getInfo", {});
  }

  /** @param {string} batchId */
  proof(batchId) {
    return this.#call("getProof", { batchId });
  }

  /**
   * Hands over an encoded batch. The same request id and batch is the same batch.
   * @param {string} requestId
   * @param {Buffer} batch
   */
  submit(requestId, batch) {
    const header = {
      requestId,
      batchNumber: decodeBatch(batch).number,
      totalBytes: batch.length,
      sha256: createHash("sha256").update(batch).digest(),
    };
    /** @type {any[]} */
    const parts = [{ header }];
    for (let start = 0; start < batch.length; start += CHUNK_BYTES) {
      parts.push({ chunk: batch.subarray(start, start + CHUNK_BYTES) });
    }
    return new Promise((resolve, reject) => {
      const done = (error, response) => (error ? reject(error) : resolve(response));
      Readable.from(parts).pipe(this.#stub.submitBatch(this.#metadata(), { deadline: Date.now() + CALL_MS_MAX }, done));
    });
  }

  /**
   * A batch at every change until it is final. A connection that breaks is made again, from the last revision seen.
   * @param {string} batchId
   */
  async *watch(batchId) {
    let afterRevision = "0";
    for (let resumes = 0; ; resumes++) {
      try {
        for await (const { batch } of this.#stub.watchBatch({ batchId, afterRevision }, this.#metadata())) {
          afterRevision = batch.revision;
          yield batch;
        }
        return;
      } catch (error) {
        if (error.code !== grpc.status.UNAVAILABLE || resumes === RESUMES_MAX) throw error;
        await sleep(RESUME_MS);
      }
    }
  }

  #call(method, request) {
    return new Promise((resolve, reject) => {
      const done = (error, response) => (error ? reject(error) : resolve(response));
      this.#stub[method](request, this.#metadata(), { deadline: Date.now() + CALL_MS_MAX }, done);
    });
  }

  #metadata() {
    const metadata = new grpc.Metadata();
    if (this.#token) metadata.set("authorization", `Bearer ${this.#token}`);
    return metadata;
  }
}

/**
 * The file that `rollup-prover verify` reads.
 * @param {any} proof a `GetProofResponse`
 */
export function proofFile(proof) {
  const hex = (bytes) => `0x${bytes.toString("hex")}`;
  return {
    rollup_id: { chain_id: proof.chainId, contract: hex(proof.contract) },
    batch_number: Number(proof.batchNumber),
    time: Number(proof.time),
    old_root: hex(proof.oldRoot),
    new_root: hex(proof.newRoot),
    c_a: hex(proof.cA),
    c_b: hex(proof.cB),
    x: hex(proof.x),
    posted_a: hex(proof.postedA),
    posted_b: hex(proof.postedB),
    instances: proof.instances.map(hex),
    proof: hex(proof.proof),
    aggregation_vk_digest: hex(proof.aggregationVkDigest),
  };
}
