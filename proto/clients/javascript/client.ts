// A client of the service, made from the .proto files: gRPC, with TLS and a certificate or a token where they are given.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Writable } from "node:stream";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, PreconditionFailure, QuotaFailure, ResourceInfo, RetryInfo, Status } from "./gen/rpc.js";
import type { DeepPartial } from "./gen/zkrollup/prover/v1/batch.js";
import { Batch } from "./gen/zkrollup/prover/v1/batch.js";
import type {
  BatchInfo,
  BatchStatus,
  GetInfoResponse,
  GetProofResponse,
  RollupInfo,
  SubmitBatchRequest,
  SubmitBatchResponse,
} from "./gen/zkrollup/prover/v1/prover_service.js";
import { ProverServiceClient } from "./gen/zkrollup/prover/v1/prover_service.js";

export type { DeepPartial } from "./gen/zkrollup/prover/v1/batch.js";
export { Batch, Operation, QueuedKind } from "./gen/zkrollup/prover/v1/batch.js";
export * from "./gen/zkrollup/prover/v1/prover_service.js";

const CHUNK_BYTES = 1 << 20;
const CALL_MS_MAX = 60_000;
const CONNECT_MS_MAX = 60_000;
/** How often a call is made again, or a watch resumed, without any success in between. */
const RETRIES_MAX = 30;
const RETRY_MS = 1_000;
const PAGE_SIZE = 100;
/** As the service's own clients: a connection that does not answer for so long is given up. */
const KEEPALIVE_MS = 10_000;
const GZIP = 2;

/** Paths of PEM files, and of a token's. */
export interface Papers {
  /** What vouches for the service; the system's authorities where there is none. */
  ca?: string | undefined;
  certificate?: string | undefined;
  key?: string | undefined;
  /** Instead of a certificate. */
  token?: string | undefined;
}

export interface Options {
  /** Compresses what is sent. What is received is compressed by the service. */
  gzip?: boolean;
}

/** Something wrong with a field of the request: a path such as `batch.operations[37].signature`. */
export interface FieldViolation {
  field: string;
  description: string;
}

/** What the service says of a call that failed. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  /** gRPC's code by its name, such as `INVALID_ARGUMENT`. */
  readonly code: keyof typeof grpc.status;
  /** The cause in UPPER_SNAKE_CASE, for programs; none where the call did not reach the service. */
  readonly reason: string | undefined;
  /** `operation`, `rule`, `field`, `expected`, `found`, where they apply. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FieldViolation[];
  readonly preconditions: readonly { type: string; subject: string; description: string }[];
  /** Limits that are reached. */
  readonly limits: readonly { subject: string; description: string }[];
  readonly resource: { type: string; name: string } | undefined;
  /** When to try again, where waiting helps. */
  readonly retryMs: number | undefined;

  constructor(cause: grpc.ServiceError) {
    super(cause.details, { cause });
    this.code = grpc.status[cause.code] as keyof typeof grpc.status;
    const [encoded] = cause.metadata?.get("grpc-status-details-bin") ?? [];
    const details = Buffer.isBuffer(encoded) ? Status.decode(encoded).details : [];
    const find = <T>(name: string, message: { decode(bytes: Uint8Array): T }): T | undefined => {
      const detail = details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${name}`));
      return detail && message.decode(detail.value);
    };
    const info = find("ErrorInfo", ErrorInfo);
    this.reason = info?.reason;
    this.metadata = info?.metadata ?? {};
    this.fields = find("BadRequest", BadRequest)?.fieldViolations ?? [];
    this.preconditions = find("PreconditionFailure", PreconditionFailure)?.violations ?? [];
    this.limits = find("QuotaFailure", QuotaFailure)?.violations ?? [];
    const resource = find("ResourceInfo", ResourceInfo);
    this.resource = resource && { type: resource.resourceType, name: resource.resourceName };
    const delay = find("RetryInfo", RetryInfo)?.retryDelay;
    this.retryMs = delay && Number(delay.seconds) * 1_000 + Math.ceil(delay.nanos / 1e6);
  }

  /** How long to wait before the same call may succeed, milliseconds; none where waiting does not help. */
  get waitMs(): number | undefined {
    return this.retryMs ?? (this.code === "UNAVAILABLE" ? RETRY_MS : undefined);
  }
}

/** An encoded batch, as a batch file has it. */
export function encodeBatch(batch: DeepPartial<Batch>): Buffer {
  return Buffer.from(Batch.encode(Batch.fromPartial(batch)).finish());
}

export function decodeBatch(bytes: Uint8Array): Batch {
  return Batch.decode(bytes);
}

/**
 * A connection to the service. It is made again whenever it breaks. Calls that find the service away, or full, are made again:
 * each reads, or is idempotent.
 */
export class Client {
  readonly #stub: ProverServiceClient;
  readonly #token: string | undefined;

  /** Connects, and waits for that. The URL is `http://HOST:PORT` on this machine, or `https://HOST:PORT`. */
  static async connect(url: string, papers: Papers = {}, options: Options = {}): Promise<Client> {
    const { protocol, host } = new URL(url);
    if (protocol !== "http:" && protocol !== "https:") throw new Error(`${url}: expected http:// or https://`);
    const read = async (path: string | undefined) => (path === undefined ? null : await readFile(path));
    const [ca, certificate, key, token] = await Promise.all([
      read(papers.ca),
      read(papers.certificate),
      read(papers.key),
      read(papers.token),
    ]);
    const { createInsecure, createSsl } = grpc.credentials;
    const credentials = protocol === "https:" ? createSsl(ca, key, certificate) : createInsecure();
    const stub = new ProverServiceClient(host, credentials, {
      "grpc.keepalive_time_ms": KEEPALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
      ...(options.gzip && { "grpc.default_compression_algorithm": GZIP }),
    });
    await new Promise<void>((resolve, reject) => {
      stub.waitForReady(Date.now() + CONNECT_MS_MAX, (error) => (error ? reject(error) : resolve()));
    });
    return new Client(stub, token?.toString().trim());
  }

  private constructor(stub: ProverServiceClient, token: string | undefined) {
    this.#stub = stub;
    this.#token = token;
  }

  close(): void {
    this.#stub.close();
  }

  /** What the service proves, and where a rollup's chain stands; without a name, the only rollup's. */
  info(rollup = ""): Promise<GetInfoResponse> {
    return this.#call((metadata, options, done) => this.#stub.getInfo({ rollup }, metadata, options, done));
  }

  /** The rollups whose batches are proven, in the order in which they were created. */
  async rollups(): Promise<RollupInfo[]> {
    const { rollups } = await this.#call((metadata, options, done: Answer<{ rollups: RollupInfo[] }>) =>
      this.#stub.listRollups({}, metadata, options, done),
    );
    return rollups;
  }

  /**
   * Hands over a batch, or an encoded one. The same request id and batch is the same batch, however often it is sent; with another
   * batch, the id is refused. When this returns, the batch is stored. Of the batches of a rollup, those of a higher priority are
   * proven first, then those that are needed sooner.
   */
  submit(
    requestId: string,
    batch: DeepPartial<Batch> | Uint8Array,
    wishes: { priority?: number; deadlineUnixMs?: bigint; labels?: string[] } = {},
  ): Promise<SubmitBatchResponse> {
    const bytes = batch instanceof Uint8Array ? Buffer.from(batch) : encodeBatch(batch);
    const header = {
      requestId,
      batchNumber: decodeBatch(bytes).number,
      totalBytes: BigInt(bytes.length),
      sha256: createHash("sha256").update(bytes).digest(),
      priority: wishes.priority ?? 0,
      deadlineUnixMs: wishes.deadlineUnixMs ?? 0n,
      labels: wishes.labels ?? [],
    };
    return this.#call((metadata, options, done) => {
      const call = this.#stub.submitBatch(metadata, options, done);
      // Its declaration knows writers of bytes alone.
      Readable.from(parts(header, bytes)).pipe(call as unknown as Writable);
    });
  }

  /** A batch as it is now. */
  async batch(batchId: string): Promise<BatchInfo> {
    const { batch } = await this.#call((metadata, options, done: Answer<{ batch: BatchInfo | undefined }>) =>
      this.#stub.getBatch({ batchId }, metadata, options, done),
    );
    return present(batch);
  }

  /**
   * A batch at every change after a revision, until it is final. A connection that breaks, or a service that starts again, is
   * waited for, and the watch goes on from the last revision seen.
   */
  async *watch(batchId: string, afterRevision = 0n): AsyncGenerator<BatchInfo, void> {
    for (let retries = 0; ; retries++) {
      try {
        const stream = this.#stub.watchBatch({ batchId, afterRevision }, this.#metadata());
        for await (const { batch } of stream as AsyncIterable<{ batch: BatchInfo | undefined }>) {
          const info = present(batch);
          afterRevision = info.revision;
          retries = 0;
          yield info;
        }
        return;
      } catch (error) {
        await waited(error, retries);
      }
    }
  }

  /** All batches, or those that are asked for, newest first; pages are fetched as they are needed. */
  async *list(
    which: { rollup?: string; statuses?: BatchStatus[]; label?: string } = {},
  ): AsyncGenerator<BatchInfo, void> {
    const { rollup = "", statuses = [], label = "" } = which;
    for (let pageToken = ""; ; ) {
      const request = { pageSize: PAGE_SIZE, pageToken, rollup, statuses, label };
      const page = await this.#call(
        (metadata, options, done: Answer<{ batches: BatchInfo[]; nextPageToken: string }>) =>
          this.#stub.listBatches(request, metadata, options, done),
      );
      yield* page.batches;
      if (page.nextPageToken === "") return;
      pageToken = page.nextPageToken;
    }
  }

  /** The proof of a batch that is proven. */
  proof(batchId: string): Promise<GetProofResponse> {
    return this.#call((metadata, options, done) => this.#stub.getProof({ batchId }, metadata, options, done));
  }

  async #call<T>(
    begin: (metadata: grpc.Metadata, options: Partial<grpc.CallOptions>, done: Answer<T>) => unknown,
  ): Promise<T> {
    for (let retries = 0; ; retries++) {
      try {
        return await new Promise<T>((resolve, reject) => {
          const done: Answer<T> = (error, response) => (error ? reject(error) : resolve(response));
          begin(this.#metadata(), { deadline: Date.now() + CALL_MS_MAX }, done);
        });
      } catch (error) {
        await waited(error, retries);
      }
    }
  }

  #metadata(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    if (this.#token !== undefined) metadata.set("authorization", `Bearer ${this.#token}`);
    return metadata;
  }
}

/** The file that `rollup-prover verify` reads. */
export function proofFile(proof: GetProofResponse) {
  const hex = (bytes: Buffer) => `0x${bytes.toString("hex")}`;
  return {
    rollup_id: { chain_id: proof.chainId.toString(), contract: hex(proof.contract) },
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

type Answer<T> = (error: grpc.ServiceError | null, response: T) => void;
type Header = {
  requestId: string;
  batchNumber: bigint;
  totalBytes: bigint;
  sha256: Buffer;
  priority: number;
  deadlineUnixMs: bigint;
  labels: string[];
};

function* parts(header: Header, bytes: Buffer): Generator<SubmitBatchRequest> {
  yield { part: { $case: "header", header } };
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
    yield { part: { $case: "chunk", chunk: bytes.subarray(start, start + CHUNK_BYTES) } };
  }
}

/** Waits for as long as helps after a call has failed, or throws what the service said. */
async function waited(error: unknown, retries: number): Promise<void> {
  if (!isStatus(error)) throw error;
  const said = new ServiceError(error);
  if (said.waitMs === undefined || retries >= RETRIES_MAX) throw said;
  await sleep(said.waitMs);
}

const isStatus = (error: unknown): error is grpc.ServiceError =>
  error instanceof Error && typeof (error as Partial<grpc.ServiceError>).code === "number";

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the service left out what it always sets");
  return value;
}
