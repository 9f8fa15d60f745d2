//! Spans of work: what began when, under what, and how it ended, for a collector that speaks OpenTelemetry's protocol (OTLP).
//!
//! Whoever tells a span never waits: there is a queue of [`SPANS_MAX`], and what finds no place in it is counted and dropped. What a
//! collector does, or does not, holds up nothing.

mod export;

pub use export::{Endpoint, EndpointError, Exporter};

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

/// Spans that may wait to be sent.
pub const SPANS_MAX: usize = 4_096;
/// Most characters of an attribute or an error.
const WORDS_MAX: usize = 1_024;

/// One trace: all that belongs to one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// One span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// A span as other processes are told of it: in the form of W3C's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub span: SpanId,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent")]
pub struct NoContext;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name in other processes.
    pub context: Context,
    /// The span that it is a part of; none for a trace's first.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: &'static str,
    /// When it began, nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// When it ended, likewise.
    pub ended_ns: u64,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it came to nothing, if it did.
    pub error: Option<String>,
}

/// Takes spans, or drops them all where nobody is to be told. Clones are of one queue.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: AtomicU64,
}

impl Traces {
    /// A queue, and where its spans come out.
    pub fn queue() -> (Self, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(SPANS_MAX);
        let dropped = AtomicU64::new(0);
        (Self(Some(Arc::new(Queue { spans, dropped }))), receiver)
    }

    /// Whether spans are taken.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a span.
    pub fn tell(&self, span: Span) {
        if let Some(queue) = &self.0
            && queue.spans.try_send(span).is_err()
        {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans that nobody was told of, so far.
    pub fn dropped(&self) -> u64 {
        let queue = self.0.as_ref();
        queue.map_or(0, |queue| queue.dropped.load(Ordering::Relaxed))
    }

    fn drop_some(&self, spans: u64) {
        if let Some(queue) = &self.0 {
            queue.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

impl Span {
    /// A part of another span, which began and ended then.
    pub fn part_of(whole: Context, name: &'static str, began_ns: u64, ended_ns: u64) -> Self {
        Self {
            context: Context {
                trace: whole.trace,
                span: SpanId::draw(),
            },
            parent: Some(whole.span),
            name,
            began_ns,
            ended_ns,
            attributes: Vec::new(),
            error: None,
        }
    }

    /// With something that is known of it.
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.push((name, shortened(&value.to_string())));
        self
    }

    /// That it came to nothing.
    pub fn failed(mut self, why: &str) -> Self {
        self.error = Some(shortened(why));
        self
    }
}

impl SpanId {
    /// One that nobody else has.
    pub fn draw() -> Self {
        Self(rand::random::<u64>().max(1).to_be_bytes())
    }
}

/// Now, nanoseconds since the Unix epoch.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(f, &self.0)
    }
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

impl FromStr for Context {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Self, NoContext> {
        let rest = text.strip_prefix("00-").ok_or(NoContext)?;
        let (trace, rest) = rest.split_once('-').ok_or(NoContext)?;
        let (span, flags) = rest.split_once('-').ok_or(NoContext)?;
        let (trace, span) = (bytes::<16>(trace)?, bytes::<8>(span)?);
        bytes::<1>(flags)?;
        // W3C has all zeros for none.
        if trace == [0; 16] || span == [0; 8] {
            return Err(NoContext);
        }
        Ok(Self {
            trace: TraceId(trace),
            span: SpanId(span),
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], NoContext> {
    let is_lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() != 2 * N || !text.bytes().all(is_lower) {
        return Err(NoContext);
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NoContext)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_reads_as_it_is_written_and_others_are_none() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context: Context = text.parse().unwrap();
        assert_eq!(context.to_string(), text);
        for other in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-\u{e4}af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(other.parse::<Context>(), Err(NoContext), "{other}");
        }
    }

    #[test]
    fn a_full_queue_drops_what_comes_and_counts_it() {
        let (traces, _receiver) = Traces::queue();
        let whole = Context {
            trace: TraceId([1; 16]),
            span: SpanId([2; 8]),
        };
        for _ in 0..SPANS_MAX + 3 {
            traces.tell(Span::part_of(whole, "x", 1, 2).failed(&"\u{e4}".repeat(5_000)));
        }
        assert_eq!(traces.dropped(), 3);
        let off = Traces::default();
        off.tell(Span::part_of(whole, "x", 1, 2));
        assert!(!off.is_on() && off.dropped() == 0);
    }
}
