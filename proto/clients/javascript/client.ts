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
/** Longest time for one call that is not a stream; a submission executes its batch within it. */
const CALL_MS_MAX = 300_000;
/** Time for a connection, TLS included. */
const CONNECT_MS_MAX = 10_000;
/** Shortest pause between two attempts of a call, and the one where the service names none; and the longest that is taken over from it. */
const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 60_000;
/** How long the service may be out of reach before a call is given up, or a watch over which nothing comes. */
const PATIENCE_MS = 20_000;
/** How long it may be busy. A full queue moves when a batch is proven, which takes minutes. */
const BUSY_MS_MAX = 600_000;
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
  /** Milliseconds that a connection may take, TLS included; 10,000 where nothing is said. */
  connectMs?: number;
  /** Milliseconds for which the service may be out of reach before a call is given up; 20,000 where nothing is said. */
  patienceMs?: number;
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

  /** Whether the connection broke, or the coordinator is starting, stopping or standing by: another may serve. */
  get isUnreachable(): boolean {
    return this.code === "UNAVAILABLE" || this.code === "DEADLINE_EXCEEDED" || this.code === "CANCELLED";
  }

  /** How long to wait before the same call may succeed, milliseconds; none where waiting does not help. */
  get waitMs(): number | undefined {
    const busy = this.code === "RESOURCE_EXHAUSTED" && this.retryMs !== undefined;
    if (!busy && !this.isUnreachable) return undefined;
    return Math.min(Math.max(this.retryMs ?? 0, PAUSE_MS_MIN), PAUSE_MS_MAX);
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
 * A client of one coordinator, or of several of which one leads. A connection is made when it is first used, and again whenever it
 * breaks. Calls that find the service away, or full, are made again: each reads, or is idempotent. Of several coordinators, a call
 * turns to the one that is said to lead, if it is one of them, or else to the next.
 */
export class Client {
  /** By their origins, as URLs have them. */
  readonly #coordinators: readonly { origin: string; stub: ProverServiceClient }[];
  readonly #token: string | undefined;
  readonly #options: Options;
  /** Which of them is called next. */
  #at = 0;

  /**
   * A client with these papers. The URL is `http://HOST:PORT` on this machine, or `https://HOST:PORT`; or several of these, separated
   * by commas.
   */
  static async connect(url: string, papers: Papers = {}, options: Options = {}): Promise<Client> {
    const urls = url.split(",").map(coordinatorUrl);
    const read = async (path: string | undefined) => (path === undefined ? null : await readFile(path));
    const [ca, certificate, key, token] = await Promise.all([
      read(papers.ca),
      read(papers.certificate),
      read(papers.key),
      read(papers.token),
    ]);
    const { createInsecure, createSsl } = grpc.credentials;
    const coordinators = urls.map(({ protocol, host, origin }) => {
      const credentials = protocol === "https:" ? createSsl(ca, key, certificate) : createInsecure();
      const stub = new ProverServiceClient(host, credentials, {
        "grpc.keepalive_time_ms": KEEPALIVE_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
        "grpc.initial_reconnect_backoff_ms": PAUSE_MS_MIN,
        "grpc.max_reconnect_backoff_ms": PAUSE_MS_MIN,
        ...(options.gzip && { "grpc.default_compression_algorithm": GZIP }),
      });
      return { origin, stub };
    });
    return new Client(coordinators, token?.toString().trim(), options);
  }

  private constructor(
    coordinators: readonly { origin: string; stub: ProverServiceClient }[],
    token: string | undefined,
    options: Options,
  ) {
    this.#coordinators = coordinators;
    this.#token = token;
    this.#options = options;
  }

  close(): void {
    for (const { stub } of this.#coordinators) stub.close();
  }

  /** What the service proves, and where a rollup's chain stands; without a name, the only rollup's. */
  info(rollup = ""): Promise<GetInfoResponse> {
    return this.#call((stub, metadata, options, done) => stub.getInfo({ rollup }, metadata, options, done));
  }

  /** The rollups whose batches are proven, in the order in which they were created. */
  async rollups(): Promise<RollupInfo[]> {
    const { rollups } = await this.#call((stub, metadata, options, done: Answer<{ rollups: RollupInfo[] }>) =>
      stub.listRollups({}, metadata, options, done),
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
    return this.#call((stub, metadata, options, done) => {
      const call = stub.submitBatch(metadata, options, done);
      // Its declaration knows writers of bytes alone.
      Readable.from(parts(header, bytes)).pipe(call as unknown as Writable);
    });
  }

  /** A batch as it is now. */
  async batch(batchId: string): Promise<BatchInfo> {
    const { batch } = await this.#call((stub, metadata, options, done: Answer<{ batch: BatchInfo | undefined }>) =>
      stub.getBatch({ batchId }, metadata, options, done),
    );
    return present(batch);
  }

  /**
   * A batch at every change after a revision, until it is final. A connection that breaks, or a service that starts again, is
   * waited for, and the watch goes on from the last revision seen, of several coordinators at another.
   */
  async *watch(batchId: string, afterRevision = 0n): AsyncGenerator<BatchInfo, void> {
    for (let attempts = this.#attempts(); ; ) {
      const at = this.#at;
      try {
        const stub = await this.#connected(at);
        const stream = stub.watchBatch({ batchId, afterRevision }, this.#metadata());
        for await (const { batch } of stream as AsyncIterable<{ batch: BatchInfo | undefined }>) {
          const info = present(batch);
          afterRevision = info.revision;
          attempts = this.#attempts();
          yield info;
        }
        return;
      } catch (error) {
        await this.#goOnAfter(error, at, attempts);
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
        (stub, metadata, options, done: Answer<{ batches: BatchInfo[]; nextPageToken: string }>) =>
          stub.listBatches(request, metadata, options, done),
      );
      yield* page.batches;
      if (page.nextPageToken === "") return;
      pageToken = page.nextPageToken;
    }
  }

  /** The proof of a batch that is proven. */
  proof(batchId: string): Promise<GetProofResponse> {
    return this.#call((stub, metadata, options, done) => stub.getProof({ batchId }, metadata, options, done));
  }

  async #call<T>(
    begin: (
      stub: ProverServiceClient,
      metadata: grpc.Metadata,
      options: Partial<grpc.CallOptions>,
      done: Answer<T>,
    ) => unknown,
  ): Promise<T> {
    for (const attempts = this.#attempts(); ; ) {
      const at = this.#at;
      try {
        const stub = await this.#connected(at);
        return await new Promise<T>((resolve, reject) => {
          const done: Answer<T> = (error, response) => (error ? reject(error) : resolve(response));
          begin(stub, this.#metadata(), { deadline: Date.now() + CALL_MS_MAX }, done);
        });
      } catch (error) {
        await this.#goOnAfter(error, at, attempts);
      }
    }
  }

  /** A coordinator, once it is known whether it can be reached: a call would wait for that until its own deadline. */
  async #connected(at: number): Promise<ProverServiceClient> {
    const { origin, stub } = present(this.#coordinators[at]);
    const connectMs = this.#options.connectMs ?? CONNECT_MS_MAX;
    const deadline = Date.now() + connectMs;
    const channel = stub.getChannel();
    const { CONNECTING, IDLE } = grpc.connectivityState;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state !== CONNECTING && state !== IDLE) return stub;
      const late = await new Promise<Error | undefined>((resolve) =>
        channel.watchConnectivityState(state, deadline, resolve),
      );
      if (late !== undefined) throw unavailable(`${origin}: not connected within ${connectMs} ms`);
    }
  }

  #attempts(): Attempts {
    return new Attempts(this.#options.patienceMs ?? PATIENCE_MS, this.#coordinators.length);
  }

  /**
   * Waits for as long as helps after a call of that coordinator has failed, and turns to another where that may; or throws what the
   * service said.
   */
  async #goOnAfter(error: unknown, at: number, attempts: Attempts): Promise<void> {
    if (!isStatus(error)) throw error;
    const said = new ServiceError(error);
    const pause = attempts.pauseMs(said);
    if (pause === undefined) throw said;
    await sleep(pause);
    // Where another call has turned already, that holds.
    if (said.isUnreachable && this.#at === at) this.#at = this.#other(at, said);
  }

  /** The coordinator that is said to lead, if it is one of these and not that one; else the one after it. */
  #other(at: number, { metadata: { leader = "" } }: ServiceError): number {
    const named = parsed(leader)?.origin;
    const to = this.#coordinators.findIndex(({ origin }) => origin === named);
    return to >= 0 && to !== at ? to : (at + 1) % this.#coordinators.length;
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

/** The attempts of one call. */
class Attempts {
  readonly #patienceMs: number;
  readonly #started = performance.now();
  /** Coordinators that were not tried yet. */
  #untried: number;
  /** When the service last answered. */
  #answered = this.#started;

  constructor(patienceMs: number, coordinators: number) {
    this.#patienceMs = patienceMs;
    this.#untried = coordinators;
  }

  /** Milliseconds before the next attempt, after one that failed; none when the call is given up. */
  pauseMs(said: ServiceError): number | undefined {
    const [now, pause] = [performance.now(), said.waitMs];
    if (pause === undefined) return undefined;
    this.#untried = Math.max(this.#untried - 1, 0);
    // One that is silent takes longer than patience lasts, and the next may serve.
    if (said.isUnreachable && this.#untried > 0) return PAUSE_MS_MIN;
    if (!said.isUnreachable) this.#answered = now;
    const end = said.isUnreachable ? this.#answered + this.#patienceMs : this.#started + BUSY_MS_MAX;
    // The last attempt is at the limit.
    return end > now ? Math.min(pause, end - now) : undefined;
  }
}

/** A coordinator's URL. */
function coordinatorUrl(text: string): URL {
  const url = parsed(text);
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new Error(`${text}: expected http:// or https://, and a host`);
  }
  return url;
}

function parsed(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/** The error of a call that reached nobody. */
function unavailable(details: string): grpc.ServiceError {
  const code = grpc.status.UNAVAILABLE;
  return Object.assign(new Error(details), { code, details, metadata: new grpc.Metadata() });
}

const isStatus = (error: unknown): error is grpc.ServiceError =>
  error instanceof Error && typeof (error as Partial<grpc.ServiceError>).code === "number";

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("what is always set is not");
  return value;
}
