//! A browser of a test's own: Chromium without a screen, driven by its DevTools protocol over a pipe.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Names of the program, the distributions' own and Google's.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Longer than any answer takes; a browser that takes this long is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const EVERY: Duration = Duration::from_millis(50);

/// What a page has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every address that was asked for.
    pub asked: Vec<String>,
    /// Everything on its console, refusals by its policy and exceptions included.
    pub errors: Vec<String>,
}

/// One page in a browser, which ends when it is dropped.
pub(super) struct Browser {
    _process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _profile: TempDir,
    session: String,
    last_id: u64,
    pub seen: Seen,
}

impl Browser {
    /// Opens an address. The browser reaches this machine alone.
    pub(super) async fn open(address: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut process = command(&program(), profile.path())
            .spawn()
            .expect("the browser starts");
        let mut browser = Self {
            commands: process.stdin.take().expect("it is a pipe"),
            answers: BufReader::new(process.stdout.take().expect("it is a pipe")),
            _process: process,
            _profile: profile,
            session: String::new(),
            last_id: 0,
            seen: Seen::default(),
        };
        let target = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.seen = Seen::default();
        browser.call("Page.navigate", json!({ "url": address })).await;
        browser
            .until("document.readyState === 'complete' && location.href !== 'about:blank'")
            .await;
        browser
    }

    /// What an expression of the page's has for a value, once its promise is kept.
    pub(super) async fn value(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", ask).await;
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(super) async fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.value(expression).await != true {
            assert!(
                began.elapsed() < PATIENCE,
                "{expression} does not become true; the page says:\n{}",
                self.value("document.body.innerText").await
            );
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The text of what a selector finds, each.
    pub(super) async fn texts(&mut self, selector: &str) -> Vec<String> {
        let each = format!("[...document.querySelectorAll({selector:?})].map((found) => found.textContent)");
        serde_json::from_value(self.value(&each).await).expect("texts")
    }

    /// Makes the page as wide as a phone's or a desktop's, in pixels of its style.
    pub(super) async fn resize(&mut self, width: u32, height: u32, phone: bool) {
        let screen = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": if phone { 2 } else { 1 },
            "mobile": phone,
        });
        self.call("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Whether the browser says that its user prefers dark pages.
    pub(super) async fn prefer_dark(&mut self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// The whole page as a picture in the format PNG, base64.
    pub(super) async fn picture(&mut self) -> String {
        let how = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", how).await;
        answer["data"].as_str().expect("a picture").to_owned()
    }

    /// The answer of a command.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .await
            .expect("the browser is there");
        let answered = tokio::time::timeout(PATIENCE, self.answer(self.last_id)).await;
        let answer = answered.unwrap_or_else(|_| panic!("no answer to {command}"));
        assert!(answer["error"].is_null(), "{command}: {}", answer["error"]);
        answer["result"].clone()
    }

    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut bytes = Vec::new();
            self.answers.read_until(0, &mut bytes).await.expect("a pipe");
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            if message["id"] == id {
                return message;
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.seen.asked.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => self.seen.errors.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" => self.seen.errors.push(params["args"].to_string()),
            "Log.entryAdded" if params["entry"]["level"] != "verbose" => {
                self.seen.errors.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
    }
}

fn command(program: &Path, profile: &Path) -> Command {
    // The pipe's ends are descriptors 3 and 4 of the browser.
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#]);
    command.arg(program).args([
        "--headless",
        "--remote-debugging-pipe",
        // Its own sandbox wants what containers and root do not have; it opens the tests' pages alone.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).kill_on_drop(true);
    command
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let everywhere = PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut found = everywhere.filter(|program| program.is_file());
    found.next().unwrap_or_else(|| {
        panic!(
            "Chromium is missing ({} on PATH); on Debian: apt-get install chromium",
            PROGRAMS.join(", ")
        )
    })
}
