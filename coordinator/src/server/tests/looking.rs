//! What those see who look from outside: metrics and the status page.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// Both listeners of a coordinator that serves.
pub(super) struct Looked {
    pub service: Service,
    pub metrics: SocketAddr,
    pub status: SocketAddr,
}

pub(super) async fn looked_at(mut config: Config) -> Looked {
    let free = Some("127.0.0.1:0".parse().unwrap());
    (config.metrics_listen, config.status_listen) = (free, free);
    let coordinator = start(config).await.expect("it starts");
    let metrics = coordinator.metrics_address().expect("it was asked for");
    let status = coordinator.status_address().expect("it was asked for");
    Looked {
        service: Service::of(coordinator).await,
        metrics,
        status,
    }
}

/// The answer's head and body.
pub(super) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// What is answered once it is as expected.
pub(super) async fn seen(address: SocketAddr, path: &str, is_so: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let looking = async {
        loop {
            let (_, body) = get(address, path).await;
            if is_so(&body) {
                return body;
            }
            last = body;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    looked.unwrap_or_else(|_| panic!("{path} did not become so, but is {last}"))
}

fn json(body: &str) -> Option<Value> {
    serde_json::from_str(body).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_batch_from_its_first_attempt_to_its_proof() {
    let store = store();
    let Looked {
        service,
        metrics,
        status,
    } = looked_at(config(store.path())).await;
    let empty = seen(status, "/api/state", |body| json(body).is_some()).await;
    let empty = json(&empty).unwrap();
    for list in ["batches", "workers", "failures"] {
        assert_eq!(empty[list].as_array().map(Vec::len), Some(0), "{list}");
    }
    assert_eq!(empty["service"]["preset"], "test");

    let batch = accepted(service.submit("a", &batch_of(&mut sample(), TIME, 3)).await).batch_id;
    // What a worker says of itself is somebody else's words.
    let hostile = "<script>alert(1)</script>\"'&";
    let mut first = hello(hostile);
    first.devices[0].name = "<img src=x onerror=alert(2)>".into();
    let mut worker = Worker::open(&service, FromWorker::Hello(first)).await;
    assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
    let shard = worker.lease().await;
    let task_id = shard.task.task_id.clone();
    worker
        .send(FromWorker::Progress(v1::Progress {
            task_id: task_id.clone(),
            fence: 1,
            phase: "witness".into(),
            fraction: 0.25,
        }))
        .await;
    worker
        .send(FromWorker::Fail(v1::Fail {
            task_id: task_id.clone(),
            fence: 1,
            class: v1::FailureClass::Resource.into(),
            message: "</script><b>memory".into(),
        }))
        .await;
    // Two shards, the second of padding, and the aggregation.
    for _ in 0..3 {
        let leased = worker.lease().await;
        assert_eq!(worker.complete(leased.prove()).await, v1::Verdict::Accepted);
    }

    let proven = |body: &str| json(body).is_some_and(|state| state["batches"][0]["status"] == "proven");
    let state = json(&seen(status, "/api/state", proven).await).unwrap();
    assert_eq!(state["operations_proven"], 3);
    assert_eq!(state["workers"][0]["worker"], hostile);
    assert_eq!(state["workers"][0]["devices"], "<img src=x onerror=alert(2)>");
    assert_eq!(state["failures"][0]["why"], "</script><b>memory");
    assert_eq!(state["failures"][0]["worker"], hostile);
    let (head, body) = get(status, &format!("/api/batch?id={batch}")).await;
    assert!(head.contains("content-type: application/json"), "{head}");
    let found = json(&body).unwrap();
    let attempts = found["attempts"].as_array().unwrap();
    let ends: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(ends, ["resource", "proven", "proven", "proven"]);
    assert_eq!(attempts[0]["phases"][0]["phase"], "witness");
    assert_eq!(attempts[0]["task"], task_id);
    assert!(found["batch"]["device_ms"].is_u64(), "what it cost");
    let gas = found["batch"]["billing"]["l1_gas"].as_u64().unwrap();

    let page = seen(metrics, "/metrics", |page| {
        page.contains("rollup_prover_batches_finished_total{status=\"proven\"} 1.0")
    })
    .await;
    assert!(page.contains("rollup_prover_attempts_total{circuit=\"shard\",outcome=\"resource\"} 1.0"));
    let gas = format!("\nrollup_prover_l1_gas_estimated_total {gas}.0\n");
    assert!(page.contains(&gas), "{gas} of {page}");
    for others in [hostile, &batch, &task_id, "<b>", "<script"] {
        assert!(!page.contains(others), "{others} is no label");
    }
    service.stop().await;
    assert!(
        TcpStream::connect(status).await.is_err(),
        "it ends with the coordinator"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_runs_nothing_of_anybody_elses() {
    let store = store();
    let Looked {
        service,
        metrics,
        status,
    } = looked_at(config(store.path())).await;
    let (head, page) = get(status, "/").await;
    assert!(head.contains("content-type: text/html"), "{head}");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(!head.contains("unsafe-"), "{head}");
    let (_, script) = get(status, "/status.js").await;
    let (_, style) = get(status, "/status.css").await;
    for (what, text) in [("page", &page), ("script", &script), ("style", &style)] {
        // The namespace of SVG is a name, and is not fetched.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "//cdn", "@import", "url("] {
            assert!(!text.contains(outside), "the {what} has {outside}");
        }
    }
    for way in [
        "innerHTML =",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ] {
        assert!(!script.contains(way), "others' words are text: {way}");
    }
    assert!(
        !page.contains(" onclick") && !page.contains(" style="),
        "nothing inline"
    );
    for (address, path, code) in [
        (status, "/metrics", "404"),
        (status, "/api/batch?id=b1", "404"),
        (status, "/api/batch?id=%3Cscript%3E", "400"),
        (status, "/api/batch", "400"),
        (status, "/../../etc/passwd", "404"),
        (metrics, "/", "404"),
        (metrics, "/api/state", "404"),
    ] {
        let (head, body) = get(address, path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{path}: {head}");
        assert!(head.contains("content-type: text/plain"), "{path}: {head}");
        assert!(!body.contains("<script>"), "{body}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_looks_unless_it_is_asked_for_and_an_address_in_use_is_said() {
    let store = store();
    let coordinator = start(config(store.path())).await.expect("it starts");
    assert_eq!(
        (coordinator.metrics_address(), coordinator.status_address()),
        (None, None)
    );
    drop(coordinator);
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(store.path());
    config.status_listen = Some(taken.local_addr().unwrap());
    let error = start(config).await.err().expect("it is taken").to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
}
