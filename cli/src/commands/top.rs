//! The service at a glance, again and again: what there is to do, who does it, how fast.

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use proto::v1::{BatchInfo, BatchStatus, GetInfoResponse, WorkerInfo};
use serde_json::{Value, json};

use super::batch::{batch_json, client};
use super::operator::{batch_line, worker_json, worker_line};
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
    info: GetInfoResponse,
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
    let rollup = args.rollup.name();
    let mut seen = false;
    loop {
        match look(&client, &rollup).await {
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
    let info = client.info(rollup).await?;
    let which = Which::of(&info.rollup);
    let (workers, batches) = tokio::try_join!(client.workers(), client.list(&which, BATCHES, |_| true))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Look {
        info,
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
        let state = if info.paused || info.rollup_paused {
            "PAUSED: no tasks are handed out"
        } else {
            "tasks are handed out"
        };
        let latency = rates
            .latency_s
            .map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
        let mut lines = vec![
            format!(
                "rollup {}  preset {}  chain {}  next batch {}  {state}",
                info.rollup, info.preset, info.chain_id, info.next_batch_number
            ),
            format!(
                "open batches {} of {}  workers {} ({busy} busy)",
                info.batches_open,
                info.batches_open_max,
                workers.len()
            ),
            format!(
                "last hour: {} operations in {} batches proven, {latency} from acceptance to proof",
                rates.operations, rates.batches
            ),
        ];
        let batches = self.batches.iter().map(batch_line).collect();
        listed(&mut lines, "batches", "none was accepted yet", batches);
        let workers = workers.iter().map(worker_line).collect();
        listed(&mut lines, "workers", "none is connected", workers);
        lines
    }

    fn json(&self) -> Value {
        let rates = self.rates();
        json!({
            "now_unix_ms": self.now_ms,
            "rollup": self.info.rollup,
            "preset": self.info.preset,
            "next_batch_number": self.info.next_batch_number,
            "paused": self.info.paused,
            "batches_open": self.info.batches_open,
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
