//! What is done to a coordinator's store while none has it: a backup, and the way back.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use coordinator::store::{
    ArtifactOptions,
    backup::{self, Place, Step, Summary},
};
use serde_json::json;

use super::roles::variables_of_s3;
use crate::args::{BackupArgs, RestoreArgs, StoreArgs};
use crate::output;
use crate::progress::{self, Progress};

/// Shortest time between two lines that tell how far a step is.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Copies a store into a file.
///
/// # Errors
/// When the store or one of its artifacts cannot be read, or the file is there or cannot be written.
pub fn backup(args: &BackupArgs, progress: &Progress) -> Result<()> {
    let from = place(&args.data_dir, &args.store)?;
    let mut shown = Shown::new(progress);
    let made = backup::back_up(&from, &args.out, args.leave_out_damaged, &mut |step| {
        shown.show(step)
    })?;
    shown.end();
    for artifact in &made.left_out {
        output::tell(format_args!(
            "warning: artifact {artifact} is damaged, and not in the backup"
        ));
    }
    tell("backup", &args.out, &made, args.json)
}

/// Puts the store of a backup where there is none, or only reads the backup.
///
/// # Errors
/// When the backup is damaged, or there is a store.
pub fn restore(args: &RestoreArgs, progress: &Progress) -> Result<()> {
    let mut shown = Shown::new(progress);
    let mut told = |step| shown.show(step);
    let (what, summary) = match &args.data_dir {
        Some(data_dir) if !args.check => {
            let to = place(data_dir, &args.store)?;
            ("restored", backup::restore(&args.backup, &to, &mut told)?)
        }
        _ => ("whole", backup::check(&args.backup, &mut told)?),
    };
    shown.end();
    tell(what, &args.backup, &summary, args.json)
}

fn place(folder: &Path, args: &StoreArgs) -> Result<Place> {
    let location = args.artifacts.clone().unwrap_or_default();
    let artifacts = ArtifactOptions {
        location: location.with_variables(variables_of_s3()),
        ..ArtifactOptions::default()
    };
    artifacts.location.check(args.insecure_plaintext)?;
    Ok(Place {
        folder: folder.into(),
        postgres: args.postgres.clone(),
        artifacts,
    })
}

fn tell(what: &str, file: &Path, summary: &Summary, as_json: bool) -> Result<()> {
    let Summary {
        records,
        objects,
        bytes,
        sha256,
        left_out,
    } = summary;
    let sha256 = format!("0x{}", hex::encode(sha256));
    if as_json {
        return output::json(&json!({
            "file": file,
            "did": what,
            "records": records,
            "artifacts": objects,
            "bytes": bytes,
            "sha256": sha256,
            "left_out": left_out,
        }));
    }
    output::line(format_args!(
        "{}: {what}, {records} records and {objects} artifacts in {bytes} bytes, {sha256}",
        file.display()
    ))
}

/// The step that is shown.
struct Shown<'a> {
    progress: &'a Progress,
    step: Option<(&'static str, progress::Step)>,
    pace: Pace,
}

impl<'a> Shown<'a> {
    fn new(progress: &'a Progress) -> Self {
        let pace = Pace::default();
        Self {
            progress,
            step: None,
            pace,
        }
    }

    fn show(&mut self, Step { what, done, of }: Step) {
        if self.step.as_ref().is_none_or(|(shown, _)| *shown != what) {
            self.end();
            let step = match of {
                0 => self.progress.step(what),
                of => self.progress.counted(what, of),
            };
            self.step = Some((what, step));
            // That it begins was just told.
            self.pace.last = Some(Instant::now());
        }
        let Some((_, step)) = &mut self.step else { return };
        // Not a line for each of millions.
        if self.progress.is_drawn() || self.pace.is_time(Instant::now()) {
            step.set(done, "");
        }
    }

    fn end(&mut self) {
        if let Some((_, step)) = self.step.take() {
            step.finish("");
        }
    }
}

/// When the next line is due.
#[derive(Default)]
struct Pace {
    /// When the last one was.
    last: Option<Instant>,
}

impl Pace {
    /// Whether a line is due; then it counts as told.
    fn is_time(&mut self, now: Instant) -> bool {
        let is_time = self
            .last
            .is_none_or(|last| now.duration_since(last) >= LINE_EVERY);
        if is_time {
            self.last = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_their_pace_however_many_parts_there_are() {
        let start = Instant::now();
        let mut pace = Pace { last: Some(start) };
        let told: Vec<u64> = (0..20_000)
            .filter(|ms| pace.is_time(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(told, [5_000, 10_000, 15_000]);
    }
}
