"""Against a running service, which is started again meanwhile.

Usage: service.py URL[,URL...] CA CERTIFICATE KEY BATCH_FILE REQUEST_ID PROOF_FILE
Prints one JSON object a line: what a refusal carries, that the batch is watched, what came of it.
"""

import collections
import json
import sys
import time

from zkrollup.prover.v1 import batch_pb2
from zkrollup.prover.v1 import prover_service_pb2 as pb
from zkrollup_client import Client, Papers, ServiceError, proof_file


def tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


def refusal(client: Client, info: pb.GetInfoResponse) -> dict[str, object]:
    """What the service says to the next batch with a wrong new root."""
    wrong = batch_pb2.Batch(
        protocol_version=info.protocol_version,
        chain_id=info.chain_id,
        contract=info.contract,
        number=info.next_batch_number,
        time=max(int(time.time()), info.head_time),
        old_root=info.head_root,
        new_root=b"\1" * 32,
        operations=[batch_pb2.Operation(no_op=batch_pb2.NoOp())],
    )
    try:
        client.submit("refused-python", wrong)
    except ServiceError as error:
        return {
            "code": error.code.name,
            "reason": error.reason,
            "metadata": dict(error.metadata),
            "fields": [{"field": each.field, "description": each.description} for each in error.fields],
            "retry_ms": error.retry_seconds,
        }
    raise AssertionError("a batch with a wrong root was taken")


def main(url: str, ca: str, certificate: str, key: str, batch_file: str, request_id: str, file: str) -> None:
    with open(batch_file, "rb") as read:
        encoded = read.read()
    batch = batch_pb2.Batch.FromString(encoded)
    kinds = collections.Counter(operation.WhichOneof("kind") for operation in batch.operations)
    with Client(url, Papers(ca=ca, certificate=certificate, key=key), gzip=True) as client:
        info = client.info()
        assert len(batch.operations) <= info.places_max + info.queue_capacity, info
        tell(refusal=refusal(client, info))
        submitted = client.submit(request_id, encoded, priority=1, labels=["clients"]).batch
        states: list[str] = []
        last = pb.BatchInfo()
        for seen in client.watch(submitted.batch_id):
            if not states:
                tell(watching=seen.batch_id)
            assert seen.revision > last.revision, "a revision that was not seen"
            status = pb.BatchStatus.Name(seen.status)
            if states[-1:] != [status]:
                states.append(status)
            last = seen
        assert last.status == pb.BATCH_STATUS_PROVEN, last
        assert client.batch(submitted.batch_id) == last
        again = client.submit(request_id, batch)
        listed = [listed.batch_id for listed in client.list(label="clients")]
        proof = client.proof(submitted.batch_id)
    assert len(proof.instances) == 17 and all(len(instance) == 32 for instance in proof.instances)
    assert proof.new_root == batch.new_root == proof.instances[12]
    with open(file, "w") as written:
        json.dump(proof_file(proof), written)
    tell(
        batch_id=submitted.batch_id,
        already_existed=again.already_existed,
        statuses=states,
        listed=listed,
        operations=last.operations,
        kinds=kinds,
        counts={"queued": last.counts.queued, "transfers": last.counts.transfers},
        fees=[[fees.token, str(int.from_bytes(fees.amount, "big"))] for fees in last.billing.fees],
        l1_gas=last.billing.l1_gas_estimate,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
