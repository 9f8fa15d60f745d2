//! An endpoint on loopback that stands before an anvil, and does to its questions and answers what a test asks for.

use std::{future, sync::Arc};

use alloy::transports::http::reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What becomes of a question.
#[allow(dead_code)] // Each test file that has this module uses some of them.
pub enum Verdict {
    /// It is anvil's to answer.
    Forward,
    /// Anvil's answer, changed.
    Change(Box<dyn FnOnce(&mut Value) + Send>),
    /// This result.
    Answer(Value),
    /// This error of JSON-RPC.
    Refuse(&'static str),
    /// These bytes for an answer; then the connection ends.
    Raw(Vec<u8>),
    /// Anvil gets it, its answer is lost.
    Lose,
    /// There is never an answer.
    Hang,
}

/// Gets the method and the whole request: an object, or an array of them (with the methods joined by commas).
pub type Rule = dyn Fn(&str, &Value) -> Verdict + Send + Sync;

/// The endpoint. Dropping it ends it.
pub struct Proxy {
    url: String,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(
        upstream: &str,
        rule: impl Fn(&str, &Value) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let upstream = upstream.to_owned();
        let rule: Arc<Rule> = Arc::new(rule);
        let task = tokio::spawn(async move {
            let client = Client::new();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, client.clone(), upstream.clone(), rule.clone()));
            }
        });
        Self { url, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, client: Client, upstream: String, rule: Arc<Rule>) {
    let mut stream = BufReader::new(stream);
    while let Some(question) = read(&mut stream).await {
        let forward = async || -> Value {
            let asked = client.post(&upstream).json(&question).send().await;
            asked.expect("anvil is there").json().await.expect("JSON")
        };
        let answer = match rule(&methods(&question), &question) {
            Verdict::Forward => forward().await,
            Verdict::Change(change) => {
                let mut answer = forward().await;
                change(&mut answer);
                answer
            }
            Verdict::Answer(result) => json!({"jsonrpc": "2.0", "id": question["id"], "result": result}),
            Verdict::Refuse(message) => refuse(&question, message),
            Verdict::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Verdict::Lose => {
                forward().await;
                return;
            }
            Verdict::Hang => future::pending().await,
        };
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

fn refuse(question: &Value, message: &str) -> Value {
    let one = |question: &Value| json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32000, "message": message}});
    match question.as_array() {
        Some(batch) => batch.iter().map(one).collect(),
        None => one(question),
    }
}

fn methods(question: &Value) -> String {
    let of = |question: &Value| question["method"].as_str().unwrap_or_default().to_owned();
    match question.as_array() {
        Some(batch) => batch.iter().map(of).collect::<Vec<_>>().join(","),
        None => of(question),
    }
}

/// The next request's body; none when the client has gone.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}
