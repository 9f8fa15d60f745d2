//! The batches that `sample-batch` writes.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use prost::Message;
use proto::v1::Batch;
use support::program;

/// Runs `sample-batch` for preset `tiny`, into `genesis.json` and `batch.bin`.
fn sample(directory: &Path, args: &[&str]) -> Output {
    let contract = format!("0x{}", "e7".repeat(20));
    let mut command = program();
    command.args(["sample-batch", "--chain-id", "31337", "--contract", &contract]);
    command.args(["--preset", "tiny", "--tokens", "1"]).args(args);
    command.arg("--genesis").arg(directory.join("genesis.json"));
    command.arg("--batch").arg(directory.join("batch.bin"));
    command.output().unwrap()
}

/// The genesis file and the batch that were written.
fn written(directory: &Path, args: &[&str]) -> (String, Batch) {
    let output = sample(directory, args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let batch = fs::read(directory.join("batch.bin")).unwrap();
    (
        fs::read_to_string(directory.join("genesis.json")).unwrap(),
        Batch::decode(batch.as_slice()).unwrap(),
    )
}

#[test]
fn each_batch_follows_on_the_one_before_it_and_fits_its_preset() {
    let directory = tempfile::tempdir().unwrap();
    let (genesis, first) = written(directory.path(), &[]);
    assert_eq!((first.number, first.operations.len()), (0, 5));
    let (again, second) = written(directory.path(), &["--batch-number", "1"]);
    assert_eq!((second.number, second.operations.len()), (1, 5));
    assert_eq!(genesis, again);
    assert_eq!(first.new_root, second.old_root);
    assert_ne!(first.new_root, second.new_root);
    let (_, third) = written(directory.path(), &["--batch-number", "2"]);
    assert_eq!(second.new_root, third.old_root);
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
    assert!(!directory.path().join("batch.bin").exists());
}
