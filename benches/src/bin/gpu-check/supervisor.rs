//! Runs the steps in processes of their own, within their time, and writes the report.

use crate::Args;
use crate::step::Step;
use crate::table::table;
use anyhow::{Context, Result};
use benches::report;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Lines of a failed step's messages that go into the report.
const LINES_KEPT: usize = 30;

/// What became of a step.
struct Outcome {
    step: Step,
    verdict: Verdict,
    seconds: f64,
    /// What the step told, as far as it came.
    details: Map<String, Value>,
    /// The end of what it wrote for people, if it failed.
    messages: Vec<String>,
}

enum Verdict {
    Passed,
    Failed(String),
    /// Something that it needs is missing: time, a device, keys.
    NotRun(String),
    /// Left out by request.
    Skipped,
}

/// Runs what `args` asks for, writes the report, and says whether everything passed.
pub fn check(args: &Args) -> Result<bool> {
    let start = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in Step::ALL {
        let outcome = match obstacle(args, step, &outcomes, start) {
            Some(verdict) => Outcome::without_run(step, verdict),
            None => {
                eprintln!("== {}", step.name());
                run(args, step, limit(args, step, start))?
            }
        };
        eprintln!("{}", outcome.line());
        outcomes.push(outcome);
        // After each step: a report cut short is better than none.
        if let Some(path) = &args.json {
            benches::write(path, &summary(args, &outcomes, start))?;
        }
    }
    print!("{}", table(&summary(args, &outcomes, start)));
    Ok(outcomes.iter().all(Outcome::is_good))
}

fn remaining(args: &Args, start: Instant) -> Duration {
    Duration::from_secs(args.deadline_seconds).saturating_sub(start.elapsed())
}

/// How long a step may take: its share, and no more than is left.
fn limit(args: &Args, step: Step, start: Instant) -> Duration {
    let share = Duration::from_secs(args.deadline_seconds).mul_f64(step.share());
    share.min(remaining(args, start))
}

/// Why a step does not run, if it does not.
fn obstacle(args: &Args, step: Step, outcomes: &[Outcome], start: Instant) -> Option<Verdict> {
    if !args.wants(step) {
        return Some(Verdict::Skipped);
    }
    let failed = |step: Step| {
        outcomes
            .iter()
            .find(|outcome| outcome.step == step && !outcome.is_good())
    };
    let closed =
        failed(Step::Doctor).filter(|doctor| doctor.details.get("device_opens") == Some(&json!(false)));
    if closed.is_some() {
        return Some(Verdict::NotRun("the device cannot be opened".to_string()));
    }
    if step.needs_keys() && failed(Step::Keys).is_some() {
        return Some(Verdict::NotRun("there are no keys".to_string()));
    }
    if remaining(args, start).is_zero() {
        let seconds = args.deadline_seconds;
        return Some(Verdict::NotRun(format!("the {seconds} seconds were over")));
    }
    None
}

/// Runs one step in a process of its own, and ends it when its time is over.
fn run(args: &Args, step: Step, limit: Duration) -> Result<Outcome> {
    let start = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--step", &step.name()])
        .args(["--step-seconds", &limit.as_secs_f64().to_string()])
        .env(keys::KEYS_VARIABLE, args.keys_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("a step's process")?;
    let heard = Arc::new(Heard::default());
    let listeners = [
        listen(child.stdout.take(), heard.clone(), Heard::tell),
        listen(child.stderr.take(), heard.clone(), Heard::write),
    ];
    let ended = wait(&mut child, limit)?;
    // What a process that hangs in the driver has open stays open.
    if !matches!(ended, Ended::Hanging) {
        listeners.into_iter().for_each(joined);
    }
    let (mut details, messages) = heard.take();
    let passed = details.remove("passed") == Some(json!(true));
    let error = details.remove("error");
    let seconds = limit.as_secs_f64();
    let verdict = match (ended, error) {
        (Ended::Killed, _) => Verdict::Failed(format!("ended after its limit of {seconds:.0} s")),
        (Ended::Hanging, _) => Verdict::Failed(format!(
            "hangs after its limit of {seconds:.0} s, and cannot be ended"
        )),
        (Ended::Alone(status), None) if status.success() && passed => Verdict::Passed,
        (Ended::Alone(status), None) => Verdict::Failed(format!("its process ended {}", manner(status))),
        (Ended::Alone(_), Some(error)) => Verdict::Failed(error.as_str().unwrap_or_default().to_string()),
    };
    let failed = matches!(verdict, Verdict::Failed(_));
    Ok(Outcome {
        step,
        verdict,
        seconds: start.elapsed().as_secs_f64(),
        details,
        messages: if failed { messages } else { Vec::new() },
    })
}

/// How a process ended.
enum Ended {
    Alone(ExitStatus),
    /// Its time was over.
    Killed,
    /// Its time was over, and the system does not end it: it waits in a driver.
    Hanging,
}

/// Waits for a process, and ends it when its time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<Ended> {
    /// What the system has to end a process.
    const GRACE: Duration = Duration::from_secs(5);
    if let Some(status) = wait_for(child, limit)? {
        return Ok(Ended::Alone(status));
    }
    child.kill()?;
    Ok(match wait_for(child, GRACE)? {
        Some(_) => Ended::Killed,
        None => Ended::Hanging,
    })
}

fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    /// Between signs of life.
    const SIGN: Duration = Duration::from_secs(15);
    let (start, mut signs) = (Instant::now(), 1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        if start.elapsed() >= SIGN * signs {
            signs += 1;
            eprintln!(
                "  {:.0} of {:.0} s",
                start.elapsed().as_secs_f64(),
                limit.as_secs_f64()
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn manner(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with status {code} before the step did"),
        (None, Some(libc::SIGABRT)) => {
            "by signal 6 (SIGABRT): ICICLE threw an exception, or another abort".to_string()
        }
        (None, Some(libc::SIGSEGV)) => "by signal 11 (SIGSEGV)".to_string(),
        (None, Some(libc::SIGKILL)) => "by signal 9 (SIGKILL): perhaps for want of memory".to_string(),
        (None, signal) => format!("by signal {}", signal.unwrap_or_default()),
    }
}

/// What a step's process has said so far.
#[derive(Default)]
struct Heard {
    details: Mutex<Map<String, Value>>,
    messages: Mutex<VecDeque<String>>,
}

impl Heard {
    /// Keeps what the step tells. Lines that are no JSON object come from libraries, and are passed on to people.
    fn tell(&self, line: String) {
        match serde_json::from_str(&line) {
            Ok(Value::Object(fields)) => locked(&self.details).extend(fields),
            _ => eprintln!("{line}"),
        }
    }

    /// Passes a message on, and keeps the last of them.
    fn write(&self, line: String) {
        eprintln!("{line}");
        let mut messages = locked(&self.messages);
        messages.push_back(line);
        if messages.len() > LINES_KEPT {
            messages.pop_front();
        }
    }

    fn take(&self) -> (Map<String, Value>, Vec<String>) {
        let mut details = std::mem::take(&mut *locked(&self.details));
        details.retain(|_, value| !value.is_null());
        (details, std::mem::take(&mut *locked(&self.messages)).into())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears the lines of a pipe, whatever bytes they have, on a thread of its own.
fn listen(
    pipe: Option<impl Read + Send + 'static>,
    heard: Arc<Heard>,
    hear: fn(&Heard, String),
) -> JoinHandle<()> {
    let mut reader = BufReader::new(pipe.expect("the pipe was asked for"));
    thread::spawn(move || {
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            hear(&heard, String::from_utf8_lossy(&line).trim_end().to_string());
            line.clear();
        }
    })
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Outcome {
    fn without_run(step: Step, verdict: Verdict) -> Self {
        Self {
            step,
            verdict,
            seconds: 0.0,
            details: Map::new(),
            messages: Vec::new(),
        }
    }

    fn is_good(&self) -> bool {
        matches!(self.verdict, Verdict::Passed | Verdict::Skipped)
    }

    fn verdict(&self) -> (&'static str, Option<&str>) {
        match &self.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(error) => ("failed", Some(error)),
            Verdict::NotRun(reason) => ("not run", Some(reason)),
            Verdict::Skipped => ("skipped", None),
        }
    }

    fn line(&self) -> String {
        let (verdict, error) = self.verdict();
        let error = error.map_or(String::new(), |error| format!(": {error}"));
        format!(
            "{:16} {verdict:8} {:7.1} s{error}",
            self.step.name(),
            self.seconds
        )
    }

    fn json(&self) -> Value {
        let (verdict, error) = self.verdict();
        json!({
            "step": self.step.name(),
            "outcome": verdict,
            "passed": matches!(self.verdict, Verdict::Passed),
            "seconds": self.seconds,
            "error": error,
            "details": self.details,
            "messages": self.messages,
        })
    }
}

fn summary(args: &Args, outcomes: &[Outcome], start: Instant) -> Value {
    report(json!({
        "device": args.device.to_string(),
        "preset": args.preset.name,
        "seed": args.seed,
        "passed": outcomes.len() == Step::ALL.len() && outcomes.iter().all(Outcome::is_good),
        "seconds": start.elapsed().as_secs_f64(),
        "ratios_to_cpu": ratios(outcomes, Step::CpuShard, Step::CpuAggregation),
        "ratios_to_stock": ratios(outcomes, Step::StockShard, Step::StockAggregation),
        "steps": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    }))
}

/// How many times faster the device made its fastest warm proof than others made theirs.
fn ratios(outcomes: &[Outcome], shard: Step, aggregation: Step) -> Value {
    let warm = |step: Step| {
        let outcome = outcomes.iter().find(|outcome| outcome.step == step)?;
        outcome.details.get("warm")?["seconds"].as_f64()
    };
    let ratio = |device, other| Some(warm(other)? / warm(device)?);
    json!({
        "shard": ratio(Step::Shard, shard),
        "aggregation": ratio(Step::Aggregation, aggregation),
    })
}
