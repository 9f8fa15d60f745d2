//! Traces across processes: coordinator and worker tell a collector one trace of a batch, and a collector that is none holds up nothing.

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Service, log_tail, program, run, start, wait_for};

/// Keys are read, a device is checked, and a batch is proven within this time.
const WORK_MAX: Duration = Duration::from_secs(180);

/// A span, and who told it.
struct Told {
    service: String,
    span: Value,
}

impl Told {
    fn text(&self, field: &str) -> String {
        self.span[field].as_str().unwrap_or_default().to_owned()
    }

    fn attribute(&self, name: &str) -> String {
        let attributes = self.span["attributes"].as_array().expect("a list");
        let found = attributes.iter().find(|attribute| attribute["key"] == name);
        let found = found.unwrap_or_else(|| panic!("{name} of {}", self.span));
        found["value"]["stringValue"].as_str().expect("a text").to_owned()
    }
}

/// A collector: its address, and what it is told.
fn collector() -> (String, mpsc::Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            for span in spans(stream.unwrap()) {
                if sender.send(span).is_err() {
                    return;
                }
            }
        }
    });
    (address, told)
}

/// The spans of one request, which is answered.
fn spans(mut stream: TcpStream) -> Vec<Told> {
    let mut bytes = Vec::new();
    let body: Value = loop {
        let mut some = [0; 65_536];
        let read = stream.read(&mut some).unwrap();
        assert_ne!(read, 0, "a whole request");
        bytes.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            break body;
        }
    };
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(answer.as_bytes()).unwrap();
    let sent = &body["resourceSpans"][0];
    let names = sent["resource"]["attributes"].as_array().unwrap();
    let name = names.iter().find(|name| name["key"] == "service.name").unwrap();
    let service = name["value"]["stringValue"].as_str().unwrap();
    let spans = sent["scopeSpans"][0]["spans"].as_array().unwrap().iter();
    let told = |span: &Value| Told {
        service: service.to_owned(),
        span: span.clone(),
    };
    spans.map(told).collect()
}

#[test]
fn a_batch_is_one_trace_from_submission_to_proof_in_both_processes() {
    let directory = tempfile::tempdir().unwrap();
    let (address, told) = collector();
    let service = Service::start_with(
        directory.path(),
        &["--otlp-endpoint", &address].map(str::to_owned),
    );
    let arguments = [
        "worker",
        "--coordinator",
        &service.url,
        "--name",
        "one",
        "--device",
        "cpu",
    ];
    let traced = ["--otlp-endpoint", &address];
    let _worker = start(
        directory.path(),
        "worker.log",
        &[&arguments[..], &traced[..]].concat(),
    );
    let mut submit = program();
    submit.args(["submit", "--wait", "--batch", &service.batch]);
    run(submit.args(["--coordinator", &service.url]), "");

    // Two tasks, each an attempt, its proof and its verification; what is told comes in any order.
    let mut all: Vec<Told> = Vec::new();
    let is_whole = |all: &[Told]| {
        let count = |name: &str| all.iter().filter(|told| told.text("name") == name).count();
        count("batch") == 1 && count("attempt") == 2 && count("prove") == 2 && count("verify") == 2
    };
    let began = Instant::now();
    while !is_whole(&all) {
        let left = WORK_MAX.saturating_sub(began.elapsed());
        let span = told.recv_timeout(left);
        all.push(span.unwrap_or_else(|_| {
            let names: Vec<String> = all.iter().map(|told| told.text("name")).collect();
            panic!(
                "{names:?}\n{}",
                log_tail(&directory.path().join("coordinator.log"))
            )
        }));
    }
    while let Ok(span) = told.recv_timeout(Duration::from_secs(2)) {
        all.push(span);
    }
    let trace = all[0].text("traceId");
    assert_eq!(trace.len(), 32);
    assert!(all.iter().all(|told| told.text("traceId") == trace), "one trace");
    let by_id: BTreeMap<String, &Told> = all.iter().map(|told| (told.text("spanId"), told)).collect();
    assert_eq!(by_id.len(), all.len(), "no span twice");
    let parent = |told: &Told| {
        by_id
            .get(&told.text("parentSpanId"))
            .map(|parent| parent.text("name"))
    };
    let mut shape: Vec<(String, String, String)> = all
        .iter()
        .map(|told| {
            let above = parent(told).unwrap_or_default();
            (told.service.clone(), above, told.text("name"))
        })
        .collect();
    shape.sort();
    shape.dedup();
    let expected = [
        ("coordinator", "", "batch"),
        ("coordinator", "attempt", "verify"),
        ("coordinator", "batch", "aggregation"),
        ("coordinator", "batch", "attempt"),
        ("coordinator", "batch", "queued"),
        ("coordinator", "batch", "shards"),
        ("coordinator", "batch", "submit"),
        ("coordinator", "submit", "commit"),
        ("coordinator", "submit", "execute"),
        ("worker", "attempt", "prove"),
        ("worker", "prove", "phase"),
    ];
    let shape: Vec<_> = shape
        .iter()
        .map(|(service, above, name)| (service.as_str(), above.as_str(), name.as_str()))
        .collect();
    assert_eq!(shape, expected);
    for told in &all {
        let at = |field: &str| told.text(field).parse::<u64>().expect("nanoseconds");
        assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"), "{}", told.span);
        assert!(told.span["status"].is_null(), "nothing failed: {}", told.span);
    }
    let attempts: Vec<&Told> = all.iter().filter(|told| told.text("name") == "attempt").collect();
    for attempt in attempts {
        assert_eq!(attempt.attribute("outcome"), "proven");
        assert_eq!(attempt.attribute("worker"), "one");
        assert_eq!(attempt.attribute("attempt"), "1");
    }
    let phases = all.iter().filter(|told| told.text("name") == "phase");
    let phases: Vec<String> = phases.map(|told| told.attribute("phase")).collect();
    for phase in ["witness", "quotient", "opening"] {
        assert!(phases.iter().any(|told| told == phase), "{phase}: {phases:?}");
    }
}

#[test]
fn a_collector_that_is_away_or_silent_holds_up_neither_work_nor_the_end() {
    let directory = tempfile::tempdir().unwrap();
    // It takes connections, and nothing else.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let mut service = Service::start_with(
        directory.path(),
        &["--otlp-endpoint", &address].map(str::to_owned),
    );
    // Nobody is there.
    let arguments = [
        "worker",
        "--coordinator",
        &service.url,
        "--name",
        "one",
        "--device",
        "cpu",
    ];
    let away = ["--otlp-endpoint", "http://127.0.0.1:9"];
    let mut worker = start(
        directory.path(),
        "worker.log",
        &[&arguments[..], &away[..]].concat(),
    );
    let mut submit = program();
    submit.args(["submit", "--wait", "--batch", &service.batch]);
    run(submit.args(["--coordinator", &service.url]), "");
    wait_for("the worker to say so", WORK_MAX, || {
        let log = log_tail(&directory.path().join("worker.log"));
        (log.contains("spans are dropped") && log.contains("Connection refused")).then_some(())
    });
    for process in [&mut worker.0, &mut service.coordinator.0] {
        let pid = process.id().to_string();
        run(std::process::Command::new("kill").args(["-TERM", &pid]), "");
        let status = wait_for("the end", Duration::from_secs(30), || process.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_collector_that_cannot_be_one_is_refused_at_the_start() {
    for (url, told) in [
        ("127.0.0.1:4318", "http://HOST:PORT"),
        ("https://collector.example", "https is not spoken"),
        ("http://name:secret@collector", "no name and no password"),
    ] {
        for role in ["coordinator", "worker"] {
            let refuse = |command: &mut std::process::Command| {
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains(told), "{role} {url}: {said}");
                assert!(!said.contains("secret"), "{said}");
                (output.status.code(), said)
            };
            let (code, _) = refuse(program().args([role, "--otlp-endpoint", url]));
            assert_eq!(code, Some(2));
            let (code, said) = refuse(program().arg(role).env("ROLLUP_PROVER_OTLP_ENDPOINT", url));
            assert_eq!(code, Some(2));
            assert!(said.contains("ROLLUP_PROVER_OTLP_ENDPOINT"), "{said}");
        }
        let directory = tempfile::tempdir().unwrap();
        let mut worker = program();
        worker
            .args(["worker", "--coordinator", "http://127.0.0.1:9"])
            .args(support::KEYS);
        worker
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            .current_dir(&directory);
        let output = worker.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && said.contains(told),
            "{said}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}
