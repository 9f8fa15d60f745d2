//! What operators read: the tables of docs/operations.md and the alarms are of the metrics that there are, and these are served by the
//! processes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{Service, log_tail, start, wait_for, workspace};
use telemetry::Metric;

/// Keys are read, a device is checked, and a batch is proven within this time.
const WORK_MAX: Duration = Duration::from_secs(180);
const OPERATIONS: &str = "docs/operations.md";
const ALARMS: &str = "docs/alarms.yml";
const DASHBOARD: &str = "docs/grafana-dashboard.json";

fn read(document: &str) -> String {
    fs::read_to_string(workspace().join(document)).unwrap()
}

fn all_metrics() -> Vec<&'static Metric> {
    [&coordinator::METRICS[..], &prover::worker::METRICS[..]].concat()
}

/// A metric's row in the table.
fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|label| format!("`{}`: {}", label.name, label.values.join(", ")))
        .collect();
    let unit = if metric.unit.is_empty() {
        "0 or 1"
    } else {
        metric.unit
    };
    format!(
        "| `{}` | {} | {unit} | {} | {} | {} |\n",
        metric.full_name(),
        metric.kind_name(),
        labels.join("; "),
        metric.series_max(),
        metric.help
    )
}

/// The document with the table of that name as it should be.
fn with_table(document: &str, name: &str, metrics: &[&'static Metric]) -> String {
    let begin = format!("<!-- metrics: {name} -->\n");
    let (before, rest) = document.split_once(&begin).expect("the table's place");
    let (_, after) = rest.split_once("<!-- end -->").expect("the table's end");
    let series: usize = metrics.iter().map(|metric| metric.series_max()).sum();
    let rows: String = metrics.iter().copied().map(row).collect();
    format!(
        "{before}{begin}| metric | kind | unit | labels | series | what |\n|---|---|---|---|---|---|\n{rows}\n{} metrics, {} series at most.\n<!-- end -->{after}",
        metrics.len(),
        golden::thousands(series as u64)
    )
}

/// The names in a query that are metrics: those with the prefixes that ours have, and `up`.
fn names(query: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut outside = String::new();
    for (at, part) in query.split('"').enumerate() {
        // Values of labels are no names.
        outside.push_str(if at % 2 == 0 { part } else { "''" });
    }
    outside
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with("rollup_prover_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// What a query names that is no series.
fn unknown(query: &str) -> Vec<String> {
    let known: BTreeSet<String> = all_metrics()
        .iter()
        .flat_map(|metric| metric.series_names())
        .collect();
    let named = names(query);
    named.into_iter().filter(|name| !known.contains(name)).collect()
}

/// The alarms by name, with their queries.
fn alarms() -> BTreeMap<String, String> {
    let text = read(ALARMS);
    let mut alarms = BTreeMap::new();
    let mut name = None;
    for line in text.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            assert_eq!(
                name.replace(alert.to_owned()),
                None,
                "{alert} follows one without a query"
            );
        } else if let Some(query) = line.strip_prefix("expr: ") {
            let name = name.take().expect("a query is an alarm's");
            assert_eq!(
                alarms.insert(name.clone(), query.to_owned()),
                None,
                "{name} twice"
            );
        }
    }
    assert!(alarms.len() > 20, "the file reads");
    alarms
}

/// The dashboard's queries, by their panels' titles.
fn dashboard() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&read(DASHBOARD)).expect("it is JSON");
    let panels = board["panels"].as_array().expect("panels").iter();
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert!(
            panel["type"] == "row" || !targets.is_empty(),
            "{title} shows nothing"
        );
        targets.into_iter().map(move |target| {
            let query = target["expr"].as_str().expect("a query").to_owned();
            (title.clone(), query)
        })
    });
    queries.collect()
}

/// The first cells of the rows of the tables whose head is this.
fn table(document: &str, head: &str) -> BTreeMap<String, String> {
    let (_, rest) = document.split_once(head).expect("the table's head");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| {
        let (name, rest) = row[3..].split_once('`').expect("a name in quotes");
        (name.to_owned(), rest.to_owned())
    })
    .collect()
}

#[test]
fn the_tables_are_of_the_metrics_that_there_are() {
    let document = read(OPERATIONS);
    let document = with_table(&document, "coordinator", &coordinator::METRICS);
    let document = with_table(&document, "worker", &prover::worker::METRICS);
    golden::check(
        env!("CARGO_MANIFEST_DIR"),
        &format!("../{OPERATIONS}"),
        document.as_bytes(),
    );
}

#[test]
fn every_query_names_series_that_there_are() {
    for (alarm, query) in alarms() {
        assert_eq!(unknown(&query), [""; 0], "{alarm}");
        let is_ours = !names(&query).is_empty() || query.starts_with("up{");
        assert!(is_ours, "{alarm} watches nothing of ours");
    }
    let document = read(OPERATIONS);
    let (_, asked) = document.split_once("### What to ask").unwrap();
    let (asked, _) = asked.split_once("\n## ").unwrap();
    let queries: Vec<&str> = asked.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(queries.len() > 5);
    queries
        .into_iter()
        .for_each(|line| assert_eq!(unknown(line), [""; 0], "{line}"));
    let mut shown = BTreeSet::new();
    for (panel, query) in dashboard() {
        assert_eq!(unknown(&query), [""; 0], "{panel} of {DASHBOARD}");
        shown.append(&mut names(&query));
    }
    for metric in all_metrics() {
        let is_shown = metric.series_names().iter().any(|name| shown.contains(name));
        assert!(is_shown, "{DASHBOARD} does not show {}", metric.name);
    }
    // The check itself finds what is wrong.
    assert_eq!(
        unknown("rate(rollup_prover_batches_total[5m]) > rollup_prover_batches{a=\"rollup_prover_x\"}"),
        ["rollup_prover_batches_total"]
    );
    assert_eq!(
        unknown("rollup_prover_own_seconds"),
        ["rollup_prover_own_seconds"],
        "a histogram is no series"
    );
}

#[test]
fn every_metric_has_its_alarm_and_every_alarm_its_remedy() {
    let document = read(OPERATIONS);
    let alarms = alarms();
    let remedies = table(&document, "| alarm | what it says | what to do |");
    assert_eq!(
        remedies.keys().collect::<Vec<_>>(),
        alarms.keys().collect::<Vec<_>>(),
        "the alarms of {ALARMS}"
    );
    let watched = table(&document, "| metric | alarm |");
    let metrics: BTreeSet<String> = all_metrics().iter().map(|metric| metric.full_name()).collect();
    assert_eq!(watched.keys().cloned().collect::<BTreeSet<_>>(), metrics);
    for metric in all_metrics() {
        let by = &watched[&metric.full_name()];
        let named: Vec<&str> = by
            .split('`')
            .filter(|word| word.starts_with("RollupProver"))
            .collect();
        assert!(
            !named.is_empty() || by.contains("none: "),
            "{}: {by}",
            metric.name
        );
        for alarm in named {
            let series = names(&alarms[alarm]);
            let is_watched = metric.series_names().iter().any(|name| series.contains(name));
            assert!(is_watched, "{alarm} does not look at {}", metric.name);
        }
    }
}

/// What a path of a listener answers, head and body.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Where a process says that something is served.
fn served(directory: &Path, log: &str, what: &str) -> String {
    wait_for(what, WORK_MAX, || {
        let text = log_tail(&directory.join(log));
        let line = text.lines().find(|line| line.contains(what))?.to_owned();
        let (_, address) = line.split_once("127.0.0.1:")?;
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        Some(format!("127.0.0.1:{port}"))
    })
}

/// The value of a series.
fn value(page: &str, series: &str) -> f64 {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{series} ")));
    value
        .unwrap_or_else(|| panic!("{series} in\n{page}"))
        .parse()
        .unwrap()
}

/// Every metric is on the page, and nothing else.
#[track_caller]
fn has_all(page: &str, metrics: &[&'static Metric]) {
    let types: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let expected: Vec<(String, &str)> = metrics
        .iter()
        .map(|metric| (metric.full_name(), metric.kind_name()))
        .collect();
    let found: Vec<(String, &str)> = types
        .iter()
        .map(|(name, kind)| (name.to_string(), *kind))
        .collect();
    assert_eq!(found, expected);
    let most: usize = metrics.iter().map(|metric| metric.series_max()).sum();
    let lines = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(
        lines <= most + page.matches("HTTP/1.1").count() * 12,
        "{lines} series, {most} at most"
    );
}

#[test]
fn a_coordinator_and_a_worker_serve_what_a_proven_batch_took() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = ["--metrics-listen", "127.0.0.1:0"].map(str::to_owned);
    let service = Service::start_with(directory.path(), &metrics);
    let arguments = [
        "worker",
        "--coordinator",
        &service.url,
        "--name",
        "one",
        "--device",
        "cpu",
    ];
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    let _worker = start(
        directory.path(),
        "worker.log",
        &[&arguments[..], &metrics[..]].concat(),
    );
    let mut submit = support::program();
    submit.args([
        "submit",
        "--wait",
        "--batch",
        &service.batch,
        "--coordinator",
        &service.url,
    ]);
    support::run(&mut submit, "");

    let at = served(directory.path(), "coordinator.log", "metrics are served");
    let finished = "rollup_prover_batches_finished_total{status=\"proven\"}";
    let page = wait_for("the batch to be counted", WORK_MAX, || {
        let page = get(&at, "/metrics")?;
        (value(&page, finished) == 1.0).then_some(page)
    });
    has_all(&page, &coordinator::METRICS);
    assert_eq!(value(&page, "rollup_prover_operations_proven_total"), 5.0);
    for circuit in ["shard", "aggregation"] {
        let proven = format!("{{circuit=\"{circuit}\",outcome=\"proven\"}}");
        assert_eq!(
            value(&page, &format!("rollup_prover_attempts_total{proven}")),
            1.0
        );
        assert!(value(&page, &format!("rollup_prover_device_seconds_total{proven}")) > 0.0);
    }
    assert_eq!(value(&page, "rollup_prover_workers{state=\"asking\"}"), 1.0);
    assert!(value(&page, "rollup_prover_own_seconds_count{work=\"verification\"}") >= 2.0);
    assert!(value(&page, "rollup_prover_accounts") > 0.0);

    let at = served(directory.path(), "worker.log", "metrics are served");
    let proven = "rollup_prover_worker_tasks_ended_total{circuit=\"aggregation\",outcome=\"proven\"}";
    // The worker hears of it after the coordinator has counted it.
    let page = wait_for("the worker to count its task", WORK_MAX, || {
        let page = get(&at, "/metrics")?;
        (value(&page, proven) == 1.0).then_some(page)
    });
    has_all(&page, &prover::worker::METRICS);
    assert_eq!(value(&page, "rollup_prover_worker_connected"), 1.0);
    let quotient = "rollup_prover_worker_phase_seconds_count{circuit=\"shard\",phase=\"quotient\"}";
    assert_eq!(value(&page, quotient), 1.0);
    assert!(value(&page, "rollup_prover_worker_prover_cpu_seconds_total") > 0.0);

    let other = get(&at, "/").expect("it answers");
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
}
