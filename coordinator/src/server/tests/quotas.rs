//! What one connection, one address and one tenant may take, and that the others are served meanwhile.

use proto::connection::Credentials;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{secure::*, *};
use crate::config::Quotas;

type Client = ProverServiceClient<proto::connection::Channel>;

/// A service with limits of its own, one tenant that goes to them, and another.
struct Scene {
    papers: Papers,
    _store: TempDir,
    service: Secure,
    /// The first batch of the chain, which the greedy tenant has submitted.
    batch_id: String,
}

impl Scene {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let (papers, store) = (Papers::new(), store());
        let mut config = papers.config(store.path());
        change(&mut config);
        let service = Secure::start(config).await;
        let greedy = service.prover(papers.certificate("seq-a")).await;
        let batch = submit(&greedy, "first", &batch_of(&mut sample(), TIME, 1)).await;
        Self {
            batch_id: batch.expect("accepted").batch_id,
            papers,
            _store: store,
            service,
        }
    }

    async fn client(&self, name: &str) -> Client {
        self.service.prover(self.papers.certificate(name)).await
    }

    async fn watch(&self, client: &Client) -> Result<Streaming<v1::WatchBatchResponse>, Status> {
        let request = v1::WatchBatchRequest {
            batch_id: self.batch_id.clone(),
            after_revision: 0,
        };
        Ok(client.clone().watch_batch(request).await?.into_inner())
    }
}

/// Expects a refusal because of a limit, which says when to try again; returns the limit.
#[track_caller]
fn limited(status: &Status) -> String {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::ResourceExhausted, "LIMIT_REACHED")
    );
    let details = status.get_error_details();
    assert!(
        details
            .retry_info()
            .is_some_and(|info| info.retry_delay.is_some())
    );
    details.quota_failure().expect("the limit").violations[0]
        .subject
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_watches_as_much_as_it_may_keeps_nobody_from_watching() {
    let scene = Scene::new(|config| {
        config.watches_max = 6;
        config.quotas.caller_watches_max = 4;
        config.quotas.connection_watches_max = 3;
    })
    .await;
    let (first, second) = (scene.client("seq-a").await, scene.client("seq-a2").await);
    let mut open = Vec::new();
    for client in [&first, &first, &first, &second] {
        open.push(scene.watch(client).await.expect("below the limit"));
    }
    let status = scene.watch(&second).await.expect_err("the tenant has its share");
    assert_eq!(limited(&status), "caller_watches_max");
    let other = scene.client("reader").await;
    open.push(scene.watch(&other).await.expect("another tenant is served"));
    drop(open.remove(0));
    // The end of a stream is noticed when the connection hears of it.
    eventually("the place is free again", async || {
        scene.watch(&second).await.is_ok()
    })
    .await;
    drop(open);
    let mut open = Vec::new();
    let refused = loop {
        match scene.watch(&other).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
        assert!(open.len() <= 3);
    };
    assert_eq!(limited(&refused), "connection_watches_max");
    drop(open);
    scene.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_that_stop_after_the_header_block_their_tenant_alone() {
    let scene = Scene::new(|config| {
        config.submissions_max = 8;
        config.quotas.caller_submissions_max = 4;
        // They hold their places until the test ends.
        config.submission_idle_ms_max = 120_000;
        config.submission_ms_max = 120_000;
    })
    .await;
    let greedy = scene.client("seq-a").await;
    let header = submission("standing", &batch_of(&mut sample(), TIME, 1))[0].clone();
    let mut standing = Vec::new();
    for _ in 0..4 {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(header.clone()).await.expect("open");
        let mut client = greedy.clone();
        let call = tokio::spawn(async move { client.submit_batch(ReceiverStream::new(receiver)).await });
        standing.push((sender, call));
    }
    let mut sample = sample();
    batch_of(&mut sample, TIME, 1);
    let next = batch_of(&mut sample, TIME, 1);
    eventually("the places are taken", async || {
        let status = submit(&greedy, "more", &batch_of_another_chain(&next))
            .await
            .expect_err("it cannot be");
        reason(&status) == "LIMIT_REACHED" && limited(&status) == "caller_submissions_max"
    })
    .await;
    let other = scene.client("seq-b").await;
    submit(&other, "honest", &next)
        .await
        .expect("another tenant is served");
    for (_, call) in standing {
        call.abort();
    }
    scene.service.stop().await;
}

/// A batch that is refused without a change.
fn batch_of_another_chain(batch: &Batch) -> Batch {
    Batch {
        number: 77,
        ..batch.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_under_way_are_each_tenants_own() {
    let scene = Scene::new(|config| {
        config.batch_bytes_max = 4 << 10;
        config.submissions_bytes_max = 16 << 10;
        config.quotas.caller_submissions_bytes_max = 8 << 10;
        config.submission_idle_ms_max = 120_000;
        config.submission_ms_max = 120_000;
    })
    .await;
    let greedy = scene.client("seq-a").await;
    let mut standing = Vec::new();
    for _ in 0..2 {
        let (sender, receiver) = mpsc::channel(2);
        let announced = v1::SubmitBatchHeader {
            request_id: "standing".into(),
            batch_number: 1,
            total_bytes: 4 << 10,
            sha256: vec![0; 32].into(),
            ..Default::default()
        };
        sender.send(header(announced)).await.expect("open");
        sender.send(chunk(&[0; 4 << 10])).await.expect("open");
        let mut client = greedy.clone();
        let call = tokio::spawn(async move { client.submit_batch(ReceiverStream::new(receiver)).await });
        standing.push((sender, call));
    }
    let mut sample = sample();
    batch_of(&mut sample, TIME, 1);
    let next = batch_of(&mut sample, TIME, 1);
    eventually("the bytes are taken", async || {
        let status = submit(&greedy, "more", &batch_of_another_chain(&next))
            .await
            .expect_err("it cannot be");
        reason(&status) == "LIMIT_REACHED" && limited(&status) == "caller_submissions_bytes_max"
    })
    .await;
    let other = scene.client("seq-b").await;
    submit(&other, "honest", &next)
        .await
        .expect("another tenant is served");
    for (_, call) in standing {
        call.abort();
    }
    scene.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_batches_are_each_tenants_own() {
    let scene = Scene::new(|config| config.limits.tenant_batches_open_max = 1).await;
    let mut client = scene.client("seq-b").await;
    let info = client.get_info(v1::GetInfoRequest::default()).await;
    let info = info.expect("it serves").into_inner();
    assert_eq!((info.tenant_batches_open_max, info.batches_open_max), (1, 64));
    let mut sample = sample();
    batch_of(&mut sample, TIME, 1);
    let next = batch_of(&mut sample, TIME, 1);
    let status = submit(&scene.client("seq-a2").await, "more", &next).await;
    assert_eq!(
        limited(&status.expect_err("its tenant has one")),
        "tenant_batches_open_max"
    );
    let other = scene.client("seq-b").await;
    submit(&other, "honest", &next)
        .await
        .expect("another tenant is served");
    scene.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_each_tenants_own() {
    let scene = Scene::new(|config| config.quotas.caller_sessions_max = 2).await;
    let greedy = || scene.papers.certificate("worker-1");
    let first = join(&scene.service, greedy(), "a").await;
    let _second = join(&scene.service, greedy(), "b").await;
    let refused = session(&scene.service, greedy(), "c").await.map(drop);
    assert_eq!(limited(&refused.expect_err("it has two")), "caller_sessions_max");
    join(&scene.service, scene.papers.certificate("worker-2"), "a").await;
    drop(first);
    eventually("the place is free again", async || {
        session(&scene.service, greedy(), "c").await.is_ok()
    })
    .await;
    scene.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_calls_without_end_is_slowed_down_alone() {
    let scene = Scene::new(|config| {
        config.quotas.caller_calls_per_s = 1;
        config.quotas.caller_calls_burst = 20;
    })
    .await;
    let (greedy, other) = (scene.client("reader").await, scene.client("reader-2").await);
    let mut answered = 0;
    let refused = loop {
        match info(&greedy).await {
            Ok(()) => answered += 1,
            Err(status) => break status,
        }
        assert!(answered < 1_000, "no limit");
    };
    assert!(answered >= 20, "{answered}");
    assert_eq!(limited(&refused), "caller_calls_per_s");
    info(&other).await.expect("another identity is served");
    scene.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_tokens_are_slowed_down_too() {
    let scene = Scene::new(|config| {
        config.quotas.caller_calls_per_s = 1;
        config.quotas.caller_calls_burst = 5;
    })
    .await;
    scene.papers.write("guess.token", "guess");
    let guesser = scene.service.prover(scene.papers.token("guess")).await;
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(info(&guesser).await.expect_err("it is nobody").code());
    }
    assert!(
        codes.contains(&Code::Unauthenticated) && codes.contains(&Code::ResourceExhausted),
        "{codes:?}"
    );
    info(&scene.client("reader").await)
        .await
        .expect("an identity is served");
    scene.service.stop().await;
}

/// Reads until the other side closes, and says how many bytes came.
async fn closed(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset closes as well.
    let _ = read.expect("it is closed in time");
    bytes.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_or_half_a_beginning_are_closed() {
    let store = store();
    for tls in [false, true] {
        let papers = Papers::new();
        let mut config = Config {
            quotas: Quotas {
                handshake_ms_max: 200,
                ..Quotas::default()
            },
            ..papers.config(store.path())
        };
        if !tls {
            (config.tls, config.access) = (None, None);
        }
        let service = Secure::start(config).await;
        for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01"] {
            let mut stream = TcpStream::connect(service.address).await.expect("it listens");
            stream.write_all(beginning).await.expect("open");
            closed(&mut stream).await;
        }
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_those_with_a_stream_are_not() {
    let store = store();
    let config = Config {
        quotas: Quotas {
            idle_ms_max: 300,
            ..Quotas::default()
        },
        ..config(store.path())
    };
    let service = Secure::start(config).await;
    let worker_connection = join(&service, Credentials::default(), "w").await;
    let mut worker = worker_connection;
    // The preface, and empty settings: a client of HTTP/2 that asks for nothing.
    let mut idle = TcpStream::connect(service.address).await.expect("it listens");
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        .await
        .expect("open");
    assert!(closed(&mut idle).await > 0, "it was spoken to before");
    // The worker has been as silent for as long.
    worker.request().await;
    let client = service.prover(Credentials::default()).await;
    submit(&client, "a", &batch_of(&mut sample(), TIME, 1))
        .await
        .expect("accepted");
    worker.task().await;
    drop((client, worker));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_stops_waits_for_no_connection_without_a_call() {
    let store = store();
    let never = 3_600_000;
    let config = Config {
        quotas: Quotas {
            handshake_ms_max: never,
            idle_ms_max: never,
            keepalive_ms: never,
            ..Quotas::default()
        },
        shutdown_ms_max: never,
        ..config(store.path())
    };
    let service = Secure::start(config).await;
    let mut silent = Vec::new();
    for beginning in [
        &b""[..],
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    ] {
        let mut stream = TcpStream::connect(service.address).await.expect("it listens");
        stream.write_all(beginning).await.expect("open");
        silent.push(stream);
    }
    // It has taken them by then.
    let client = service.prover(Credentials::default()).await;
    submit(&client, "a", &batch_of(&mut sample(), TIME, 1))
        .await
        .expect("accepted");
    drop(client);
    service.stop().await;
    for stream in &mut silent {
        closed(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_and_all_together_have_as_many_connections_as_they_may() {
    let store = store();
    for (quotas, limit) in [
        (
            Quotas {
                address_connections_max: 3,
                ..Quotas::default()
            },
            3,
        ),
        (
            Quotas {
                connections_max: 2,
                ..Quotas::default()
            },
            2,
        ),
    ] {
        let config = Config {
            quotas,
            ..config(store.path())
        };
        let service = Secure::start(config).await;
        let mut held = Vec::new();
        for _ in 0..limit {
            let client = service.prover(Credentials::default()).await;
            info(&client).await.expect("below the limit");
            held.push(client);
        }
        let mut more = TcpStream::connect(service.address).await.expect("it listens");
        assert_eq!(closed(&mut more).await, 0, "turned away");
        info(&held[0]).await.expect("those before are served");
        held.pop();
        eventually("the place is free again", async || {
            match service.connector(Credentials::default()).connect().await {
                Ok(channel) => info(&ProverServiceClient::new(channel)).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        drop(held);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_ended_and_one_too_large_refused() {
    let store = store();
    let config = Config {
        quotas: Quotas {
            request_ms_max: 200,
            ..Quotas::default()
        },
        ..config(store.path())
    };
    let service = Secure::start(config).await;
    let channel = service.connect(Credentials::default()).await;
    // A request of one small message that never comes.
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    let (_sender, never) = mpsc::channel::<v1::GetBatchRequest>(1);
    let codec = tonic_prost::ProstCodec::<v1::GetBatchRequest, v1::GetBatchResponse>::default();
    let path = "/zkrollup.prover.v1.ProverService/GetBatch"
        .parse()
        .expect("a path");
    let call = client.streaming(tonic::Request::new(ReceiverStream::new(never)), path, codec);
    let ended = tokio::time::timeout(PATIENCE, call)
        .await
        .expect("it is ended in time");
    let status = ended.map(drop).expect_err("it never ended");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "REQUEST_UNFINISHED")
    );
    let mut client = ProverServiceClient::new(channel);
    let request = v1::GetBatchRequest {
        batch_id: "b".repeat(100 << 10),
    };
    let status = client.get_batch(request).await.expect_err("too large");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    // A message beyond what any stream takes.
    let large = vec![chunk(&vec![0; CHUNK_BYTES_MAX + (1 << 20)])];
    let status = client
        .submit_batch(tokio_stream::iter(large))
        .await
        .expect_err("too large");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "MESSAGE_TOO_LARGE")
    );
    service.stop().await;
}

/// A connection whose peer lets almost nothing be sent to it.
async fn tight(service: &Secure) -> Channel {
    let channel = Channel::from_shared(format!("http://{}", service.address)).expect("a URL");
    let channel = channel.initial_stream_window_size(16);
    channel.connect().await.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_streams_that_nobody_takes_are_ended() {
    let store = store();
    let config = Config {
        quotas: Quotas {
            answer_ms_max: 200,
            stream_write_ms_max: 200,
            // So that the time is looked at as often.
            idle_ms_max: 800,
            caller_calls_max: 1,
            caller_watches_max: 1,
            ..Quotas::default()
        },
        ..config(store.path())
    };
    let service = Secure::start(config).await;
    let honest = service.prover(Credentials::default()).await;
    let mut sample = sample();
    let batch = submit(&honest, "a", &batch_of(&mut sample, TIME, 1))
        .await
        .expect("accepted");
    // A list of them is more than waits for a peer after its call.
    for number in 1..20 {
        let next = batch_of(&mut sample, TIME, 1);
        let submitted = submit(&honest, &format!("a{number}"), &next).await;
        submitted.expect("accepted");
    }

    let mut client = tonic::client::Grpc::new(tight(&service).await);
    client.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<(), v1::ListBatchesResponse>::default();
    let path = "/zkrollup.prover.v1.ProverService/ListBatches"
        .parse()
        .expect("a path");
    let answer = client
        .server_streaming(tonic::Request::new(()), path, codec)
        .await;
    let mut answer = answer.expect("it begins").into_inner();
    eventually("the place of an answer that is not taken is free", async || {
        info(&honest).await.is_ok()
    })
    .await;
    let ended = answer.message().await;
    assert!(
        ended.is_err(),
        "it waited to be taken, and its connection was closed: {ended:?}"
    );

    let watch = v1::WatchBatchRequest {
        batch_id: batch.batch_id,
        after_revision: 0,
    };
    let stream = ProverServiceClient::new(tight(&service).await)
        .watch_batch(watch.clone())
        .await;
    let stream = stream.expect("below the limit");
    let mut worker = join(&service, Credentials::default(), "w").await;
    let leased = worker.lease().await;
    // Enough changes that they cannot all wait.
    let progress = |step: u32| {
        FromWorker::Progress(v1::Progress {
            task_id: leased.task.task_id.clone(),
            fence: leased.task.fence,
            phase: format!("step {step}"),
            fraction: 0.5,
        })
    };
    eventually("the place of a watch that is not read is free", async || {
        for step in 0..4 {
            worker.send(progress(step)).await;
        }
        honest.clone().watch_batch(watch.clone()).await.is_ok()
    })
    .await;
    drop(stream);
    service.stop().await;
}

/// One client on loopback, where nobody proves who calls, does not shut out those that come with other calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watches_of_one_client_leave_room_for_another() {
    let store = store();
    let service = Secure::start(config(store.path())).await;
    let greedy = service.prover(Credentials::default()).await;
    let batch = submit(&greedy, "a", &batch_of(&mut sample(), TIME, 1))
        .await
        .expect("accepted");
    let watch = async |client: &Client| {
        let request = v1::WatchBatchRequest {
            batch_id: batch.batch_id.clone(),
            after_revision: 0,
        };
        client.clone().watch_batch(request).await
    };
    let mut open = Vec::new();
    let refused = loop {
        match watch(&greedy).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
        assert!(open.len() < 1_000, "no limit");
    };
    limited(&refused);
    let other = service.prover(Credentials::default()).await;
    watch(&other).await.expect("another client is served");
    info(&other).await.expect("served");
    drop(open);
    service.stop().await;
}
