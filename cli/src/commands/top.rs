//! The service at a glance, again and again: what there is to do, who does it, how fast.

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use proto::v1::{BatchInfo, BatchStatus, GetInfoResponse, RollupInfo, RollupStatus, WorkerInfo};
use serde_json::{Value, json};

use super::batch::{batch_json, client};
use super::operator::{batch_line, worker_json, worker_line};
use super::rollups::{rollup_json, rollup_line};
use crate::args::TopArgs;
use crate::client::{Client, Which};
use crate::output::{self, Exit, Failure};

/// Batches that are looked at, the newest.
const BATCHES: usize = 100;
/// Lines of batches and of workers on a terminal.
const LINES_MAX: usize = 16;
/// Time that rates are of.
const RATE_MS: u64 = 3_600_000;

/// What one look sees.
struct Look {
    /// What the service says of itself, and of a rollup: the one that is looked at, or the first.
    info: GetInfoResponse,
    /// All rollups, where several are looked at.
    rollups: Vec<RollupInfo>,
    workers: Vec<WorkerInfo>,
    batches: Vec<BatchInfo>,
    now_ms: u64,
}

/// What was proven of late.
#[derive(Debug, Default, PartialEq)]
struct Rates {
    /// Transfers and other operations, within [`RATE_MS`].
    operations: u64,
    batches: usize,
    /// Seconds from acceptance to proof, the median of these batches.
    latency_s: Option<f64>,
}

/// Shows the service until interrupted, or once.
///
/// # Errors
/// When the coordinator cannot be reached at the first look, or refuses; later looks wait for it.
pub async fn run(args: &TopArgs) -> Result<()> {
    let client = client(&args.client)?;
    let clears = io::stdout().is_terminal() && !args.client.json && !args.once;
    let rollup = &args.rollup.name;
    let mut seen = false;
    loop {
        match look(&client, rollup).await {
            Ok(look) if args.client.json => output::json(&look.json())?,
            Ok(look) => output::screen(clears, look.lines())?,
            Err(error) if seen && is_out_of_reach(&error) => {
                output::tell(format_args!("waiting: {}", output::sentence(&error)));
            }
            Err(error) => return Err(error),
        }
        seen = true;
        if args.once {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(args.interval.into())).await;
    }
}

fn is_out_of_reach(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.exit == Exit::Unavailable)
}

async fn look(client: &Client, rollup: &str) -> Result<Look> {
    let mut rollups = match rollup {
        "" => client.rollups().await?,
        _ => Vec::new(),
    };
    rollups.retain(|rollup| rollup.status() == RollupStatus::Live);
    let (info, which) = match rollups.as_slice() {
        [first, _, ..] => (client.info(&first.name).await?, Which::default()),
        _ => {
            let info = client.info(rollup).await?;
            let which = Which::of(&info.rollup);
            rollups.clear();
            (info, which)
        }
    };
    let (workers, batches) = tokio::try_join!(client.workers(), client.list(&which, BATCHES, |_| true))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Look {
        info,
        rollups,
        workers,
        batches,
        now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    })
}

impl Look {
    fn rates(&self) -> Rates {
        let proven = self.batches.iter().filter(|batch| {
            batch.status() == BatchStatus::Proven
                && self.now_ms.saturating_sub(batch.finished_unix_ms) < RATE_MS
        });
        let mut rates = Rates::default();
        let mut times: Vec<u64> = Vec::new();
        for batch in proven {
            rates.operations += u64::from(batch.operations);
            rates.batches += 1;
            times.push(batch.finished_unix_ms.saturating_sub(batch.accepted_unix_ms));
        }
        times.sort_unstable();
        rates.latency_s = times.get(times.len() / 2).map(|ms| *ms as f64 / 1_000.0);
        rates
    }

    fn lines(&self) -> Vec<String> {
        let Self { info, workers, .. } = self;
        let rates = self.rates();
        let busy = workers
            .iter()
            .filter(|worker| !worker.task_ids.is_empty())
            .count();
        let several = !self.rollups.is_empty();
        let state = if info.paused || (info.rollup_paused && !several) {
            "PAUSED: no tasks are handed out"
        } else {
            "tasks are handed out"
        };
        let whose = match several {
            true => format!("{} rollups  preset {}", self.rollups.len(), info.preset),
            false => format!(
                "rollup {}  preset {}  chain {}  next batch {}",
                info.rollup, info.preset, info.chain_id, info.next_batch_number
            ),
        };
        let a_rollup = if several { " a rollup" } else { "" };
        let latency = rates
            .latency_s
            .map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
        let mut lines = vec![
            format!("{whose}  {state}"),
            format!(
                "open batches {} of {}{a_rollup}  workers {} ({busy} busy)",
                self.batches_open(),
                info.batches_open_max,
                workers.len()
            ),
            format!(
                "last hour: {} operations in {} batches proven, {latency} from acceptance to proof",
                rates.operations, rates.batches
            ),
        ];
        if several {
            let rollups = self.rollups.iter().map(rollup_line).collect();
            listed(&mut lines, "rollups", "none", rollups);
        }
        let batches = self.batches.iter().map(batch_line).collect();
        listed(&mut lines, "batches", "none was accepted yet", batches);
        let workers = workers.iter().map(worker_line).collect();
        listed(&mut lines, "workers", "none is connected", workers);
        lines
    }

    fn batches_open(&self) -> u32 {
        match self.rollups.as_slice() {
            [] => self.info.batches_open,
            rollups => rollups.iter().map(|rollup| rollup.batches_open).sum(),
        }
    }

    /// What is one rollup's alone is null where several are looked at.
    fn json(&self) -> Value {
        let rates = self.rates();
        let one = self.rollups.is_empty().then_some(&self.info);
        json!({
            "now_unix_ms": self.now_ms,
            "rollup": one.map(|info| &info.rollup),
            "rollups": self.rollups.iter().map(rollup_json).collect::<Vec<_>>(),
            "preset": self.info.preset,
            "next_batch_number": one.map(|info| info.next_batch_number),
            "paused": self.info.paused,
            "batches_open": self.batches_open(),
            "batches_open_max": self.info.batches_open_max,
            "last_hour": {
                "operations": rates.operations,
                "batches": rates.batches,
                "latency_seconds": rates.latency_s,
            },
            "batches": self.batches.iter().map(batch_json).collect::<Vec<_>>(),
            "workers": self.workers.iter().map(worker_json).collect::<Vec<_>>(),
        })
    }
}

fn listed(lines: &mut Vec<String>, title: &str, none: &str, items: Vec<String>) {
    lines.push(String::new());
    lines.push(title.to_owned());
    let more = items.len().saturating_sub(LINES_MAX);
    if items.is_empty() {
        lines.push(format!("  {none}"));
    }
    lines.extend(items.into_iter().take(LINES_MAX).map(|item| format!("  {item}")));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10 * RATE_MS;

    fn proven(ago_ms: u64, took_ms: u64) -> BatchInfo {
        BatchInfo {
            batch_id: "b1".into(),
            status: BatchStatus::Proven.into(),
            operations: 5,
            accepted_unix_ms: NOW - ago_ms - took_ms,
            finished_unix_ms: NOW - ago_ms,
            ..BatchInfo::default()
        }
    }

    fn look(batches: Vec<BatchInfo>, workers: Vec<WorkerInfo>) -> Look {
        Look {
            info: GetInfoResponse::default(),
            rollups: vec![],
            workers,
            batches,
            now_ms: NOW,
        }
    }

    #[test]
    fn rates_are_of_the_batches_proven_in_the_last_hour() {
        let mut open = proven(0, 1);
        open.set_status(BatchStatus::Proving);
        let batches = vec![
            open,
            proven(1, 9_000),
            proven(RATE_MS - 1, 1_000),
            proven(2, 2_000),
            proven(RATE_MS, 1),
        ];
        let expected = Rates {
            operations: 15,
            batches: 3,
            latency_s: Some(2.0),
        };
        assert_eq!(look(batches, vec![]).rates(), expected);
        assert_eq!(look(vec![], vec![]).rates(), Rates::default());
    }

    #[test]
    fn where_there_are_several_rollups_all_are_shown() {
        let rollup = |name: &str, batches_open| RollupInfo {
            name: name.into(),
            batches_open,
            ..RollupInfo::default()
        };
        let mut several = look(vec![], vec![]);
        several.info.rollup_paused = true;
        several.info.batches_open_max = 64;
        several.rollups = vec![rollup("main", 2), rollup("pay", 3)];
        let lines = several.lines();
        let shown = lines.join("\n");
        assert!(
            lines[0].starts_with("2 rollups") && !shown.contains("PAUSED"),
            "{shown}"
        );
        assert!(lines[1].starts_with("open batches 5 of 64 a rollup"), "{shown}");
        assert!(
            shown.contains("\n  main ") && shown.contains("\n  pay "),
            "{shown}"
        );
        let json = several.json();
        assert_eq!(json["rollups"][1]["rollup"], "pay");
        assert_eq!(
            (&json["rollup"], &json["next_batch_number"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(json["batches_open"], 5);
        several.rollups.clear();
        assert!(several.lines()[0].contains("PAUSED"));
    }

    #[test]
    fn a_screen_is_bounded_and_says_what_there_is_not() {
        let none = look(vec![], vec![]).lines().join("\n");
        assert!(
            none.contains("none was accepted yet") && none.contains("none is connected"),
            "{none}"
        );
        let workers = vec![WorkerInfo::default(); 1_000];
        let lines = look(vec![proven(1, 1); BATCHES], workers).lines();
        assert!(lines.len() < 2 * LINES_MAX + 12, "{}", lines.len());
        assert!(lines.contains(&"  and 984 more".to_owned()));
    }
}
