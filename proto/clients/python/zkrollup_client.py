"""A client of the service, made from the .proto files: gRPC, with TLS and a certificate or a token where they are given."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from grpc_status import rpc_status

from zkrollup.prover.v1 import batch_pb2
from zkrollup.prover.v1 import prover_service_pb2 as pb
from zkrollup.prover.v1 import prover_service_pb2_grpc as rpc

CHUNK_BYTES = 1 << 20
CALL_SECONDS_MAX = 60.0
CONNECT_SECONDS_MAX = 60.0
#: How often a call is made again, or a watch resumed, without any success in between.
RETRIES_MAX = 30
RETRY_SECONDS = 1.0
PAGE_SIZE = 100
#: As the service's own clients: a connection that does not answer for so long is given up.
KEEPALIVE_MS = 10_000

_T = TypeVar("_T")
_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True)
class Papers:
    """Paths of PEM files, and of a token's."""

    #: What vouches for the service; the system's authorities where there is none.
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    #: Instead of a certificate.
    token: str | None = None


@dataclass(frozen=True)
class FieldViolation:
    """Something wrong with a field of the request."""

    #: A path such as `batch.operations[37].signature`.
    field: str
    description: str


@dataclass(frozen=True)
class Precondition:
    """Something that would have to hold first."""

    type: str
    subject: str
    description: str


@dataclass(frozen=True)
class Limit:
    """A limit that is reached."""

    subject: str
    description: str


@dataclass(eq=False)
class ServiceError(Exception):
    """What the service says of a call that failed."""

    code: grpc.StatusCode
    message: str
    #: The cause in UPPER_SNAKE_CASE, for programs; none where the call did not reach the service.
    reason: str | None = None
    #: `operation`, `rule`, `field`, `expected`, `found`, where they apply.
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[FieldViolation, ...] = ()
    preconditions: tuple[Precondition, ...] = ()
    limits: tuple[Limit, ...] = ()
    #: Type and name of what is concerned.
    resource: tuple[str, str] | None = None
    #: When to try again, where waiting helps.
    retry_seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @property
    def wait_seconds(self) -> float | None:
        """How long to wait before the same call may succeed; none where waiting does not help."""
        if self.retry_seconds is None and self.code is grpc.StatusCode.UNAVAILABLE:
            return RETRY_SECONDS
        return self.retry_seconds

    @staticmethod
    def of(error: grpc.RpcError) -> ServiceError:
        """The same of gRPC's own exception, which a call raises."""
        assert isinstance(error, grpc.Call), error
        status = rpc_status.from_call(error)
        found = status.details if status is not None else ()

        def find(kind: type[_Detail]) -> _Detail | None:
            for detail in found:
                message = kind()
                if detail.Unpack(message):
                    return message
            return None

        info = find(details.ErrorInfo)
        bad = find(details.BadRequest) or details.BadRequest()
        failed = find(details.PreconditionFailure) or details.PreconditionFailure()
        quota = find(details.QuotaFailure) or details.QuotaFailure()
        resource = find(details.ResourceInfo)
        retry = find(details.RetryInfo)
        return ServiceError(
            code=error.code(),
            message=error.details() or "",
            reason=info.reason if info else None,
            metadata=dict(info.metadata) if info else {},
            fields=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations),
            preconditions=tuple(Precondition(v.type, v.subject, v.description) for v in failed.violations),
            limits=tuple(Limit(v.subject, v.description) for v in quota.violations),
            resource=(resource.resource_type, resource.resource_name) if resource else None,
            retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        )


class Client:
    """A connection to the service. It is made again whenever it breaks.

    Calls that find the service away, or full, are made again: each reads, or is idempotent. Raises `ServiceError`.
    """

    def __init__(self, url: str, papers: Papers = Papers(), *, gzip: bool = False) -> None:
        """Connects, and waits for that. The URL is `http://HOST:PORT` on this machine, or `https://HOST:PORT`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{url}: expected http:// or https://")
        options = [("grpc.keepalive_time_ms", KEEPALIVE_MS), ("grpc.keepalive_timeout_ms", KEEPALIVE_MS)]
        compression = grpc.Compression.Gzip if gzip else None
        token = _read(papers.token)
        self._metadata = () if token is None else (("authorization", f"Bearer {token.decode().strip()}"),)
        if parts.scheme == "http":
            self._channel = grpc.insecure_channel(parts.netloc, options, compression)
        else:
            credentials = grpc.ssl_channel_credentials(*map(_read, (papers.ca, papers.key, papers.certificate)))
            self._channel = grpc.secure_channel(parts.netloc, credentials, options, compression)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=CONNECT_SECONDS_MAX)
        except grpc.FutureTimeoutError:
            self._channel.close()
            raise ConnectionError(f"cannot connect to {url} within {CONNECT_SECONDS_MAX} s") from None
        self._service = rpc.ProverServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def info(self, rollup: str = "") -> pb.GetInfoResponse:
        """What the service proves, and where a rollup's chain stands; without a name, the only rollup's."""
        request = pb.GetInfoRequest(rollup=rollup)
        return self._call(lambda: self._service.GetInfo(request, CALL_SECONDS_MAX, self._metadata))

    def rollups(self) -> Sequence[pb.RollupInfo]:
        """The rollups whose batches are proven, in the order in which they were created."""
        request = pb.ListRollupsRequest()
        return self._call(lambda: self._service.ListRollups(request, CALL_SECONDS_MAX, self._metadata)).rollups

    def submit(
        self,
        request_id: str,
        batch: batch_pb2.Batch | bytes,
        *,
        priority: int = 0,
        deadline_unix_ms: int = 0,
        labels: Sequence[str] = (),
    ) -> pb.SubmitBatchResponse:
        """Hands over a batch, or an encoded one.

        Of the batches of a rollup, those of a higher priority are proven first, then those that are needed sooner.

        The same request id and batch is the same batch, however often it is sent; with another batch, the id is refused. When this
        returns, the batch is stored.
        """
        encoded = batch if isinstance(batch, bytes) else batch.SerializeToString()
        header = pb.SubmitBatchHeader(
            request_id=request_id,
            batch_number=batch_pb2.Batch.FromString(encoded).number,
            total_bytes=len(encoded),
            sha256=hashlib.sha256(encoded).digest(),
            priority=priority,
            deadline_unix_ms=deadline_unix_ms,
            labels=labels,
        )

        def parts() -> Iterator[pb.SubmitBatchRequest]:
            yield pb.SubmitBatchRequest(header=header)
            for start in range(0, len(encoded), CHUNK_BYTES):
                yield pb.SubmitBatchRequest(chunk=encoded[start : start + CHUNK_BYTES])

        return self._call(lambda: self._service.SubmitBatch(parts(), CALL_SECONDS_MAX, self._metadata))

    def batch(self, batch_id: str) -> pb.BatchInfo:
        """A batch as it is now."""
        request = pb.GetBatchRequest(batch_id=batch_id)
        return self._call(lambda: self._service.GetBatch(request, CALL_SECONDS_MAX, self._metadata)).batch

    def watch(self, batch_id: str, after_revision: int = 0) -> Iterator[pb.BatchInfo]:
        """A batch at every change after a revision, until it is final.

        A connection that breaks, or a service that starts again, is waited for, and the watch goes on from the last revision seen.
        """
        retries = 0
        while True:
            request = pb.WatchBatchRequest(batch_id=batch_id, after_revision=after_revision)
            try:
                for change in self._service.WatchBatch(request, metadata=self._metadata):
                    after_revision = change.batch.revision
                    retries = 0
                    yield change.batch
                return
            except grpc.RpcError as error:
                _wait(error, retries)
                retries += 1

    def list(
        self, *, rollup: str = "", statuses: Sequence[pb.BatchStatus.ValueType] = (), label: str = ""
    ) -> Iterator[pb.BatchInfo]:
        """All batches, or those that are asked for, newest first; pages are fetched as they are needed."""
        token = ""
        while True:
            request = pb.ListBatchesRequest(
                page_size=PAGE_SIZE, page_token=token, rollup=rollup, statuses=statuses, label=label
            )
            page = self._call(lambda: self._service.ListBatches(request, CALL_SECONDS_MAX, self._metadata))
            yield from page.batches
            token = page.next_page_token
            if not token:
                return

    def proof(self, batch_id: str) -> pb.GetProofResponse:
        """The proof of a batch that is proven."""
        request = pb.GetProofRequest(batch_id=batch_id)
        return self._call(lambda: self._service.GetProof(request, CALL_SECONDS_MAX, self._metadata))

    def _call(self, call: Callable[[], _T]) -> _T:
        retries = 0
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                _wait(error, retries)
                retries += 1


def proof_file(proof: pb.GetProofResponse) -> dict[str, object]:
    """What `rollup-prover verify` reads, to be written as JSON."""

    def hexadecimal(data: bytes) -> str:
        return "0x" + data.hex()

    return {
        "rollup_id": {"chain_id": str(proof.chain_id), "contract": hexadecimal(proof.contract)},
        "batch_number": proof.batch_number,
        "time": proof.time,
        "old_root": hexadecimal(proof.old_root),
        "new_root": hexadecimal(proof.new_root),
        "c_a": hexadecimal(proof.c_a),
        "c_b": hexadecimal(proof.c_b),
        "x": hexadecimal(proof.x),
        "posted_a": hexadecimal(proof.posted_a),
        "posted_b": hexadecimal(proof.posted_b),
        "instances": [hexadecimal(instance) for instance in proof.instances],
        "proof": hexadecimal(proof.proof),
        "aggregation_vk_digest": hexadecimal(proof.aggregation_vk_digest),
    }


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _wait(error: grpc.RpcError, retries: int) -> None:
    """Waits for as long as helps after a call has failed, or raises what the service said."""
    said = ServiceError.of(error)
    if said.wait_seconds is None or retries >= RETRIES_MAX:
        raise said from error
    time.sleep(said.wait_seconds)
