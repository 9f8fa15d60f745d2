//! gzip on every service, and that what becomes large is refused as what is large.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Response, codec::CompressionEncoding::Gzip};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1 as reflection;
use v1::operator_service_client::OperatorServiceClient;

use super::*;
use crate::server::{MESSAGE_BYTES_MAX, access::gate::REQUEST_BYTES_MAX};

/// A client that speaks gzip both ways.
macro_rules! gzip {
    ($client:ident, $service:expr) => {
        $client::new($service.channel.clone())
            .send_compressed(Gzip)
            .accept_compressed(Gzip)
    };
}

/// What an answer was compressed with.
fn encoding<T>(response: &Response<T>) -> Option<&str> {
    let encoding = response.metadata().get("grpc-encoding")?;
    Some(encoding.to_str().expect("a name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_takes_gzip_and_answers_with_it_where_it_is_offered() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut prover = gzip!(ProverServiceClient, service);
    let batch = batch_of(&mut sample(), TIME, 3);
    let submitted = prover
        .submit_batch(tokio_stream::iter(submission("a", &batch)))
        .await
        .expect("it is accepted");
    assert_eq!(encoding(&submitted), Some("gzip"));
    let info = accepted(Ok(submitted.into_inner()));
    // It is the same batch as without.
    let again = accepted(service.submit("a", &batch).await);
    assert_eq!((&again.batch_id, again.sha256), (&info.batch_id, info.sha256));

    let watch = v1::WatchBatchRequest {
        batch_id: info.batch_id,
        after_revision: 0,
    };
    let mut watched = prover.watch_batch(watch.clone()).await.expect("it is there");
    assert_eq!(encoding(&watched), Some("gzip"));
    let seen = watched.get_mut().message().await.expect("open").expect("one");
    assert_eq!(seen.batch.expect("always set").batch_id, watch.batch_id);

    let mut operator = gzip!(OperatorServiceClient, service);
    let workers = operator.list_workers(v1::ListWorkersRequest::default()).await;
    assert_eq!(encoding(&workers.expect("it answers")), Some("gzip"));

    let mut health = gzip!(HealthClient, service);
    let health = health.check(HealthCheckRequest::default()).await;
    assert_eq!(encoding(&health.expect("it answers")), Some("gzip"));

    let asked = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    use reflection::server_reflection_client::ServerReflectionClient;
    let mut reflected = gzip!(ServerReflectionClient, service)
        .server_reflection_info(tokio_stream::iter([asked]))
        .await
        .expect("it answers");
    assert_eq!(encoding(&reflected), Some("gzip"));
    assert!(reflected.get_mut().message().await.expect("open").is_some());

    // A worker's messages may be compressed; what it is sent, payloads above all, is not.
    let (sender, receiver) = mpsc::channel(16);
    let session = gzip!(WorkerServiceClient, service)
        .session(ReceiverStream::new(receiver))
        .await
        .expect("it opens");
    assert_eq!(encoding(&session), None);
    let receiver = session.into_inner();
    let mut worker = Worker { sender, receiver };
    worker.send(FromWorker::Hello(hello("w"))).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
    worker.request().await;
    assert!(!worker.task().await.payload.is_empty());

    // Nobody gets it who does not ask for it.
    let mut plain = service.client();
    let plain = plain.watch_batch(watch).await.expect("it is there");
    assert_eq!(encoding(&plain), None);
    drop((worker, watched, reflected, plain));
    service.stop().await;
}

/// Each inflates to more than its call may have, from less than a thousandth of it on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn what_inflates_beyond_its_limit_is_refused_and_what_stays_within_is_taken() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut prover = gzip!(ProverServiceClient, service);
    let id = |bytes: usize| v1::GetBatchRequest {
        batch_id: "b".repeat(bytes),
    };
    let small = REQUEST_BYTES_MAX as usize;
    for bytes in [small + 1, MESSAGE_BYTES_MAX, 32 << 20] {
        let answer = prover.get_batch(id(bytes)).await;
        refused(answer, Code::ResourceExhausted, "REQUEST_TOO_LARGE", "");
        let mut watch = gzip!(ProverServiceClient, service);
        let watch = watch.watch_batch(v1::WatchBatchRequest {
            batch_id: "b".repeat(bytes),
            after_revision: 0,
        });
        refused(watch.await, Code::ResourceExhausted, "REQUEST_TOO_LARGE", "");
    }
    // Its tag and length are four bytes of it.
    let answer = prover.get_batch(id(small - 4)).await;
    assert_eq!(answer.expect_err("no such batch").code(), Code::NotFound);

    for bytes in [MESSAGE_BYTES_MAX, 32 << 20] {
        let submitted = prover
            .submit_batch(tokio_stream::iter([chunk(&vec![0; bytes])]))
            .await;
        refused(submitted, Code::InvalidArgument, "MESSAGE_TOO_LARGE", "");
        let (sender, receiver) = mpsc::channel(16);
        let mut client = gzip!(WorkerServiceClient, service);
        let session = client.session(ReceiverStream::new(receiver));
        let receiver = session.await.expect("it opens").into_inner();
        let mut worker = Worker { sender, receiver };
        let proof = v1::Complete {
            proof: vec![0; bytes].into(),
            ..v1::Complete::default()
        };
        worker.send(FromWorker::Complete(proof)).await;
        refused(
            worker.next().await,
            Code::InvalidArgument,
            "MESSAGE_TOO_LARGE",
            "",
        );
    }
    // What inflates to a chunk is one, and counts as one.
    let submitted = prover
        .submit_batch(tokio_stream::iter([chunk(&vec![0; CHUNK_BYTES_MAX])]))
        .await;
    refused(submitted, Code::InvalidArgument, "HEADER_MISSING", "");
    let first = v1::SubmitBatchHeader {
        request_id: "bomb".into(),
        batch_number: 0,
        total_bytes: 3,
        sha256: vec![0; 32].into(),
        ..Default::default()
    };
    let messages = tokio_stream::iter([header(first), chunk(&vec![0; CHUNK_BYTES_MAX])]);
    let submitted = prover.submit_batch(messages).await;
    refused(
        submitted,
        Code::InvalidArgument,
        "TOTAL_MISMATCH",
        "header.total_bytes",
    );
    service.stop().await;
}

/// Sends one message as it is, with the flag of a compressed one, in a call that names an encoding; the code that it ends with.
async fn sent_as_it_is(address: SocketAddr, encoding: &str, message: &[u8]) -> Code {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (mut http, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://coordinator/zkrollup.prover.v1.ProverService/GetBatch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", encoding)
        .body(())
        .expect("a request");
    let (answer, mut body) = http.send_request(request, false).expect("it is open");
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    let frame = [&[1][..], &length, message].concat();
    body.send_data(Bytes::from(frame), true).expect("it is open");
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time");
    let status = Status::from_header_map(answer.expect("an answer").headers());
    connection.abort();
    status.expect("it is refused").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_gzip_is_the_callers_fault_and_other_encodings_are_not_there() {
    let store = store();
    let coordinator = start(config(store.path())).await.expect("it starts");
    let address = coordinator.address();
    let service = Service::of(coordinator).await;
    let whole = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    // An empty message, compressed: an id that is none.
    let code = sent_as_it_is(address, "gzip", &whole).await;
    assert_eq!(code, Code::NotFound);
    let mut wrong = whole;
    wrong[12] ^= 1;
    for message in [&b"no gzip"[..], &whole[..5], &whole[..15], &wrong, &[]] {
        let code = sent_as_it_is(address, "gzip", message).await;
        assert_eq!(code, Code::InvalidArgument, "{message:?}");
    }
    for encoding in ["deflate", "zstd", "snappy", ""] {
        let code = sent_as_it_is(address, encoding, &whole).await;
        assert_eq!(code, Code::Unimplemented, "{encoding}");
    }
    // As gRPC has it: a message that says to be compressed, in a call that says by nothing.
    let code = sent_as_it_is(address, "identity", &whole).await;
    assert_eq!(code, Code::Internal);
    service.stop().await;
}

/// A peer that opens a call and then says nothing more, not even in answer to HTTP/2's pings.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_answers_no_ping_is_closed_and_one_that_does_stays() {
    let store = store();
    let mut config = config(store.path());
    config.quotas.keepalive_ms = 1_000;
    let coordinator = start(config).await.expect("it starts");
    let address = coordinator.address();
    let service = Service::of(coordinator).await;
    let batch = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 1)).await);
    let watch = v1::WatchBatchRequest {
        batch_id: batch.batch_id,
        after_revision: 0,
    };
    let mut honest = service
        .client()
        .watch_batch(watch)
        .await
        .expect("it opens")
        .into_inner();
    honest.message().await.expect("open").expect("one");

    let mut mute = TcpStream::connect(address).await.expect("it listens");
    // Nothing but the preface and empty settings.
    let beginning = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    mute.write_all(&beginning).await.expect("it is open");
    let started = std::time::Instant::now();
    let mut came = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, mute.read_to_end(&mut came)).await;
    // A connection that is reset is closed too.
    let _ = closed.expect("it is closed in time");
    assert!(started.elapsed() >= Duration::from_secs(1), "it was asked first");
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
    assert!(came.windows(ping.len()).any(|frame| frame == ping), "{came:?}");

    let still = tokio::time::timeout(Duration::from_millis(10), honest.message()).await;
    assert!(still.is_err(), "the other connection is as it was: {still:?}");
    drop(honest);
    service.stop().await;
}
