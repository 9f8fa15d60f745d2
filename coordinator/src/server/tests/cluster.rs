//! Coordinators that share a database: one leads, the others stand by.

use pgserver::PgServer;

use serde_json::Value;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    browser::Browser,
    looking::{Looked, get, looked_at, seen},
    operator::prove_all,
    *,
};

/// A free address of this machine, which a coordinator keeps over restarts.
fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// The configuration of one of several coordinators.
fn one_of(url: &str, artifacts: &Path) -> Config {
    let mut config = config(artifacts);
    config.listen = free_address();
    config.postgres = Some(Postgres {
        url: url.into(),
        holder: format!("coordinator at {}", config.listen),
        advertised: format!("http://{}", config.listen),
        lease_ms: 1_000,
    });
    config
}

/// Ends a lease again and again, for longer than a coordinator takes to look.
async fn expire(server: &PgServer) {
    for _ in 0..30 {
        server.sql(
            "test0",
            "UPDATE zkrollup_prover.leadership SET until = '-infinity'",
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a coordinator leads.
async fn leads(service: &Service) {
    let began = std::time::Instant::now();
    loop {
        let retry = v1::RetryBatchRequest {
            batch_id: "b999".into(),
        };
        let status = service
            .client()
            .retry_batch(retry)
            .await
            .expect_err("there is none");
        match status.code() {
            Code::NotFound => return,
            _ => assert!(began.elapsed() < PATIENCE, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn numbers(service: &Service) -> Vec<(u64, v1::BatchStatus)> {
    let listed = service
        .client()
        .list_batches(v1::ListBatchesRequest::default())
        .await;
    let listed = listed.expect("it is read").into_inner().batches;
    listed
        .iter()
        .map(|batch| (batch.batch_number, batch.status()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_leads_and_another_goes_on_where_it_ends() {
    let server = PgServer::start();
    let (url, artifacts) = (server.database(), store());
    let configs = [one_of(&url, artifacts.path()), one_of(&url, artifacts.path())];
    let mut sample = sample();
    let mut batches = founded(&mut sample);
    batches.push(batch_of(&mut sample, TIME, 3));
    let first = Service::with(configs[0].clone()).await;
    let second = Service::with(configs[1].clone()).await;
    let id = accepted(first.submit("a", &batches[0]).await).batch_id;
    prove_all(&first).await;
    accepted(first.submit("b", &batches[1]).await);

    // What is read is answered by both, what is the leader's is sent there.
    let began = std::time::Instant::now();
    let seen = [(1, v1::BatchStatus::Queued), (0, v1::BatchStatus::Proven)];
    while numbers(&second).await != seen {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(second.batch(&id).await, first.batch(&id).await);
    let proof = |service: &Service| {
        let (mut client, batch_id) = (service.client(), id.clone());
        async move {
            client
                .get_proof(v1::GetProofRequest { batch_id })
                .await
                .expect("it is proven")
                .into_inner()
        }
    };
    assert_eq!(proof(&second).await, proof(&first).await);
    let told = refused(
        second.submit("c", &batches[2]).await,
        Code::Unavailable,
        "NOT_LEADER",
        "",
    );
    let details = told.get_error_details();
    let leader = &details.error_info().expect("set").metadata["leader"];
    assert_eq!(*leader, configs[0].postgres.as_ref().expect("set").advertised);
    assert!(details.retry_info().is_some());
    let mut workers = WorkerServiceClient::new(second.channel.clone());
    let session = workers.session(tokio_stream::empty()).await;
    refused(session.map(drop), Code::Unavailable, "NOT_LEADER", "");

    // A watch at the one that stands by sees what the leader does.
    let request = v1::WatchBatchRequest {
        batch_id: "b2".into(),
        after_revision: 0,
    };
    let mut watch = second
        .client()
        .watch_batch(request)
        .await
        .expect("it is there")
        .into_inner();
    let watched = tokio::spawn(async move {
        let mut last = None;
        while let Ok(Some(change)) = watch.message().await {
            last = change.batch.map(|batch| batch.status());
        }
        last
    });
    prove_all(&first).await;
    let last = tokio::time::timeout(PATIENCE, watched)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(last, Some(v1::BatchStatus::Proven));

    // One that ends in order is followed at once; what it took is there, and known by its request id.
    accepted(first.submit("c", &batches[2]).await);
    first.stop().await;
    leads(&second).await;
    let again = second.submit("c", &batches[2]).await.expect("it is known");
    assert!(again.already_existed);
    accepted(second.submit("d", &batches[3]).await);
    let third = Service::with(configs[0].clone()).await;
    prove_all(&second).await;
    refused(
        third.submit("e", &batches[3]).await,
        Code::Unavailable,
        "NOT_LEADER",
        "",
    );

    // One that is deposed, as by a pause, writes no more, and stands by again where it runs on.
    let began = std::time::Instant::now();
    while !second.served.is_finished() {
        assert!(began.elapsed() < PATIENCE);
        // Unless it has renewed it meanwhile, the other takes it at its next look.
        expire(&server).await;
    }
    leads(&third).await;
    let ended = tokio::time::timeout(PATIENCE, second.served)
        .await
        .expect("it ends in time");
    let error = ended.expect("no panic").expect_err("another leads");
    assert!(
        matches!(error, Error::Store(StoreError::Deposed { .. })),
        "{error}"
    );
    assert_eq!(numbers(&third).await.len(), 4);
    let state = third
        .client()
        .get_info(v1::GetInfoRequest::default())
        .await
        .expect("it serves")
        .into_inner();
    assert_eq!(state.head_root, field::to_be(&sample.state().root()).to_vec());
    third.stop().await;
}

/// Waits until health says that a coordinator serves, or does not.
async fn serves(service: &Service, is_serving: bool) {
    let wanted = match is_serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    let began = std::time::Instant::now();
    loop {
        let request = HealthCheckRequest {
            service: "zkrollup.prover.v1.ProverService".into(),
        };
        let checked = HealthClient::new(service.channel.clone()).check(request).await;
        if checked.is_ok_and(|answer| answer.into_inner().status() == wanted) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The metrics of a page.
fn metrics_of(page: &str) -> Vec<&str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_does_is_shown_by_the_leader_alone() {
    let mut server = PgServer::start();
    let (url, artifacts) = (server.database(), store());
    let configs = [one_of(&url, artifacts.path()), one_of(&url, artifacts.path())];
    let leader = configs[0].postgres.as_ref().expect("set").advertised.clone();
    let [first, second] = configs;
    let (first, second) = (looked_at(first).await, looked_at(second).await);
    accepted(first.service.submit("a", &batch_of(&mut sample(), TIME, 3)).await);
    let queued = "rollup_prover_batches{status=\"queued\"} 1.0\n";
    let shown = |looked: &Looked| {
        let address = looked.metrics;
        async move { seen(address, "/metrics", |page| page.contains(queued)).await }
    };
    let state = |looked: &Looked| {
        let address = looked.status;
        async move {
            let (_, body) = get(address, "/api/state").await;
            serde_json::from_str::<Value>(&body).expect("JSON")
        }
    };
    let info = async |looked: &Looked| {
        let asked = looked
            .service
            .client()
            .get_info(v1::GetInfoRequest::default())
            .await;
        asked.expect("it serves").into_inner()
    };

    let page = shown(&first).await;
    assert!(page.contains("\nrollup_prover_leads 1.0\n"), "{page}");
    let all: Vec<_> = crate::METRICS.iter().map(|metric| metric.full_name()).collect();
    assert_eq!(metrics_of(&page), all);
    assert_eq!(state(&first).await["leader"], Value::Null);
    assert_eq!(info(&first).await.leader, None);

    // It has the batch too, and would count it again.
    seen(second.status, "/api/state", |body| {
        body.contains("\"batches_open\":1")
    })
    .await;
    assert_eq!(state(&second).await["leader"], leader);
    assert_eq!(info(&second).await.leader, Some(leader.clone()));
    let mut browser = Browser::open(&format!("http://{}/", second.status)).await;
    let names_it =
        format!("document.getElementById('service').textContent.includes('stands by: {leader} leads')");
    browser.until(&names_it).await;
    // Its workers are elsewhere.
    assert_eq!(browser.texts("#trouble:not([hidden])").await, [""; 0]);
    drop(browser);
    let page = seen(second.metrics, "/metrics", |page| {
        page.contains("\nrollup_prover_leads 0.0\n")
    })
    .await;
    let own = [
        "rollup_prover_leads",
        "rollup_prover_store_suspended",
        "rollup_prover_own_seconds",
        "rollup_prover_artifact_seconds",
        "rollup_prover_artifact_failures_total",
        "rollup_prover_snapshot_age_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ];
    assert_eq!(metrics_of(&page), own);

    first.service.stop().await;
    let led = shown(&second).await;
    assert!(led.contains("\nrollup_prover_leads 1.0\n"), "{led}");
    assert_eq!(metrics_of(&led), all);
    assert_eq!(info(&second).await.leader, None);

    // With nothing to write it is not noticed that the database is away; but another could lead by now.
    serves(&second.service, true).await;
    server.kill();
    let page = seen(second.metrics, "/metrics", |page| {
        page.contains("\nrollup_prover_leads 0.0\n")
    });
    assert_eq!(metrics_of(&page.await), own);
    assert_eq!(state(&second).await["leader"], "");
    serves(&second.service, false).await;
    server.restart();
    let back = shown(&second).await;
    assert!(back.contains("\nrollup_prover_leads 1.0\n"), "{back}");
    serves(&second.service, true).await;
    second.service.stop().await;
}

/// How many batches there are; none where nobody answers.
async fn listed(service: &Service) -> Option<usize> {
    let listed = service
        .client()
        .list_batches(v1::ListBatchesRequest::default())
        .await;
    listed.ok().map(|listed| listed.into_inner().batches.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_deposed_stands_by_and_leads_again() {
    let server = PgServer::start();
    let (url, artifacts) = (server.database(), store());
    let configs = [one_of(&url, artifacts.path()), one_of(&url, artifacts.path())];
    let mut running = Vec::new();
    let mut services = Vec::new();
    for config in configs {
        let (stop, stopped) = oneshot::channel::<()>();
        let address = format!("http://{}", config.listen);
        let program = super::super::run_with(config, keyring(manifest()), async move { drop(stopped.await) });
        running.push((stop, tokio::spawn(program)));
        let channel = Channel::from_shared(address).expect("an address").connect_lazy();
        let served = tokio::spawn(async { Ok(()) });
        services.push(Service {
            // Another program's.
            shell: Weak::new(),
            channel,
            stop: None,
            served,
        });
        leads(&services[0]).await;
    }
    let mut sample = sample();
    let batches = founded(&mut sample);
    accepted(services[0].submit("a", &batches[0]).await);
    for (round, batch) in batches.iter().enumerate().skip(1) {
        // Whoever is faster leads then, and whoever led before stands by.
        expire(&server).await;
        let began = std::time::Instant::now();
        let mut asked = services.iter().cycle();
        while let Err(status) = asked
            .next()
            .expect("there are two")
            .submit(&format!("r{round}"), batch)
            .await
        {
            // A program that is deposed cuts its connections.
            let is_cut = status.code() == Code::Unknown && status.message() == "transport error";
            assert!(is_cut || status.code() == Code::Unavailable, "{status}");
            assert!(began.elapsed() < PATIENCE, "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for service in &services {
            while listed(service).await != Some(round + 1) {
                assert!(began.elapsed() < PATIENCE);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let terms = server.sql("test0", "SELECT term FROM zkrollup_prover.leadership");
    assert!(terms.parse::<u32>().expect("a number") > 1, "{terms}");
    for (stop, program) in running {
        stop.send(()).expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, program)
            .await
            .expect("it ends in time");
        ended.expect("no panic").expect("no error");
    }
}
