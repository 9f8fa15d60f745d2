//! A worker and its prover process: what ends the process costs one task, and another process takes its place.
//!
//! This program is both. Started with `child`, it is a prover process that does with each task what the task's time says.

mod stage;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use accel::DeviceError;
use circuits::aggregation::{AggregationInput, ChildProof};
use circuits::preset::TINY;
use circuits::shard::ShardCircuitError;
use proto::v1::session_request::Message as FromWorker;
use proto::v1::session_response::Message as ToWorker;
use proto::v1::{Fail, FailureClass, LeaseLost, TaskKind, Verdict};
use prover::engine::{EngineError, Phase, Pipeline, Prepare, Proof, Task};
use prover::worker::{self, DeviceInfo, Place, WorkerError};
use rules::witness::Shape;

use stage::{PATIENCE, Peer, Scene, Stage, shard_payload};

/// Times of shards, which say what shall become of them.
const PROVE: u64 = 1;
const ABORT: u64 = 2;
const HANG: u64 = 3;
const EXIT: u64 = 4;
const DEVICE_FAULT: u64 = 5;
const KILLED: u64 = 6;
const OUT_OF_MEMORY: u64 = 7;
const WRONG_INPUT: u64 = 8;
const PHASES: u64 = 9;

/// Names the file by which a prover process knows whether it is the first.
const MARK: &str = "PROVER_PROCESS_MARK";

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("child") => worker::serve(|| Ok((Scripted, device()))).expect("the pipes hold"),
        Some("refusing-child") => {
            worker::serve::<Scripted>(|| Err("its self-check fails".into())).expect("the pipes hold");
        }
        // The first process works, the next ones do not.
        Some("dying-child") => match is_first() {
            true => worker::serve(|| Ok((Scripted, device()))).expect("the pipes hold"),
            false => worker::serve::<Scripted>(|| Err("fell off the bus".into())).expect("the pipes hold"),
        },
        // The next ones have another device.
        Some("changing-child") => {
            let name = if is_first() { "scripted" } else { "another" };
            let device = DeviceInfo {
                name: name.into(),
                ..device()
            };
            worker::serve(|| Ok((Scripted, device))).expect("the pipes hold");
        }
        // Becomes ready, and ends before it has had a task.
        Some("fading-child") => {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                std::process::abort();
            });
            worker::serve(|| Ok((Scripted, device()))).expect("the pipes hold");
        }
        Some("ending-child") => std::process::exit(3),
        Some("babbling-child") => {
            let mut output = std::io::stdout();
            output.write_all(&[0xff; 64]).expect("the pipe holds");
            output.flush().expect("the pipe holds");
            std::thread::sleep(Duration::from_secs(600));
        }
        // Arguments that cargo passes on to tests are of no use here.
        _ => tests(),
    }
}

fn tests() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        timely(
            "what ends the process costs one task",
            what_ends_the_process_costs_one_task(),
        )
        .await;
        timely("a task that waited is not lost", a_task_that_waited_is_not_lost()).await;
        timely("a task that hangs is ended", a_task_that_hangs_is_ended()).await;
        timely("what nobody needs is given up", what_nobody_needs_is_given_up()).await;
        timely(
            "a process that does not read is ended",
            a_process_that_does_not_read_is_ended(),
        )
        .await;
        timely(
            "a task that comes too late is given back",
            a_task_that_comes_too_late_is_given_back(),
        )
        .await;
        timely(
            "another device is no replacement",
            another_device_is_no_replacement(),
        )
        .await;
        timely("idle failures count", idle_failures_count()).await;
        timely("a failing device is given up", a_failing_device_is_given_up()).await;
        timely(
            "bad tasks are not held against the device",
            bad_tasks_are_not_held_against_the_device(),
        )
        .await;
        timely("a device that cannot be used", a_device_that_cannot_be_used()).await;
        timely(
            "the process ends with its worker",
            the_process_ends_with_its_worker(),
        )
        .await;
    });
    println!("process: all passed");
}

async fn timely(name: &str, test: impl Future<Output = ()>) {
    println!("process: {name}");
    let ended = tokio::time::timeout(4 * PATIENCE, test).await;
    ended.unwrap_or_else(|_| panic!("{name}: not over after {:?}", 4 * PATIENCE));
}

/// Whether this is the first process of its test: it leaves a file for the next ones.
fn is_first() -> bool {
    let path = std::env::var_os(MARK).expect("the test says where");
    std::fs::File::create_new(path).is_ok()
}

/// Does what a task's time says.
struct Scripted;

impl Pipeline for Scripted {
    type Preparer = Plain;

    fn preparer(&self) -> Plain {
        Plain
    }

    fn prove(&mut self, task: Task, progress: &mut dyn FnMut(Phase)) -> Result<Proof, EngineError> {
        let proof = || Proof {
            bytes: std::process::id().to_le_bytes().to_vec(),
            accumulator: None,
        };
        let Task::Shard(input) = task else {
            return Ok(proof());
        };
        progress(Phase::Prove);
        // As ICICLE may: this must not reach the worker.
        println!("a library's chatter");
        let fault = |error| Err(engine::EngineError::Device(error).into());
        match input.time {
            PROVE => Ok(proof()),
            PHASES => loop {
                progress(Phase::Verify);
                std::thread::sleep(Duration::from_millis(10));
            },
            ABORT => std::process::abort(),
            HANG => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            EXIT => std::process::exit(9),
            DEVICE_FAULT => fault(DeviceError::Failed {
                operation: "msm",
                reason: "code 7".into(),
            }),
            OUT_OF_MEMORY => fault(DeviceError::OutOfMemory {
                operation: "upload",
                bytes: 1 << 40,
            }),
            WRONG_INPUT => Err(EngineError::Shard {
                preset: TINY.name,
                source: ShardCircuitError::Input {
                    expected: TINY.shard.shape,
                    found: Shape { places: 0, rooms: 0 },
                },
            }),
            KILLED => {
                let pid = std::process::id().to_string();
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
            other => panic!("no such order: {other}"),
        }
    }

    fn rest(&mut self) {}
}

/// Has nothing to prepare.
struct Plain;

impl Prepare for Plain {
    type Prepared = Task;

    fn prepare(&self, task: &Task, _: &mut dyn FnMut(Phase)) -> Result<Task, EngineError> {
        Ok(task.clone())
    }
}

fn device() -> DeviceInfo {
    DeviceInfo {
        name: "scripted".into(),
        memory_bytes: 0,
        proves_shards: true,
        proves_aggregations: true,
    }
}

fn place(role: &str) -> Place {
    let mut command = Command::new(std::env::current_exe().expect("this program's file"));
    command.arg(role);
    Place::Process(command)
}

async fn lease(peer: &Peer, task_id: &str, fence: u64, order: u64) {
    peer.lease_as(task_id, fence, TaskKind::Shard, shard_payload(order))
        .await;
}

/// Proves a task; returns the id of the process that did.
async fn proves(peer: &mut Peer, task_id: &str, fence: u64) -> u32 {
    lease(peer, task_id, fence, PROVE).await;
    let pid = completed_by(peer).await;
    peer.judge_as(task_id, fence, Verdict::Accepted).await;
    pid
}

async fn completed_by(peer: &mut Peer) -> u32 {
    let complete = peer.expect_complete().await;
    u32::from_le_bytes(complete.proof.as_ref().try_into().expect("a process id"))
}

fn is_alive(pid: u32) -> bool {
    accel::machine::Process::of(pid).is_some()
}

async fn what_ends_the_process_costs_one_task() {
    let mut stage = Stage::set(Scene::default(), place("child")).await;
    let mut peer = stage.session().await;
    let mut before = 0;
    for (fence, (order, class, text)) in [
        (ABORT, FailureClass::Infrastructure, "signal: 6"),
        (EXIT, FailureClass::Infrastructure, "exit status: 9"),
        (
            DEVICE_FAULT,
            FailureClass::Infrastructure,
            "msm: device failure: code 7",
        ),
        (KILLED, FailureClass::Resource, "SIGKILL"),
        (OUT_OF_MEMORY, FailureClass::Resource, "out of device memory"),
    ]
    .into_iter()
    .enumerate()
    {
        peer.expect_ask().await;
        let pid = proves(&mut peer, "good", fence as u64).await;
        assert!(pid != before && pid != std::process::id());
        before = pid;
        peer.expect_ask().await;
        lease(&peer, "bad", fence as u64, order).await;
        let fail = peer.expect_fail().await;
        assert_eq!(fail.class(), class, "{}", fail.message);
        assert!(fail.message.contains(text), "{}", fail.message);
        assert!(!is_alive(pid), "the process was replaced");
    }
    peer.expect_ask().await;
    stage.stop();
    stage
        .drained()
        .await
        .expect("the worker goes on through all that");
}

async fn a_task_that_waited_is_not_lost() {
    let scene = Scene {
        ahead: 1,
        ..Scene::default()
    };
    let mut stage = Stage::set(scene, place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    lease(&peer, "good", 0, PROVE).await;
    peer.expect_ask().await;
    let pid = completed_by(&mut peer).await;
    peer.judge_as("good", 0, Verdict::Accepted).await;
    lease(&peer, "hanging", 1, HANG).await;
    peer.expect_ask().await;
    lease(&peer, "waiting", 2, PROVE).await;
    peer.expect_renewal(2).await;
    signal("ABRT", pid);
    let (mut failed, mut proven): (Option<Fail>, Option<u32>) = (None, None);
    while failed.is_none() || proven.is_none() {
        match peer.next_event().await {
            FromWorker::Fail(fail) => failed = Some(fail),
            FromWorker::Complete(complete) => {
                assert_eq!(complete.task_id, "waiting");
                proven = Some(u32::from_le_bytes(
                    complete.proof.as_ref().try_into().expect("an id"),
                ));
            }
            FromWorker::LeaseRequest(_) => {}
            message => panic!("{message:?}"),
        }
    }
    let failed = failed.expect("just seen");
    assert_eq!(failed.task_id, "hanging");
    assert!(failed.message.contains("signal: 6"), "{}", failed.message);
    assert_ne!(proven, Some(pid));
}

async fn a_task_that_hangs_is_ended() {
    let scene = Scene {
        stall_max: Duration::from_secs(2),
        ..Scene::default()
    };
    let mut stage = Stage::set(scene, place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    lease(&peer, "hanging", 1, HANG).await;
    let fail = peer.expect_fail().await;
    assert_eq!(fail.class(), FailureClass::Infrastructure);
    assert!(fail.message.contains("no progress for 2."), "{}", fail.message);
    peer.expect_ask().await;
    proves(&mut peer, "good", 2).await;
}

async fn what_nobody_needs_is_given_up() {
    let mut stage = Stage::set(Scene::default(), place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    let process = proves(&mut peer, "good", 1).await;
    // One task comes to its next phase, the other never does, so that another process takes the next.
    for (fence, order, same) in [(2, PHASES, true), (3, HANG, false)] {
        let task_id = format!("unneeded {fence}");
        peer.expect_ask().await;
        lease(&peer, &task_id, fence, order).await;
        loop {
            if matches!(peer.next().await, FromWorker::Progress(progress) if progress.fence == fence) {
                break;
            }
        }
        let given_up = Instant::now();
        peer.send(ToWorker::LeaseLost(LeaseLost {
            task_id,
            fence,
            reason: "the batch is final".into(),
            unneeded: true,
        }))
        .await;
        // Neither a proof nor a failure is told.
        peer.expect_ask().await;
        assert!(given_up.elapsed() > Duration::from_secs(4) || same);
        let next = proves(&mut peer, &format!("next {fence}"), 10 + fence).await;
        assert_eq!(next == process, same, "{order}");
    }
}

/// Sends a signal to a process.
fn signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

async fn a_process_that_does_not_read_is_ended() {
    let scene = Scene {
        stall_max: Duration::from_secs(2),
        ..Scene::default()
    };
    let mut stage = Stage::set(scene, place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    let pid = proves(&mut peer, "good", 1).await;
    peer.expect_ask().await;
    signal("STOP", pid);
    // Far more than a pipe holds.
    let child = ChildProof {
        instances: Vec::new(),
        proof: vec![0; 1 << 20],
    };
    let large = AggregationInput {
        children: vec![child],
    }
    .to_bytes();
    peer.lease_as("large", 2, TaskKind::Aggregation, large.clone())
        .await;
    let fail = peer.expect_fail().await;
    assert!(fail.message.contains("no progress"), "{}", fail.message);
    peer.expect_ask().await;
    peer.lease_as("large", 3, TaskKind::Aggregation, large).await;
    assert_ne!(completed_by(&mut peer).await, pid);
}

/// A prover process that finds out whether it is the first.
fn marked(role: &str, directory: &tempfile::TempDir) -> Place {
    let Place::Process(mut command) = place(role) else {
        unreachable!("it is a process")
    };
    command.env(MARK, directory.path().join("first"));
    Place::Process(command)
}

async fn a_task_that_comes_too_late_is_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let scene = Scene {
        ahead: 1,
        ..Scene::default()
    };
    let mut stage = Stage::set(scene, marked("dying-child", &directory)).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    lease(&peer, "bad", 1, ABORT).await;
    peer.expect_ask().await;
    // There is no process any more, and there will be none.
    tokio::time::sleep(Duration::from_millis(500)).await;
    lease(&peer, "late", 2, PROVE).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        match peer.next_event().await {
            FromWorker::Fail(fail) => told.push((fail.task_id.clone(), fail.message)),
            FromWorker::Drain(_) => told.push(("drain".into(), String::new())),
            FromWorker::LeaseRequest(_) => {}
            message => panic!("{message:?}"),
        }
    }
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bad", "late", "drain"]);
    assert!(told[1].1.contains("out of service: fell off the bus"), "{told:?}");
    let error = stage.drained().await.expect_err("there is no device");
    assert!(matches!(error, WorkerError::OutOfService(_)), "{error}");
}

async fn another_device_is_no_replacement() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut stage = Stage::set(Scene::default(), marked("changing-child", &directory)).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    lease(&peer, "bad", 1, ABORT).await;
    peer.expect_fail().await;
    let error = stage.drained().await.expect_err("it is another device");
    assert!(error.to_string().contains("another than before"), "{error}");
}

async fn idle_failures_count() {
    let stage = Stage::set(Scene::default(), place("fading-child")).await;
    let error = stage.drained().await.expect_err("it failed too often");
    assert!(
        error
            .to_string()
            .contains("6 times in a row, on 0 different tasks"),
        "{error}"
    );
}

async fn a_failing_device_is_given_up() {
    let mut stage = Stage::set(Scene::default(), place("child")).await;
    let mut peer = stage.session().await;
    for (fence, task) in ["a", "b", "c"].into_iter().enumerate() {
        peer.expect_ask().await;
        lease(&peer, task, fence as u64, DEVICE_FAULT).await;
        if task == "c" {
            break;
        }
        peer.expect_fail().await;
    }
    // The last one's failure is told, and no more is asked for.
    let mut told = Vec::new();
    while told.len() < 2 {
        match peer.next_event().await {
            FromWorker::Fail(fail) => told.push(fail.task_id),
            FromWorker::Drain(_) => told.push("drain".into()),
            FromWorker::LeaseRequest(_) => {}
            message => panic!("{message:?}"),
        }
    }
    assert_eq!(told, ["c", "drain"]);
    let error = stage.drained().await.expect_err("the device failed");
    assert!(
        matches!(&error, WorkerError::OutOfService(reason) if reason.contains("on 3 different")),
        "{error}"
    );
}

async fn bad_tasks_are_not_held_against_the_device() {
    let mut stage = Stage::set(Scene::default(), place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    let pid = proves(&mut peer, "good", 0).await;
    for fence in 0..5 {
        peer.expect_ask().await;
        lease(&peer, &format!("wrong-{fence}"), fence, WRONG_INPUT).await;
        assert_eq!(peer.expect_fail().await.class(), FailureClass::Input);
    }
    peer.expect_ask().await;
    assert_eq!(
        proves(&mut peer, "good", 9).await,
        pid,
        "it is still the same process"
    );
}

async fn a_device_that_cannot_be_used() {
    for (role, text) in [
        ("refusing-child", "its self-check fails"),
        ("ending-child", "exit status: 3"),
        ("babbling-child", "what it says is no frame"),
    ] {
        let stage = Stage::set(Scene::default(), place(role)).await;
        let error = stage.drained().await.expect_err("there is no device");
        assert!(matches!(error, WorkerError::Device(_)), "{error}");
        assert!(error.to_string().contains(text), "{role}: {error}");
    }
}

async fn the_process_ends_with_its_worker() {
    let mut stage = Stage::set(Scene::default(), place("child")).await;
    let mut peer = stage.session().await;
    peer.expect_ask().await;
    let pid = proves(&mut peer, "good", 1).await;
    assert!(is_alive(pid));
    stage.stop();
    stage.drained().await.expect("it drains");
    let until = std::time::Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(
            std::time::Instant::now() < until,
            "the process outlives its worker"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
