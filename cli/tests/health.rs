//! A worker's health, as what starts it sees it.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::tls::Papers;
use support::{Running, Service, expect_success, program, run, start, wait_for};
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

/// How `health` ends, and what it says on either output.
fn asked(arguments: &[&str]) -> (i32, String) {
    let output = program().arg("health").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
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
    assert_eq!(asked(&["--coordinator", &format!("http://{address}")]).0, 6);
    drop(alone);

    let service = Service::start(directory.path());
    let address = free_address();
    let mut taken = worker(directory.path(), &service.url, &address);
    wait_for("the worker to be ready", START_MAX, || {
        health(&address).filter(|status| *status == ServingStatus::Serving)
    });
    let told = asked(&["--coordinator", &format!("http://{address}")]);
    assert_eq!(told, (0, "SERVING\n".into()));
    run(
        Command::new("kill").args(["-TERM", &taken.0.id().to_string()]),
        "",
    );
    expect_success(&mut taken, &directory.path().join("worker.log"), START_MAX);
    assert_eq!(health(&address), None);
}

#[test]
fn a_probe_asks_a_coordinator_with_tls_and_shows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let papers = Papers::new(directory.path());
    let mut service = Service::start_with_tls(directory.path(), &papers);
    let ca = papers.path("ca.pem");
    let at = ["--coordinator", &service.url, "--tls-ca", &ca];
    wait_for("the coordinator", START_MAX, || (asked(&at).0 == 0).then_some(()));
    let prover = ["--service", "zkrollup.prover.v1.ProverService", "--json"];
    let told = asked(&[&at[..], &prover].concat());
    assert_eq!(told, (0, "{\"status\":\"serving\"}\n".into()));
    let (code, said) = asked(&[&at[..], &["--service", "none"]].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("has no service \"none\""), "{said}");
    // An authority that is not trusted, plain text, and nobody there.
    let plain = service.url.replace("https", "http");
    for (wrong, exit) in [
        (&["--coordinator", &service.url][..], 1),
        (&["--coordinator", &plain], 1),
    ] {
        let (code, said) = asked(wrong);
        assert_eq!(code, exit, "{said}");
    }
    service.coordinator.0.kill().unwrap();
    service.coordinator.0.wait().unwrap();
    let (code, said) = asked(&at);
    assert_eq!(code, 6, "{said}");
}

#[test]
fn a_coordinator_that_says_nothing_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    // Connections are taken up by the system, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = format!("http://{},{}", silent.local_addr().unwrap(), service.url);
    run(program().args(["info", "--coordinator", &urls]), "");
}
