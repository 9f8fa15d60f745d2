//! A worker's health, as what starts it sees it.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Running, Service, expect_success, run, start, wait_for};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Keys are read and a device is checked within this time.
const START_MAX: Duration = Duration::from_secs(120);

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What a worker answers; none while nothing is served.
fn health(address: &str) -> Option<ServingStatus> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.ok()?);
        let request = HealthCheckRequest {
            service: String::new(),
        };
        Some(client.check(request).await.ok()?.into_inner().status())
    })
}

fn worker(directory: &Path, coordinator: &str, health: &str) -> Running {
    let arguments = [
        "worker",
        "--coordinator",
        coordinator,
        "--name",
        "one",
        "--device",
        "cpu",
    ];
    start(
        directory,
        "worker.log",
        &[&arguments[..], &["--health-listen", health]].concat(),
    )
}

#[test]
fn a_worker_is_healthy_once_a_coordinator_has_taken_it_in() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let alone = worker(directory.path(), "http://127.0.0.1:1", &address);
    let status = wait_for("health", START_MAX, || health(&address));
    assert_eq!(status, ServingStatus::NotServing);
    wait_for("the device", START_MAX, || {
        support::log_tail(&directory.path().join("worker.log"))
            .contains("no session")
            .then_some(())
    });
    assert_eq!(
        health(&address),
        Some(ServingStatus::NotServing),
        "nobody gives it work"
    );
    drop(alone);

    let service = Service::start(directory.path());
    let address = free_address();
    let mut taken = worker(directory.path(), &service.url, &address);
    wait_for("the worker to be ready", START_MAX, || {
        health(&address).filter(|status| *status == ServingStatus::Serving)
    });
    run(
        Command::new("kill").args(["-TERM", &taken.0.id().to_string()]),
        "",
    );
    expect_success(&mut taken, &directory.path().join("worker.log"), START_MAX);
    assert_eq!(health(&address), None);
}
