"""The client against a server that breaks off, refuses and looks at tokens; what the real service says is tested with it.

`PYTHONPATH=gen python -m unittest`
"""

import hashlib
import socket
import tempfile
import unittest
from collections.abc import Iterator
from concurrent import futures

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from grpc_status import rpc_status

import zkrollup_client
from zkrollup.prover.v1 import batch_pb2
from zkrollup.prover.v1 import prover_service_pb2 as pb
from zkrollup.prover.v1 import prover_service_pb2_grpc as rpc
from zkrollup_client import Client, FieldViolation, Limit, Papers, Precondition, ServiceError


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *said: Message) -> None:
    packed = []
    for detail in said:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


class Service(rpc.ProverServiceServicer):
    def __init__(self) -> None:
        #: Who is said to lead; none where it is this one.
        self.leader: str | None = None
        #: Calls that ask where things stand, and their tokens.
        self.asked = 0
        self.chunks: list[int] = []
        self.submissions = 0
        self.watches: list[int] = []
        self.pages: list[str] = []
        self.tokens: list[str | bytes] = []

    def SubmitBatch(
        self, request_iterator: Iterator[pb.SubmitBatchRequest], context: grpc.ServicerContext
    ) -> pb.SubmitBatchResponse:
        header, *chunks = list(request_iterator)
        content = b"".join(part.chunk for part in chunks)
        assert header.header.sha256 == hashlib.sha256(content).digest()
        assert header.header.total_bytes == len(content)
        self.chunks = [len(part.chunk) for part in chunks]
        self.submissions += 1
        if self.leader is not None:
            refuse(
                context,
                grpc.StatusCode.UNAVAILABLE,
                "stands by",
                details.ErrorInfo(reason="NOT_LEADER", domain="prover.zkrollup", metadata={"leader": self.leader}),
                details.RetryInfo(retry_delay=duration_pb2.Duration(nanos=1_000_000)),
            )
        # Once it is away, and once it is full.
        if header.header.request_id == "again" and self.submissions == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        if header.header.request_id == "again" and self.submissions == 2:
            delay = details.RetryInfo(retry_delay=duration_pb2.Duration(nanos=1_000_000))
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", delay)
        batch = pb.BatchInfo(batch_id=header.header.request_id, batch_number=header.header.batch_number)
        return pb.SubmitBatchResponse(batch=batch)

    def WatchBatch(
        self, request: pb.WatchBatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchBatchResponse]:
        self.watches.append(request.after_revision)
        if self.leader is not None:
            yield pb.WatchBatchResponse(batch=pb.BatchInfo(revision=8, status=pb.BATCH_STATUS_AGGREGATING))
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        if request.batch_id == "unknown":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such batch")
        if request.after_revision == 0:
            yield pb.WatchBatchResponse(batch=pb.BatchInfo(revision=7, status=pb.BATCH_STATUS_PROVING))
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        yield pb.WatchBatchResponse(batch=pb.BatchInfo(revision=9, status=pb.BATCH_STATUS_PROVEN))

    def ListBatches(self, request: pb.ListBatchesRequest, context: grpc.ServicerContext) -> pb.ListBatchesResponse:
        self.pages.append(request.page_token)
        first = not request.page_token
        batches = [pb.BatchInfo(batch_id=name) for name in (("b2", "b1") if first else ("b0",))]
        return pb.ListBatchesResponse(batches=batches, next_page_token="next" if first else "")

    def GetBatch(self, request: pb.GetBatchRequest, context: grpc.ServicerContext) -> pb.GetBatchResponse:
        self.asked += 1
        field = details.BadRequest.FieldViolation(field="batch.operations[3].signature", description="another")
        chain = details.PreconditionFailure.Violation(type="CHAIN", subject="batch.number", description="not the next")
        quota = details.QuotaFailure.Violation(subject="watches_max", description="32")
        refuse(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            "refused",
            details.ErrorInfo(reason="BAD", domain="prover.zkrollup", metadata={"rule": "P-4.4.5"}),
            details.BadRequest(field_violations=[field]),
            details.PreconditionFailure(violations=[chain]),
            details.QuotaFailure(violations=[quota]),
            details.ResourceInfo(resource_type="batch", resource_name=request.batch_id),
        )
        raise AssertionError("refused")

    def ListRollups(self, request: pb.ListRollupsRequest, context: grpc.ServicerContext) -> pb.ListRollupsResponse:
        return pb.ListRollupsResponse(rollups=[pb.RollupInfo(name="main")])

    def GetInfo(self, request: pb.GetInfoRequest, context: grpc.ServicerContext) -> pb.GetInfoResponse:
        self.asked += 1
        self.tokens.extend(value for key, value in context.invocation_metadata() if key == "authorization")
        return pb.GetInfoResponse()

    def CancelBatch(self, request: pb.CancelBatchRequest, context: grpc.ServicerContext) -> pb.CancelBatchResponse:
        raise NotImplementedError

    def RetryBatch(self, request: pb.RetryBatchRequest, context: grpc.ServicerContext) -> pb.RetryBatchResponse:
        raise NotImplementedError

    def GetProof(self, request: pb.GetProofRequest, context: grpc.ServicerContext) -> pb.GetProofResponse:
        raise NotImplementedError


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.set("PAUSE_SECONDS_MIN", 0.01)

    def set(self, name: str, value: float) -> None:
        self.addCleanup(setattr, zkrollup_client, name, getattr(zkrollup_client, name))
        setattr(zkrollup_client, name, value)

    def start(self) -> tuple[Service, str]:
        """A service, and its URL."""
        service = Service()
        server = grpc.server(futures.ThreadPoolExecutor(4))
        rpc.add_ProverServiceServicer_to_server(service, server)
        url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self.addCleanup(lambda: server.stop(None).wait())
        return service, url


def nobody(listens: bool) -> tuple[socket.socket, str]:
    """An address at which nobody answers: where the socket listens, connections are taken, and nothing follows."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    if listens:
        held.listen()
    return held, f"http://127.0.0.1:{held.getsockname()[1]}"


class ClientTest(Case):
    def setUp(self) -> None:
        super().setUp()
        self.service, self.url = self.start()

    def test_the_rollups_are_listed(self) -> None:
        with Client(self.url) as client:
            self.assertEqual([rollup.name for rollup in client.rollups()], ["main"])

    def test_a_batch_goes_over_in_chunks_of_at_most_one_mebibyte_compressed_or_not(self) -> None:
        operations = [batch_pb2.Operation(no_op=batch_pb2.NoOp())] * 300_000
        batch = batch_pb2.Batch(number=5, operations=operations)
        size = batch.ByteSize()
        for gzip in (False, True):
            with Client(self.url, gzip=gzip) as client:
                info = client.submit("large", batch).batch
            self.assertEqual((info.batch_id, info.batch_number), ("large", 5))
            self.assertEqual(self.service.chunks, [1 << 20] * (size >> 20) + [size % (1 << 20)])
            self.assertGreaterEqual(size >> 20, 1)

    def test_a_submission_is_made_again_where_the_service_is_away_or_full(self) -> None:
        with Client(self.url) as client:
            info = client.submit("again", batch_pb2.Batch(number=6)).batch
        self.assertEqual((info.batch_id, info.batch_number, self.service.submissions), ("again", 6, 3))

    def test_a_watch_that_breaks_is_resumed_from_the_last_revision_and_any_other_end_is_told(self) -> None:
        with Client(self.url) as client:
            statuses = [seen.status for seen in client.watch("b1")]
            self.assertEqual(statuses, [pb.BATCH_STATUS_PROVING, pb.BATCH_STATUS_PROVEN])
            self.assertEqual(self.service.watches, [0, 7])
            with self.assertRaises(ServiceError) as raised:
                list(client.watch("unknown"))
        self.assertEqual(str(raised.exception), "NOT_FOUND: no such batch")
        self.assertIsNone(raised.exception.reason)

    def test_all_pages_are_listed(self) -> None:
        with Client(self.url) as client:
            self.assertEqual([batch.batch_id for batch in client.list()], ["b2", "b1", "b0"])
        self.assertEqual(self.service.pages, ["", "next"])

    def test_a_refusals_details_have_their_types(self) -> None:
        with Client(self.url) as client, self.assertRaises(ServiceError) as raised:
            client.batch("b1")
        error = raised.exception
        self.assertEqual((error.code, error.message), (grpc.StatusCode.INVALID_ARGUMENT, "refused"))
        self.assertEqual((error.reason, error.metadata), ("BAD", {"rule": "P-4.4.5"}))
        self.assertEqual(error.fields, (FieldViolation("batch.operations[3].signature", "another"),))
        self.assertEqual(error.preconditions, (Precondition("CHAIN", "batch.number", "not the next"),))
        self.assertEqual(error.limits, (Limit("watches_max", "32"),))
        self.assertEqual(error.resource, ("batch", "b1"))
        self.assertIsNone(error.retry_seconds)

    def test_a_token_goes_with_each_call_and_a_url_of_another_scheme_is_refused(self) -> None:
        with tempfile.NamedTemporaryFile("w") as token:
            token.write("s3cret\n")
            token.flush()
            with Client(self.url, Papers(token=token.name)) as client:
                client.info()
        self.assertEqual(self.service.tokens, ["Bearer s3cret"])
        with self.assertRaisesRegex(ValueError, "ftp://127.0.0.1: expected http:// or https://"):
            Client("ftp://127.0.0.1")


class SeveralCoordinators(Case):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.first_url = self.start()
        self.second, self.second_url = self.start()
        self.third, self.third_url = self.start()
        self.urls = f"{self.first_url}, {self.second_url}/,{self.third_url}"

    def submissions(self) -> list[int]:
        return [service.submissions for service in (self.first, self.second, self.third)]

    def test_one_that_stands_by_is_read_from_and_the_leader_that_it_names_is_turned_to_and_stayed_with(self) -> None:
        self.first.leader = f"{self.third_url}/"
        with Client(self.urls) as client:
            client.info()
            self.assertEqual(self.first.asked, 1)
            for name in ("one", "two"):
                self.assertEqual(client.submit(name, batch_pb2.Batch(number=6)).batch.batch_id, name)
            client.info()
        self.assertEqual(self.submissions(), [1, 0, 2])
        self.assertEqual([self.first.asked, self.second.asked, self.third.asked], [1, 0, 1])

    def test_a_leader_that_is_none_of_those_given_is_never_called_but_the_next_is(self) -> None:
        stranger, stranger_url = self.start()
        for leader in (stranger_url, "", "nonsense", self.first_url):
            self.first.leader, self.first.submissions, self.second.submissions = leader, 0, 0
            with Client(self.urls) as client:
                client.submit("one", batch_pb2.Batch(number=6))
            self.assertEqual((self.submissions(), stranger.submissions), ([1, 1, 0], 0), leader)

    def test_one_that_is_gone_or_does_not_answer_is_turned_from(self) -> None:
        self.set("CONNECT_SECONDS_MAX", 0.3)
        for listens in (False, True):
            held, url = nobody(listens)
            with held, Client(f"{url},{self.second_url}") as client:
                client.submit("one", batch_pb2.Batch(number=6))
                client.info()
        self.assertEqual((self.second.submissions, self.second.asked), (2, 2))

    def test_what_another_would_not_answer_otherwise_is_not_asked_elsewhere(self) -> None:
        with Client(self.urls) as client:
            with self.assertRaises(ServiceError) as raised:
                client.batch("b1")
            self.assertEqual(raised.exception.code, grpc.StatusCode.INVALID_ARGUMENT)
            self.assertEqual([self.first.asked, self.second.asked, self.third.asked], [1, 0, 0])
            # Away, then full, which is waited for where it is said.
            self.second.submissions = 1
            client.submit("again", batch_pb2.Batch(number=6))
        self.assertEqual(self.submissions(), [1, 3, 0])

    def test_a_watch_goes_on_at_another_from_the_last_revision(self) -> None:
        self.first.leader = ""
        with Client(self.urls) as client:
            revisions = [seen.revision for seen in client.watch("b1", 5)]
        self.assertEqual((revisions, self.first.watches, self.second.watches), ([8, 9], [5], [8]))
        self.assertEqual(self.third.watches, [])

    def test_while_nobody_leads_each_is_asked_though_patience_has_ended(self) -> None:
        self.set("PATIENCE_SECONDS", 0.0)
        for service in (self.first, self.second, self.third):
            service.leader = ""
        with Client(self.urls) as client, self.assertRaises(ServiceError) as raised:
            client.submit("one", batch_pb2.Batch(number=6))
        self.assertEqual((raised.exception.reason, raised.exception.metadata), ("NOT_LEADER", {"leader": ""}))
        self.assertEqual(self.submissions(), [1, 1, 1])

    def test_an_url_among_several_that_is_none_is_refused(self) -> None:
        for wrong in ("", "ftp://127.0.0.1", "http://", "127.0.0.1:7400"):
            with self.assertRaisesRegex(ValueError, f"^{wrong}: expected http:// or https://, and a host$"):
                Client(f"{self.first_url},{wrong}")


if __name__ == "__main__":
    unittest.main()
