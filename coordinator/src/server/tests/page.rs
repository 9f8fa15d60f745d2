//! The status page in a real browser. What it looked like is left in the folder that `STATUS_PAGE_PICTURES` names.

use std::{fs, net::SocketAddr, path::PathBuf, process};

use serde_json::{Value, json};

use super::{
    browser::Browser,
    commits::identity,
    looking::{Looked, get, looked_at},
    operator::{operator, prove_all, roll_back},
    *,
};
use crate::{
    core::record::{BatchRecord, Write},
    store::{KeptStore, Store as _},
};

/// Names that would do something if they were markup.
const HOSTILE: &str = "<script>window.hurt=1</script>\"'&";
const HOSTILE_DEVICE: &str = "<img src=x onerror=window.hurt=2>";
const HOSTILE_WHY: &str = "</td><svg onload=window.hurt=3>memory";
/// Widths and heights of screens, and whether it is a phone's.
const SCREENS: [(&str, u32, u32, bool); 3] = [
    ("small-phone", 320, 568, true),
    ("phone", 390, 844, true),
    ("desktop", 1440, 900, false),
];

/// A coordinator with a batch of every status, and what keeps it so.
struct Busy {
    looked: Looked,
    sample: Sample,
    /// In the order in which they were accepted.
    batches: Vec<String>,
    workers: Vec<Worker>,
    _store: TempDir,
}

impl Busy {
    async fn start() -> Self {
        let store = store();
        let mut config = config(store.path());
        config.limits.refusals_max = 1;
        // However long the browser takes.
        config.limits.lease_ms = 3_600_000;
        let looked = looked_at(config).await;
        let mut busy = Self {
            looked,
            sample: sample(),
            batches: Vec::new(),
            workers: Vec::new(),
            _store: store,
        };
        let service = &busy.looked.service;
        let mut hello = hello(HOSTILE);
        hello.devices[0].name = HOSTILE_DEVICE.into();
        let mut first = Worker::open(service, FromWorker::Hello(hello)).await;
        assert!(matches!(first.next().await, Ok(ToWorker::Welcome(_))));
        busy.submit(7).await;
        let lease = first.lease().await;
        first.send(progress(&lease, "witness", 0.25)).await;
        first
            .send(failure(&lease, v1::FailureClass::Resource, HOSTILE_WHY))
            .await;
        for _ in 0..3 {
            let lease = first.lease().await;
            assert_eq!(first.complete(lease.prove()).await, v1::Verdict::Accepted);
        }
        busy.workers.push(first);
        busy.take_back().await;
        busy.leave_open().await;
        busy
    }

    async fn submit(&mut self, operations: usize) {
        let request = format!("r{}", self.batches.len());
        let batch = batch_of(&mut self.sample, TIME, operations);
        let accepted = accepted(self.looked.service.submit(&request, &batch).await);
        self.batches.push(accepted.batch_id);
    }

    /// A batch that was proven and rolled back, and one that was cancelled.
    async fn take_back(&mut self) {
        let before = self.sample.clone();
        self.submit(2).await;
        prove_all(&self.looked.service).await;
        let newest = self.batches.last().expect("just submitted").clone();
        let rolled_back = roll_back(&self.looked.service, 1, &newest).await;
        rolled_back.expect("it is the newest");
        self.sample = before.clone();
        self.submit(3).await;
        let batch_id = self.batches.last().expect("just submitted").clone();
        let mut client = self.looked.service.client();
        let cancelled = client.cancel_batch(v1::CancelBatchRequest { batch_id }).await;
        cancelled.expect("it is the newest");
        self.sample = before;
    }

    /// One that is aggregated, one that is proven, one that has failed, and one that waits.
    async fn leave_open(&mut self) {
        for operations in [5, 4, 3, 2] {
            self.submit(operations).await;
        }
        for name in ["aggregates", "proves", "proves too", "fails"] {
            let service = &self.looked.service;
            self.workers.push(Worker::join(service, name).await);
        }
        let [_, aggregates, proves, proves_too, fails] = &mut self.workers[..] else {
            panic!("five workers");
        };
        for _ in 0..2 {
            let lease = aggregates.lease().await;
            let done = aggregates.complete(lease.prove()).await;
            assert_eq!(done, v1::Verdict::Accepted);
        }
        for (worker, phase) in [
            (aggregates, "quotient"),
            (proves, "commitments"),
            (proves_too, "witness"),
        ] {
            let lease = worker.lease().await;
            worker.send(progress(&lease, phase, 0.5)).await;
        }
        let lease = fails.lease().await;
        let class = v1::FailureClass::Internal;
        fails
            .send(failure(&lease, class, "panic: index out of bounds"))
            .await;
    }

    fn address(&self) -> String {
        format!("http://{}/", self.looked.status)
    }

    /// The state as the page gets it.
    async fn state(&self) -> Value {
        let (_, body) = get(self.looked.status, "/api/state").await;
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until the page shows a batch as failed, which is the last that comes to pass.
    async fn shown(&self, browser: &mut Browser) {
        browser
            .until("document.querySelector('#batches .s-failed') !== null")
            .await;
    }
}

fn progress(lease: &Leased, phase: &str, fraction: f64) -> FromWorker {
    FromWorker::Progress(v1::Progress {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
        phase: phase.into(),
        fraction,
    })
}

fn failure(lease: &Leased, class: v1::FailureClass, message: &str) -> FromWorker {
    FromWorker::Fail(v1::Fail {
        task_id: lease.task.task_id.clone(),
        fence: lease.task.fence,
        class: class.into(),
        message: message.into(),
    })
}

/// The cells of a table, row by row.
async fn cells(browser: &mut Browser, body: &str) -> Vec<Vec<String>> {
    let each = format!(
        "[...document.querySelectorAll('#{body} tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    );
    serde_json::from_value(browser.value(&each).await).expect("texts")
}

/// What a list of facts says under a name.
async fn fact(browser: &mut Browser, list: &str, name: &str) -> String {
    let find = format!(
        "[...document.querySelectorAll('#{list} dt')].find((term) => term.textContent === {name:?})?.nextElementSibling.textContent"
    );
    let found = browser.value(&find).await;
    let found = found.as_str();
    found
        .unwrap_or_else(|| panic!("{list} says nothing of {name:?}"))
        .to_owned()
}

/// A number as the page groups its digits.
fn grouped(digits: &str) -> String {
    let digits = digits.as_bytes();
    let mut text = String::new();
    for (index, digit) in digits.iter().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(char::from(*digit));
    }
    text
}

/// What a batch costs on L1 and earns, as a row of the page has it.
fn bill(batch: &v1::BatchInfo) -> Vec<String> {
    let billing = batch.billing.as_ref().expect("it was counted");
    let fees = billing.fees.iter().map(|fees| {
        let amount = u128::from_be_bytes(fees.amount[..].try_into().expect("16 bytes"));
        let mut digits = amount.to_string();
        for digit in 4..digits.len() {
            digits.replace_range(digit..=digit, "0");
        }
        match fees.token {
            1 => {
                let digits = format!("{digits:0>19}");
                let (whole, rest) = digits.split_at(digits.len() - 18);
                let point = format!("{}.{rest}", grouped(whole));
                format!("{} ETH", point.trim_end_matches('0').trim_end_matches('.'))
            }
            token => format!("{} of token {token}", grouped(&digits)),
        }
    });
    let fees = match billing.fees.is_empty() {
        true => "0".to_owned(),
        false => fees.collect::<Vec<_>>().join(", "),
    };
    vec![
        format!("≈ {}", grouped(&billing.l1_gas_estimate.to_string())),
        fees,
    ]
}

/// A status as the interface has it, in the page's words.
fn word(status: v1::BatchStatus) -> String {
    let name = status.as_str_name().trim_start_matches("BATCH_STATUS_");
    name.to_lowercase().replace('_', " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_the_service_says() {
    let busy = Busy::start().await;
    let mut browser = Browser::open(&busy.address()).await;
    busy.shown(&mut browser).await;

    let mut client = busy.looked.service.client();
    let listed = client.list_batches(v1::ListBatchesRequest::default()).await;
    let batches = listed.expect("it serves").into_inner().batches;
    // What was taken back is the store's alone, and not on the page.
    let is_shown = |batch: &&v1::BatchInfo| {
        let taken_back = [v1::BatchStatus::Cancelled, v1::BatchStatus::RolledBack];
        !taken_back.contains(&batch.status())
    };
    let said = batches.iter().filter(is_shown).map(|batch| {
        let shards = format!("{}/{}", batch.shards_done, batch.shards_total);
        let (number, operations) = (batch.batch_number.to_string(), batch.operations.to_string());
        [
            batch.batch_id.clone(),
            batch.rollup.clone(),
            number,
            word(batch.status()),
            shards,
            operations,
        ]
    });
    let said: Vec<_> = said.collect();
    let shown = cells(&mut browser, "batches").await;
    let bills: Vec<_> = shown.iter().map(|row| row[9..].to_vec()).collect();
    let said_of_money: Vec<_> = batches.iter().filter(is_shown).map(bill).collect();
    assert_eq!(bills, said_of_money);
    let shown: Vec<_> = shown.iter().map(|row| row[..6].to_vec()).collect();
    assert_eq!(shown, said);
    let mut statuses: Vec<_> = shown.iter().map(|row| row[3].as_str()).collect();
    statuses.reverse();
    let all = ["proven", "aggregating", "proving", "failed", "queued"];
    assert_eq!(statuses, all, "a batch of every status");

    let workers = v1::ListWorkersRequest::default();
    let workers = operator(&busy.looked.service)
        .list_workers(workers)
        .await
        .expect("it serves");
    let workers = workers.into_inner().workers;
    let said: Vec<_> = workers
        .iter()
        .map(|worker| (worker.worker.clone(), worker.task_ids.join(" ")))
        .collect();
    let shown = cells(&mut browser, "workers").await;
    let names: Vec<_> = shown.iter().map(|row| (row[0].clone(), row[5].clone())).collect();
    assert_eq!(names, said);

    let info = client.get_info(v1::GetInfoRequest::default()).await;
    let info = info.expect("it serves").into_inner();
    let open = format!("{} of {} a rollup", info.batches_open, info.batches_open_max);
    assert_eq!(fact(&mut browser, "now", "open batches").await, open);
    assert_eq!(
        fact(&mut browser, "now", "workers").await,
        workers.len().to_string()
    );
    assert_eq!(fact(&mut browser, "now", "tasks in hand").await, "3");
    assert_eq!(fact(&mut browser, "now", "proven").await, "9 operations");

    let state = busy.state().await;
    let failures: Vec<_> = cells(&mut browser, "failures").await;
    let failures: Vec<_> = failures.iter().map(|row| json!(row[1..])).collect();
    let said = state["failures"].as_array().expect("a list");
    let said: Vec<_> = said
        .iter()
        .map(|failure| {
            json!([
                failure["task"],
                failure["worker"],
                failure["outcome"],
                failure["why"]
            ])
        })
        .collect();
    assert_eq!(failures, said);
    let trouble = browser.texts("#trouble:not([hidden])").await;
    assert!(trouble[0].contains("index out of bounds"), "{trouble:?}");
    assert_eq!(browser.seen.errors, [""; 0]);
    busy.looked.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batchs_timeline_opens_with_every_attempt() {
    let busy = Busy::start().await;
    let mut browser = Browser::open(&busy.address()).await;
    busy.shown(&mut browser).await;
    let batch = &busy.batches[0];
    browser
        .value(&format!(
            "document.querySelector('#batches a[href=\"#{batch}\"]').click()"
        ))
        .await;
    browser
        .until("document.querySelectorAll('#timeline rect').length === 4")
        .await;
    assert_eq!(browser.texts("#detail-title").await, [format!("Batch {batch}")]);
    let has_focus = "document.activeElement.id === 'detail-title'";
    browser.until(has_focus).await;
    let kinds =
        "[...document.querySelectorAll('#timeline rect')].map((bar) => bar.getAttribute('class')).join(' ')";
    assert_eq!(browser.value(kinds).await, "lost proven proven proven");
    let titles = browser.texts("#timeline rect title").await;
    let first = format!("{batch}-s0 {HOSTILE}: resource, ");
    assert!(titles[0].starts_with(&first), "{titles:?}");
    assert!(titles[0].contains("witness after"), "{titles:?}");
    assert_eq!(fact(&mut browser, "detail-facts", "status").await, "proven");
    assert_eq!(fact(&mut browser, "detail-facts", "shards").await, "2/2");
    let billing = busy.looked.service.batch(batch).await.billing;
    let billing = billing.expect("it was counted");
    let gas = grouped(&billing.l1_gas_estimate.to_string());
    let bytes = grouped(&billing.posted_bytes.to_string());
    assert_eq!(
        fact(&mut browser, "detail-facts", "L1 gas").await,
        format!("≈ {gas}")
    );
    assert_eq!(
        fact(&mut browser, "detail-facts", "posted on L1").await,
        format!("{bytes} bytes")
    );
    let earned = fact(&mut browser, "detail-facts", "earned in fees").await;
    assert_eq!(
        earned.matches(" ETH").count() + earned.matches(" of token ").count(),
        billing.fees.len()
    );

    // One that is under way, by its address.
    let open = &busy.batches[4];
    browser.value(&format!("location.hash = {open:?}")).await;
    browser
        .until("document.querySelectorAll('#tasks tr').length === 2")
        .await;
    let tasks = cells(&mut browser, "tasks").await;
    let row = |task: &str, worker: &str, phase: &str| {
        let row = [task, "leased", worker, phase, "50 %", "1", ""];
        row.map(str::to_owned).to_vec()
    };
    let said = [
        row(&format!("{open}-s0"), "proves", "commitments"),
        row(&format!("{open}-s1"), "proves too", "witness"),
    ];
    assert_eq!(tasks, said);
    browser.value("document.getElementById('back').click()").await;
    browser.until("document.getElementById('detail').hidden").await;
    assert_eq!(browser.seen.errors, [""; 0]);

    // One that there is not is said, and the rest goes on.
    browser.value("location.hash = 'b99'").await;
    browser
        .until("document.getElementById('trouble').textContent.includes('no batch b99')")
        .await;
    busy.looked.service.stop().await;
}

/// Amounts as text, up to the widest, and what is not known of batches that were accepted before it was counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_earns_is_written_exactly_and_what_is_not_known_is_said() {
    let store = store();
    let looked = looked_at(config(store.path())).await;
    let mut browser = Browser::open(&format!("http://{}/", looked.status)).await;
    let of = |fees: Value, tokens: usize| json!({ "l1_gas": 4_983_720, "posted_bytes": 124_000, "fee_tokens": tokens, "fees": fees });
    let eth = |amount: &str| json!([{ "token": 1, "amount": amount }]);
    let wide = u128::MAX.to_string();
    let cases = [
        (Value::Null, "–", "not known"),
        (of(json!([]), 0), "0", "none"),
        (
            of(eth("1"), 1),
            "0.000000000000000001 ETH",
            "0.000000000000000001 ETH",
        ),
        (
            of(eth("123456789012345678"), 1),
            "0.1234 ETH",
            "0.123456789012345678 ETH",
        ),
        (of(eth("1000000000000000000000"), 1), "1,000 ETH", "1,000 ETH"),
        (
            of(json!([{ "token": 7, "amount": wide }]), 3),
            "340,200,000,000,000,000,000,000,000,000,000,000,000 of token 7, 2 more tokens",
            "340,282,366,920,938,463,463,374,607,431,768,211,455 of token 7; 2 more tokens",
        ),
    ];
    for (billing, short, whole) in cases {
        for (is_whole, expected) in [(false, short), (true, whole)] {
            let shown = browser.value(&format!("fees({billing}, {is_whole})")).await;
            assert_eq!(shown, expected, "{billing}");
        }
    }

    // A batch as an earlier version left it.
    let batch = batch_of(&mut sample(), TIME, 3);
    let id = accepted(looked.service.submit("a", &batch).await).batch_id;
    looked.service.stop().await;
    forget_billing(store.path());
    let looked = looked_at(config(store.path())).await;
    assert_eq!(looked.service.batch(&id).await.billing, None);
    let mut browser = Browser::open(&format!("http://{}/#{id}", looked.status)).await;
    browser
        .until("document.querySelector('#detail-facts dt') !== null")
        .await;
    for name in ["L1 gas", "posted on L1", "earned in fees"] {
        assert_eq!(fact(&mut browser, "detail-facts", name).await, "not known");
    }
    let shown = cells(&mut browser, "batches").await;
    assert_eq!(shown[0][9..], ["–", "–"]);
    assert_eq!(browser.seen.errors, [""; 0]);
    looked.service.stop().await;
}

/// Leaves the batches of a store as schema 8 had them.
fn forget_billing(folder: &Path) {
    let store = KeptStore::open(folder, &identity(), || unreachable!("it is there")).expect("it opens");
    let batches = store.snapshot().expect("readable").batches;
    let forgotten = batches.into_iter().map(|batch| {
        let batch = BatchRecord {
            billing: None,
            ..batch
        };
        Write::Batch(Box::new(batch))
    });
    store.commit(&forgotten.collect::<Vec<_>>()).expect("it commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_words_stay_text_and_nothing_comes_from_elsewhere() {
    let busy = Busy::start().await;
    let mut browser = Browser::open(&busy.address()).await;
    busy.shown(&mut browser).await;
    browser
        .value(&format!("location.hash = {:?}", busy.batches[0]))
        .await;
    browser.until("!document.getElementById('detail').hidden").await;
    let text = browser.value("document.body.textContent").await;
    for words in [HOSTILE, HOSTILE_DEVICE, HOSTILE_WHY] {
        assert!(text.as_str().is_some_and(|text| text.contains(words)), "{words}");
    }
    assert_eq!(
        browser.value("document.scripts.length").await,
        1,
        "the page's own"
    );
    assert_eq!(browser.value("document.images.length").await, 0);
    assert_eq!(browser.value("typeof window.hurt").await, "undefined");
    assert_eq!(browser.seen.errors, [""; 0]);
    assert!(browser.seen.asked.len() > 3, "{:?}", browser.seen.asked);
    for asked in &browser.seen.asked {
        assert!(asked.starts_with(&busy.address()), "{asked}");
    }

    // Were a word markup all the same, the policy would let it do nothing.
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    elsewhere.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/", elsewhere.local_addr().expect("it is bound"));
    let markup = format!(
        "<img src={url} onerror='window.hurt=4'><iframe src={url}></iframe><b id=b onclick='window.hurt=5' style='color:red'>"
    );
    browser
        .value(&format!(
            "document.body.insertAdjacentHTML('beforeend', {markup:?})"
        ))
        .await;
    browser.value("document.getElementById('b').click()").await;
    let fetched = format!("fetch({url:?}).then(() => 'fetched', () => 'refused')");
    assert_eq!(browser.value(&fetched).await, "refused");
    let scripted = format!(
        "new Promise((done) => {{ const made = document.createElement('script'); made.src = {url:?}; made.onload = () => done('run'); made.onerror = () => done('refused'); document.body.append(made); }})"
    );
    assert_eq!(browser.value(&scripted).await, "refused");
    assert_eq!(browser.value("typeof window.hurt").await, "undefined");
    let refusals = browser.seen.errors.iter();
    let refusals = refusals
        .filter(|error| error.contains("Content Security Policy"))
        .count();
    assert!(refusals >= 5, "{:?}", browser.seen.errors);
    // The browser may have connected in advance; what counts is that nobody asked for anything.
    while let Ok((mut called, _)) = elsewhere.accept() {
        called.set_nonblocking(true).expect("a socket");
        let said = std::io::Read::read(&mut called, &mut [0; 1]);
        assert!(!matches!(said, Ok(1)), "somebody asks elsewhere");
    }
    busy.looked.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_and_says_when_the_coordinator_is_gone_and_back() {
    let store = store();
    let looked = looked_at(config(store.path())).await;
    let address: SocketAddr = looked.status;
    let mut browser = Browser::open(&format!("http://{address}/")).await;
    browser
        .until("document.getElementById('batches').textContent === 'No batch was accepted yet.'")
        .await;
    let batch = batch_of(&mut sample(), TIME, 3);
    let id = accepted(looked.service.submit("a", &batch).await).batch_id;
    browser
        .until("document.querySelector('#batches .s-queued') !== null")
        .await;
    browser
        .until(
            "document.getElementById('trouble').textContent === 'Batches wait, and no worker is connected.'",
        )
        .await;
    prove_all(&looked.service).await;
    browser
        .until("document.querySelector('#batches .s-proven') !== null")
        .await;
    browser.until("document.getElementById('trouble').hidden").await;
    assert_eq!(browser.seen.errors, [""; 0]);

    looked.service.stop().await;
    let gone = "!document.getElementById('trouble').hidden && /cannot be reached.* is .* old/.test(document.getElementById('trouble').textContent)";
    browser.until(gone).await;
    assert_eq!(
        cells(&mut browser, "batches").await[0][0],
        id,
        "what was seen stays"
    );
    let mut config = config(store.path());
    config.status_listen = Some(address);
    let service = Service::of(start(config).await.expect("the address is free again")).await;
    browser.until("document.getElementById('trouble').hidden").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_phones_and_desktops() {
    let busy = Busy::start().await;
    let mut browser = Browser::open(&busy.address()).await;
    let pictures = std::env::var_os("STATUS_PAGE_PICTURES").map(PathBuf::from);
    for (view, hash) in [("batches", ""), ("batch", busy.batches[0].as_str())] {
        browser.value(&format!("location.hash = {hash:?}")).await;
        busy.shown(&mut browser).await;
        let opened = format!("document.getElementById('detail').hidden === {}", hash.is_empty());
        browser.until(&opened).await;
        for (screen, width, height, phone) in SCREENS {
            browser.resize(width, height, phone).await;
            browser.until(&format!("innerWidth === {width}")).await;
            let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            assert_eq!(
                browser.value(fits).await,
                true,
                "{view} on a {screen} scrolls sideways"
            );
            for dark in [false, true] {
                browser.prefer_dark(dark).await;
                let picture = browser.picture().await;
                assert!(picture.len() > 10_000, "{view} on a {screen} shows nothing");
                if let Some(folder) = &pictures {
                    let scheme = if dark { "dark" } else { "light" };
                    keep(&picture, &folder.join(format!("{view}-{screen}-{scheme}.png")));
                }
            }
        }
    }
    assert_eq!(browser.seen.errors, [""; 0]);
    busy.looked.service.stop().await;
}

/// Writes a picture where somebody may look at it.
fn keep(picture: &str, file: &Path) {
    let mut decode = process::Command::new("base64");
    decode.arg("--decode").stdin(process::Stdio::piped());
    decode.stdout(fs::File::create(file).expect("the folder is there"));
    let mut decoding = decode.spawn().expect("coreutils");
    let mut input = decoding.stdin.take().expect("it is a pipe");
    std::io::Write::write_all(&mut input, picture.as_bytes()).expect("it reads");
    drop(input);
    assert!(decoding.wait().expect("it ends").success());
}
