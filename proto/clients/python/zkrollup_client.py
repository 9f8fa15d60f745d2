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
#: Longest time for one call that is not a stream; a submission executes its batch within it.
CALL_SECONDS_MAX = 300.0
#: Time for a connection, TLS included.
CONNECT_SECONDS_MAX = 10.0
#: Shortest pause between two attempts of a call, and the one where the service names none; and the longest that is taken over from it.
PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 60.0
#: How long the service may be out of reach before a call is given up, or a watch over which nothing comes.
PATIENCE_SECONDS = 20.0
#: How long it may be busy. A full queue moves when a batch is proven, which takes minutes.
BUSY_SECONDS_MAX = 600.0
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
    def is_unreachable(self) -> bool:
        """Whether the connection broke, or the coordinator is starting, stopping or standing by: another may serve."""
        code = grpc.StatusCode
        return self.code in (code.UNAVAILABLE, code.DEADLINE_EXCEEDED, code.CANCELLED)

    @property
    def wait_seconds(self) -> float | None:
        """How long to wait before the same call may succeed; none where waiting does not help."""
        busy = self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_seconds is not None
        if not busy and not self.is_unreachable:
            return None
        return min(max(self.retry_seconds or 0.0, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)

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
    """A client of one coordinator, or of several of which one leads.

    A connection is made when it is first used, and again whenever it breaks. Calls that find the service away, or full, are made again:
    each reads, or is idempotent. Of several coordinators, a call turns to the one that is said to lead, if it is one of them, or else
    to the next. Raises `ServiceError`.
    """

    def __init__(self, url: str, papers: Papers = Papers(), *, gzip: bool = False) -> None:
        """The URL is `http://HOST:PORT` on this machine, or `https://HOST:PORT`; or several of these, separated by commas."""
        options = [
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            # The library's name for the time that a connection may take.
            ("grpc.min_reconnect_backoff_ms", round(CONNECT_SECONDS_MAX * 1000)),
            ("grpc.initial_reconnect_backoff_ms", round(PAUSE_SECONDS_MIN * 1000)),
            ("grpc.max_reconnect_backoff_ms", round(PAUSE_SECONDS_MIN * 1000)),
        ]
        compression = grpc.Compression.Gzip if gzip else None
        token = _read(papers.token)
        self._metadata = () if token is None else (("authorization", f"Bearer {token.decode().strip()}"),)
        files = tuple(map(_read, (papers.ca, papers.key, papers.certificate)))
        self._urls = [_origin(each) for each in url.split(",")]
        self._channels = [
            grpc.secure_channel(host, grpc.ssl_channel_credentials(*files), options, compression)
            if scheme == "https"
            else grpc.insecure_channel(host, options, compression)
            for scheme, host in self._urls
        ]
        self._services = [rpc.ProverServiceStub(channel) for channel in self._channels]
        #: Which of them is called next.
        self._at = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def info(self, rollup: str = "") -> pb.GetInfoResponse:
        """What the service proves, and where a rollup's chain stands; without a name, the only rollup's."""
        request = pb.GetInfoRequest(rollup=rollup)
        return self._call(lambda service: service.GetInfo(request, CALL_SECONDS_MAX, self._metadata))

    def rollups(self) -> Sequence[pb.RollupInfo]:
        """The rollups whose batches are proven, in the order in which they were created."""
        request = pb.ListRollupsRequest()
        return self._call(lambda service: service.ListRollups(request, CALL_SECONDS_MAX, self._metadata)).rollups

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

        return self._call(lambda service: service.SubmitBatch(parts(), CALL_SECONDS_MAX, self._metadata))

    def batch(self, batch_id: str) -> pb.BatchInfo:
        """A batch as it is now."""
        request = pb.GetBatchRequest(batch_id=batch_id)
        return self._call(lambda service: service.GetBatch(request, CALL_SECONDS_MAX, self._metadata)).batch

    def watch(self, batch_id: str, after_revision: int = 0) -> Iterator[pb.BatchInfo]:
        """A batch at every change after a revision, until it is final.

        A connection that breaks, or a service that starts again, is waited for, and the watch goes on from the last revision seen, of
        several coordinators at another.
        """
        attempts = _Attempts(len(self._urls))
        while True:
            request = pb.WatchBatchRequest(batch_id=batch_id, after_revision=after_revision)
            at = self._at
            try:
                for change in self._services[at].WatchBatch(request, metadata=self._metadata):
                    after_revision = change.batch.revision
                    attempts = _Attempts(len(self._urls))
                    yield change.batch
                return
            except grpc.RpcError as error:
                self._go_on_after(error, at, attempts)

    def list(
        self, *, rollup: str = "", statuses: Sequence[pb.BatchStatus.ValueType] = (), label: str = ""
    ) -> Iterator[pb.BatchInfo]:
        """All batches, or those that are asked for, newest first; pages are fetched as they are needed."""
        token = ""
        while True:
            request = pb.ListBatchesRequest(
                page_size=PAGE_SIZE, page_token=token, rollup=rollup, statuses=statuses, label=label
            )
            page = self._call(lambda service: service.ListBatches(request, CALL_SECONDS_MAX, self._metadata))
            yield from page.batches
            token = page.next_page_token
            if not token:
                return

    def proof(self, batch_id: str) -> pb.GetProofResponse:
        """The proof of a batch that is proven."""
        request = pb.GetProofRequest(batch_id=batch_id)
        return self._call(lambda service: service.GetProof(request, CALL_SECONDS_MAX, self._metadata))

    def _call(self, call: Callable[[rpc.ProverServiceStub], _T]) -> _T:
        attempts = _Attempts(len(self._urls))
        while True:
            at = self._at
            try:
                return call(self._services[at])
            except grpc.RpcError as error:
                self._go_on_after(error, at, attempts)

    def _go_on_after(self, error: grpc.RpcError, at: int, attempts: _Attempts) -> None:
        """Waits for as long as helps after a call of that coordinator has failed, and turns to another where that may; or raises what the
        service said.
        """
        said = ServiceError.of(error)
        pause = attempts.pause(said)
        if pause is None:
            raise said from error
        time.sleep(pause)
        # Where another call has turned already, that holds.
        if said.is_unreachable and self._at == at:
            self._at = self._other(at, said)

    def _other(self, at: int, said: ServiceError) -> int:
        """The coordinator that is said to lead, if it is one of these and not that one; else the one after it."""
        try:
            leader = self._urls.index(_origin(said.metadata.get("leader", "")))
        except ValueError:
            leader = at
        return leader if leader != at else (at + 1) % len(self._urls)


class _Attempts:
    """The attempts of one call."""

    def __init__(self, coordinators: int) -> None:
        #: Coordinators that were not tried yet.
        self._untried = coordinators
        self._started = time.monotonic()
        #: When the service last answered.
        self._answered = self._started

    def pause(self, said: ServiceError) -> float | None:
        """Seconds before the next attempt, after one that failed; none when the call is given up."""
        now, pause = time.monotonic(), said.wait_seconds
        if pause is None:
            return None
        self._untried = max(self._untried - 1, 0)
        if said.is_unreachable and self._untried > 0:
            # One that is silent takes longer than patience lasts, and the next may serve.
            return PAUSE_SECONDS_MIN
        if said.is_unreachable:
            left = self._answered + PATIENCE_SECONDS - now
        else:
            self._answered = now
            left = self._started + BUSY_SECONDS_MAX - now
        # The last attempt is at the limit.
        return min(pause, left) if left > 0 else None


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


def _origin(url: str) -> tuple[str, str]:
    """Scheme, and host with port, of a coordinator's URL."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url}: expected http:// or https://, and a host")
    return parts.scheme, parts.netloc
