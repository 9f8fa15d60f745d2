//! What hostile workers do with sessions, tasks and proofs.

use proto::v1::{self, session_request::Message as FromWorker};
use rand::Rng;
use tokio::time::sleep;

use std::time::Duration;

use super::peer::Peer;
use crate::standin;

/// Sessions that never say hello, or nothing after it.
pub async fn silent_sessions(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for index in 0..200 {
            let call = match index % 2 {
                0 => peer.call(&http, "WorkerService/Session").await,
                _ => peer.session(&http, &format!("silent-{index}")).await,
            };
            held.extend(call);
        }
        sleep(Duration::from_millis(200)).await;
        held.truncate(1_000);
    }
}

/// Sessions that take tasks and do nothing with them.
pub async fn silent_leases(peer: Peer) {
    let mut held = Vec::new();
    let mut index = 0;
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for _ in 0..4 {
            index += 1;
            if let Some(call) = peer.session(&http, &format!("silent-lessee-{index}")).await
                && let Some(mut body) = call.body().await
            {
                let _ = body.lease().await;
                held.push(body);
            }
        }
        sleep(standin::LEASE).await;
        held.clear();
    }
}

/// Two thousand sessions of one name that all wait for a task.
pub async fn sessions_of_one_name(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for _ in 0..250 {
            let Some(mut call) = peer.session(&http, "worker-0").await else {
                break;
            };
            let request = v1::LeaseRequest {
                kinds: vec![v1::TaskKind::Aggregation.into()],
            };
            let _ = call.worker(FromWorker::LeaseRequest(request)).await;
            held.push(call);
        }
        sleep(Duration::from_millis(100)).await;
        held.truncate(2_000);
    }
}

/// A worker that hands in what it proved under other tasks' names and old fences, then fails its own task in every way.
pub async fn proofs_of_others(mut peer: Peer) {
    let mut index = 0;
    while peer.goes_on() {
        index += 1;
        let Some(http) = peer.http().await else { continue };
        let name = format!("mixing-{index}");
        let Some(call) = peer.session(&http, &name).await else {
            continue;
        };
        let Some(mut body) = call.body().await else {
            continue;
        };
        let Some(leased) = body.lease().await else {
            continue;
        };
        let right = leased.prove();
        for (batch, shard) in [(1, 0), (1, 1), (2, 0), (3, 0)] {
            let mixed = v1::Complete {
                task_id: format!("b{batch}-s{shard}"),
                fence: peer.rng.gen_range(0..3),
                ..right.clone()
            };
            let _ = body.worker(FromWorker::Complete(mixed)).await;
        }
        let class = peer.rng.gen_range(-1..8);
        let fail = v1::Fail {
            task_id: right.task_id,
            fence: right.fence,
            class,
            message: "x".repeat(900_000),
        };
        let _ = body.worker(FromWorker::Fail(fail)).await;
        while peer.goes_on() && body.message::<v1::SessionResponse>().await.is_some() {}
    }
}

/// A worker whose every proof is noise.
pub async fn proofs_of_garbage(mut peer: Peer) {
    let mut index = 0;
    while peer.goes_on() {
        index += 1;
        let Some(http) = peer.http().await else { continue };
        let name = format!("noisy-{}", index % 3);
        let Some(call) = peer.session(&http, &name).await else {
            continue;
        };
        let Some(mut body) = call.body().await else {
            continue;
        };
        while peer.goes_on()
            && let Some(leased) = body.lease().await
        {
            let count = peer.rng.gen_range(0..1 << 20);
            let noise = v1::Complete {
                proof: peer.bytes(count).into(),
                ..leased.prove()
            };
            if body.worker(FromWorker::Complete(noise)).await.is_none() {
                break;
            }
        }
    }
}

/// Names of tasks of many megabytes, which answers would repeat.
pub async fn names_that_are_long(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let Some(mut call) = peer.session(&http, "verbose").await else {
            continue;
        };
        let task_id = "t".repeat(peer.rng.gen_range(100..4_100_000));
        for _ in 0..100 {
            let complete = v1::Complete {
                task_id: task_id.clone(),
                ..Default::default()
            };
            if call.worker(FromWorker::Complete(complete)).await.is_none() {
                break;
            }
        }
    }
}

/// Renewals and progress of tasks that this worker does not have, as fast as they go.
pub async fn words_without_work(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let Some(mut call) = peer.session(&http, "busy").await else {
            continue;
        };
        while peer.goes_on() {
            let task_id = format!("b{}-s{}", peer.rng.gen_range(0..9), peer.rng.gen_range(0..3));
            let fence = peer.rng.gen_range(0..4);
            let message = match peer.rng.r#gen() {
                true => FromWorker::Renew(v1::Renew { task_id, fence }),
                false => FromWorker::Progress(v1::Progress {
                    task_id,
                    fence,
                    phase: "p".repeat(1_000),
                    fraction: f64::NAN,
                }),
            };
            if call.worker(message).await.is_none() {
                break;
            }
        }
    }
}

/// Sessions and lists whose answers are never read.
pub async fn answers_never_read(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        for index in 0..100 {
            let Some(mut call) = peer.session(&http, &format!("deaf-{index}")).await else {
                break;
            };
            for _ in 0..1_000 {
                let task_id = "x".repeat(128);
                let renew = v1::Renew {
                    task_id,
                    fence: peer.rng.r#gen(),
                };
                if call.worker(FromWorker::Renew(renew)).await.is_none() {
                    break;
                }
            }
            held.push(call);
            if !peer.goes_on() {
                break;
            }
        }
    }
}
