//! What hostile clients do to a connection, to HTTP/2, and to the calls of sequencers and readers.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::v1::{self, session_request::Message as FromWorker};
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    DESCRIPTORS,
    peer::{
        CONTINUATION, Duplex, HEADERS, PATIENCE, PING, PREFACE, Peer, SETTINGS, WINDOW_UPDATE,
        compressed_frame, frame, header_field, http_frame,
    },
};
use crate::{lessee::hello, standin};

pub const METHODS: [&str; 10] = [
    "ProverService/SubmitBatch",
    "ProverService/GetBatch",
    "ProverService/WatchBatch",
    "ProverService/ListBatches",
    "ProverService/CancelBatch",
    "ProverService/RetryBatch",
    "ProverService/GetProof",
    "ProverService/GetInfo",
    "WorkerService/Session",
    "NoService/NoMethod",
];

/// Bytes that are no HTTP/2: none at all, noise, another protocol's beginning, half a preface.
pub async fn garbage_bytes(mut peer: Peer) {
    while peer.goes_on() {
        // Before the handshake, or in the place of HTTP/2 after it.
        let stream: Option<Box<dyn Duplex>> = match peer.rng.r#gen() {
            true => peer.tcp().await.map(|stream| Box::new(stream) as _),
            false => peer.connect().await,
        };
        let Some(mut stream) = stream else { continue };
        let count = peer.rng.gen_range(1..4_000);
        let bytes = match peer.rng.gen_range(0..5) {
            0 => peer.bytes(count),
            1 => b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            2 => [&b"\x16\x03\x01\x02\x00\x01"[..], &peer.bytes(512)].concat(),
            3 => PREFACE[..10].to_vec(),
            _ => [PREFACE, &peer.bytes(count)].concat(),
        };
        let _ = stream.write_all(&bytes).await;
        let _ = timeout(Duration::from_millis(50), stream.read(&mut [0; 1_000])).await;
    }
}

/// More connections than the coordinator may have, none of which says anything.
pub async fn silent_connections(peer: Peer) {
    let mut held = Vec::new();
    while peer.goes_on() {
        if held.len() < 2 * DESCRIPTORS as usize {
            // With and without a handshake.
            let stream: Option<Box<dyn Duplex>> = match held.len() % 2 {
                0 => peer.tcp().await.map(|stream| Box::new(stream) as _),
                _ => peer.connect().await,
            };
            match stream {
                Some(stream) => held.push(stream),
                None => sleep(Duration::from_millis(100)).await,
            }
        } else {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Calls that are reset as soon as they are open.
pub async fn streams_reset(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for sent in 1.. {
            let method = METHODS[peer.rng.gen_range(0..METHODS.len())];
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            // Now and then one is answered, or what waits to be sent would grow on this side.
            if sent % 500 != 0 {
                call.stream.send_reset(h2::Reason::CANCEL);
            } else if call.status().await.is_none() || !peer.goes_on() {
                break;
            }
        }
    }
}

/// SETTINGS, PING and WINDOW_UPDATE without end, whose answers are never read.
pub async fn frames_of_control(mut peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let settings = http_frame(SETTINGS, 0, 0, &[]);
        let ping = http_frame(PING, 0, 0, &[7; 8]);
        let window = http_frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        let _ = stream.write_all(&settings).await;
        while peer.goes_on() {
            let frames = [&settings, &ping, &window][peer.rng.gen_range(0..3)].repeat(200);
            if !matches!(timeout(PATIENCE, stream.write_all(&frames)).await, Ok(Ok(()))) {
                break;
            }
        }
    }
}

/// A header block that goes on in frame after frame.
pub async fn endless_headers(peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let _ = stream.write_all(&http_frame(SETTINGS, 0, 0, &[])).await;
        let _ = stream
            .write_all(&http_frame(HEADERS, 0, 1, &header_field("a", b"b", false)))
            .await;
        let field = header_field("x", &[b'y'; 8_000], false);
        while peer.goes_on() {
            let frame = http_frame(CONTINUATION, 0, 1, &field);
            if !matches!(timeout(PATIENCE, stream.write_all(&frame)).await, Ok(Ok(()))) {
                break;
            }
        }
    }
}

/// Calls with as many and as large headers as fit in a frame, that fill the table of known ones.
pub async fn large_headers(mut peer: Peer) {
    while peer.goes_on() {
        let Some(mut stream) = peer.connect().await else {
            continue;
        };
        let _ = stream.write_all(PREFACE).await;
        let _ = stream.write_all(&http_frame(SETTINGS, 0, 0, &[])).await;
        let mut id = 1;
        while peer.goes_on() && id < 2_000 {
            let mut block = [
                header_field(":method", b"POST", false),
                header_field(":scheme", b"http", false),
                header_field(":path", b"/zkrollup.prover.v1.ProverService/GetInfo", false),
                header_field(":authority", b"x", false),
            ]
            .concat();
            while block.len() < 15_000 {
                let name = format!("n{}", peer.rng.r#gen::<u32>());
                block.extend(header_field(&name, &[b'v'; 500], true));
            }
            let frame = http_frame(HEADERS, 4, id, &block);
            if !matches!(timeout(PATIENCE, stream.write_all(&frame)).await, Ok(Ok(()))) {
                break;
            }
            id += 2;
        }
    }
}

/// Every method with messages that are none, or were one before bytes of it were changed.
pub async fn malformed_messages(mut peer: Peer) {
    let batch = standin::sample().batch(standin::ROLLUP, 1, standin::draw(&standin::PRESET, 1, 2));
    let submission = crate::client::submission("hostile", &batch);
    let valid = [
        submission[0].encode_to_vec(),
        submission[1].encode_to_vec(),
        v1::GetBatchRequest {
            batch_id: "b1".into(),
        }
        .encode_to_vec(),
        v1::SessionRequest {
            message: Some(FromWorker::Hello(hello("hostile"))),
        }
        .encode_to_vec(),
        v1::SessionRequest {
            message: Some(FromWorker::Complete(v1::Complete {
                task_id: "b1-s0".into(),
                fence: 1,
                proof: vec![1; 100].into(),
                ..Default::default()
            })),
        }
        .encode_to_vec(),
    ];
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for method in METHODS {
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            for _ in 0..peer.rng.gen_range(1..4) {
                let mut message = valid[peer.rng.gen_range(0..valid.len())].clone();
                for _ in 0..peer.rng.gen_range(0..5) {
                    let at = peer.rng.gen_range(0..message.len());
                    message[at] = peer.rng.r#gen();
                }
                let count = peer.rng.gen_range(0..300);
                let bytes = match peer.rng.gen_range(0..4) {
                    0 => Bytes::from(peer.bytes(count)),
                    1 => frame(&peer.bytes(count)),
                    // A message that says that it is compressed.
                    2 => compressed_frame(&message),
                    _ => frame(&message),
                };
                if call.send(bytes).await.is_none() {
                    break;
                }
            }
            call.finish();
            let _ = timeout(Duration::from_millis(100), call.answer).await;
        }
    }
}

/// Messages that are small on the wire and inflate to what a message may have, to more, or to far more; or not at all.
pub async fn bombs(mut peer: Peer) {
    // Of a field that no message has, so that all of them decode.
    let plain = |bytes: usize| [&[0xfa, 0x3f][..], &length(bytes), &vec![0; bytes]].concat();
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, bytes).expect("memory takes it");
        gzip.finish().expect("memory takes it")
    };
    let bombs = [60 << 10, 1 << 20, 64 << 20].map(|bytes| gzip(&plain(bytes)));
    // A stream that is as long as it inflates to.
    let stored = gzip(&peer.bytes(1 << 20));
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        for method in METHODS {
            let method = format!("zkrollup.prover.v1.{method}");
            let Some(mut call) = peer.call_in(&http, &method, Some("gzip")).await else {
                break;
            };
            for _ in 0..peer.rng.gen_range(1..20) {
                let bomb = &bombs[peer.rng.gen_range(0..bombs.len())];
                let message = match peer.rng.gen_range(0..4) {
                    0 => &bomb[..peer.rng.gen_range(0..bomb.len())],
                    1 => &stored,
                    _ => bomb,
                };
                if call.send(compressed_frame(message)).await.is_none() {
                    break;
                }
            }
            call.finish();
            let _ = timeout(Duration::from_millis(100), call.answer).await;
        }
    }
}

/// A length as protobuf writes it.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Messages that claim to be large, of which most is sent and the end is not.
pub async fn lengths_that_lie(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        while peer.goes_on() {
            let method = METHODS[peer.rng.gen_range(0..METHODS.len())];
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            let claimed = [u32::MAX, 4 << 20, 3 << 20, 1 << 20][peer.rng.gen_range(0..4)];
            let mut bytes = BytesMut::new();
            bytes.put_u8(0);
            bytes.put_u32(claimed);
            bytes.put_bytes(0, (claimed.min(4 << 20) - 1) as usize);
            if call.send(bytes.freeze()).await.is_some() {
                held.push(call);
            }
        }
    }
}

/// Calls that are right, as fast as they go.
pub async fn valid_calls(mut peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        while peer.goes_on() {
            let huge = "9".repeat(peer.rng.gen_range(1..100_000));
            let ids = ["b1".into(), "b99999".into(), huge, "b18446744073709551615".into()];
            let batch_id = ids[peer.rng.gen_range(0..ids.len())].clone();
            let (method, message) = match peer.rng.gen_range(0..4) {
                0 => ("ProverService/GetInfo", vec![]),
                1 => {
                    let page_size = peer.rng.gen_range(0..200);
                    let list = v1::ListBatchesRequest {
                        page_size,
                        ..Default::default()
                    };
                    ("ProverService/ListBatches", list.encode_to_vec())
                }
                2 => (
                    "ProverService/GetBatch",
                    v1::GetBatchRequest { batch_id }.encode_to_vec(),
                ),
                _ => (
                    "ProverService/GetProof",
                    v1::GetProofRequest { batch_id }.encode_to_vec(),
                ),
            };
            let Some(mut call) = peer.call(&http, method).await else {
                break;
            };
            if call.send(frame(&message)).await.is_none() {
                break;
            }
            call.finish();
            // Not waited for: the next one is on its way.
        }
    }
}

/// A thousand watches from one client, over several connections.
pub async fn many_watches(peer: Peer) {
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.extend(peer.http().await);
    }
    let watch = v1::WatchBatchRequest {
        batch_id: "b1".into(),
        after_revision: u64::MAX,
    };
    let mut held = Vec::new();
    while peer.goes_on() {
        for http in &connections {
            if held.len() < 1_000
                && let Some(mut call) = peer.call(http, "ProverService/WatchBatch").await
                && call.send(frame(&watch.encode_to_vec())).await.is_some()
            {
                call.finish();
                held.push(call);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Submissions that send a byte of their batch in each second.
pub async fn slow_submissions(peer: Peer) {
    let mut held = Vec::new();
    let Some(http) = peer.http().await else { return };
    for _ in 0..100 {
        let Some(mut call) = peer.call(&http, "ProverService/SubmitBatch").await else {
            break;
        };
        let header = v1::SubmitBatchHeader {
            request_id: "slow".into(),
            batch_number: 0,
            total_bytes: 1 << 20,
            sha256: vec![1; 32].into(),
            ..Default::default()
        };
        let part = Some(v1::submit_batch_request::Part::Header(header));
        let _ = call
            .send(frame(&v1::SubmitBatchRequest { part }.encode_to_vec()))
            .await;
        held.push(call);
    }
    while peer.goes_on() {
        let part = Some(v1::submit_batch_request::Part::Chunk(vec![0].into()));
        let chunk = frame(&v1::SubmitBatchRequest { part }.encode_to_vec());
        for call in &mut held {
            let _ = call.stream.send_data(chunk.clone(), false);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Submissions of as many bytes as one may have, of which the last is never sent.
pub async fn unfinished_submissions(peer: Peer) {
    while peer.goes_on() {
        let Some(http) = peer.http().await else { continue };
        let mut held = Vec::new();
        for _ in 0..16 {
            let Some(mut call) = peer.call(&http, "ProverService/SubmitBatch").await else {
                break;
            };
            let header = v1::SubmitBatchHeader {
                request_id: "unfinished".into(),
                batch_number: 0,
                total_bytes: 32 << 20,
                sha256: vec![1; 32].into(),
                ..Default::default()
            };
            let header = v1::submit_batch_request::Part::Header(header);
            let chunk = v1::submit_batch_request::Part::Chunk(vec![0; 1 << 20].into());
            for part in [header].into_iter().chain(std::iter::repeat_n(chunk, 31)) {
                let part = Some(part);
                let message = v1::SubmitBatchRequest { part }.encode_to_vec();
                if call.send(frame(&message)).await.is_none() {
                    break;
                }
            }
            held.push(call);
        }
    }
}
