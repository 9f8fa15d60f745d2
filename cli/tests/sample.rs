//! The batches that `sample-batch` writes.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use prost::Message;
use proto::v1::Batch;
use proto::v1::operation::Kind;
use support::program;

/// Runs `sample-batch` for preset `tiny`, into `batch.bin`.
fn sample(directory: &Path, args: &[&str]) -> Output {
    let contract = format!("0x{}", "e7".repeat(20));
    let mut command = program();
    command.args(["sample-batch", "--chain-id", "31337", "--contract", &contract]);
    command.args(["--tokens", "1"]).args(args);
    if !args.contains(&"--preset") {
        command.args(["--preset", "tiny"]);
    }
    command.arg("--batch").arg(directory.join("batch.bin"));
    command.output().unwrap()
}

/// The batch that was written.
fn written(directory: &Path, args: &[&str]) -> Batch {
    let output = sample(directory, args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let batch = fs::read(directory.join("batch.bin")).unwrap();
    Batch::decode(batch.as_slice()).unwrap()
}

#[test]
fn each_batch_follows_on_the_one_before_it_and_fits_its_preset() {
    let directory = tempfile::tempdir().unwrap();
    let first = written(directory.path(), &[]);
    // An operation of the queue, and five places.
    assert_eq!((first.number, first.operations.len()), (0, 6));
    assert_eq!(first.protocol_version, 2);
    let second = written(directory.path(), &["--batch-number", "1"]);
    assert_eq!((second.number, second.operations.len()), (1, 6));
    assert_eq!(first.new_root, second.old_root);
    assert_ne!(first.new_root, second.new_root);
    let third = written(directory.path(), &["--batch-number", "2"]);
    assert_eq!(second.new_root, third.old_root);
}

#[test]
fn all_kinds_of_operations_are_there_when_they_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--preset", "ci", "--transfers", "50", "--batch-number", "2"];
    let batch = written(directory.path(), &[&args[..], &["--all-kinds"]].concat());
    let kinds = |is_it: fn(&Kind) -> bool| {
        let kinds = batch
            .operations
            .iter()
            .filter_map(|operation| operation.kind.as_ref());
        kinds.filter(|kind| is_it(kind)).count()
    };
    assert!(kinds(|kind| matches!(kind, Kind::Transfer(_))) > 0);
    assert!(kinds(|kind| matches!(kind, Kind::Withdrawal(_))) > 0);
    assert!(kinds(|kind| matches!(kind, Kind::Creation(_))) > 0);
    assert_eq!(kinds(|kind| matches!(kind, Kind::Queued(_))), 10);
    let transfers = written(directory.path(), &args);
    assert!(transfers.operations.iter().all(|operation| {
        matches!(
            operation.kind,
            Some(Kind::Transfer(_) | Kind::Queued(_) | Kind::NoOp(_))
        )
    }));
}

#[test]
fn more_transfers_than_the_preset_holds_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = sample(directory.path(), &["--transfers", "6"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("a batch of preset tiny holds at most 5 transfers, not 6"),
        "{said}"
    );
    let output = sample(directory.path(), &["--queued", "2"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("a batch of preset tiny holds at most 1 operations of the queue, not 2"),
        "{said}"
    );
    let output = sample(directory.path(), &["--queued", "0", "--transfers", "0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!directory.path().join("batch.bin").exists());
}
