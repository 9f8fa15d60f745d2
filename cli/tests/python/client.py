"""A sequencer's client, made from the .proto files alone: submits a batch file, watches it, fetches the proof.

Usage: client.py STUBS ADDRESS BATCH_FILE PROOF_FILE CA CERTIFICATE KEY
STUBS is the directory of the code that grpcio-tools generated. Prints one JSON object.
"""

import collections
import hashlib
import json
import sys

CHUNK_BYTES = 1 << 20


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(stubs, address, batch_file, proof_file, ca, certificate, key):
    sys.path.insert(0, stubs)
    import grpc
    from zkrollup.prover.v1 import batch_pb2, prover_service_pb2 as pb, prover_service_pb2_grpc as rpc

    encoded = read(batch_file)
    batch = batch_pb2.Batch.FromString(encoded)
    kinds = collections.Counter(operation.WhichOneof("kind") for operation in batch.operations)

    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(certificate))
    with grpc.secure_channel(address, credentials) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        service = rpc.ProverServiceStub(channel)
        info = service.GetInfo(pb.GetInfoRequest(), timeout=30)
        assert info.next_batch_number == batch.number, info
        assert info.head_root == batch.old_root, info
        assert len(batch.operations) <= info.places_max + info.queue_capacity, info

        def submission(request_id, content):
            header = pb.SubmitBatchHeader(
                request_id=request_id,
                batch_number=batch.number,
                total_bytes=len(content),
                sha256=hashlib.sha256(content).digest(),
            )
            yield pb.SubmitBatchRequest(header=header)
            for start in range(0, len(content), CHUNK_BYTES):
                yield pb.SubmitBatchRequest(chunk=content[start : start + CHUNK_BYTES])

        # A batch with a wrong new root is refused, and says so.
        wrong = batch_pb2.Batch()
        wrong.CopyFrom(batch)
        wrong.new_root = batch.old_root
        try:
            service.SubmitBatch(submission("wrong", wrong.SerializeToString()), timeout=60)
            raise AssertionError("a batch with a wrong root was accepted")
        except grpc.RpcError as error:
            refusal = error.code().name

        first = service.SubmitBatch(submission("from-python", encoded), timeout=60)
        again = service.SubmitBatch(submission("from-python", encoded), timeout=60)
        assert not first.already_existed and again.already_existed, (first, again)
        assert again.batch.batch_id == first.batch.batch_id

        states, last = [], None
        request = pb.WatchBatchRequest(batch_id=first.batch.batch_id)
        for change in service.WatchBatch(request, timeout=1200):
            last = change.batch
            status = pb.BatchStatus.Name(last.status)
            if not states or states[-1] != status:
                states.append(status)
        assert last.status == pb.BATCH_STATUS_PROVEN, last

        proof = service.GetProof(pb.GetProofRequest(batch_id=first.batch.batch_id), timeout=30)

    assert len(proof.instances) == 17 and all(len(instance) == 32 for instance in proof.instances)
    assert proof.new_root == batch.new_root == proof.instances[12]

    def hexadecimal(data):
        return "0x" + data.hex()

    with open(proof_file, "w") as file:
        json.dump(
            {
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
            },
            file,
        )
    result = {
        "batch_id": first.batch.batch_id,
        "refusal": refusal,
        "states": states,
        "operations": last.operations,
        "kinds": kinds,
        "counts": {"queued": last.counts.queued, "transfers": last.counts.transfers},
        "proof_bytes": len(proof.proof),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
