//! Progress of long work: bars on a terminal, one log line for each step elsewhere.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::output;

/// Where progress is shown.
#[derive(Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Bars when standard error is a terminal, log lines otherwise.
    pub fn for_stderr() -> Self {
        Self {
            bars: io::stderr().is_terminal().then(MultiProgress::new),
        }
    }

    /// Whether bars are drawn; logs are then kept to warnings, since the bars say the rest.
    pub fn is_drawn(&self) -> bool {
        self.bars.is_some()
    }

    /// Begins a step whose length is not known.
    pub fn step(&self, title: impl Into<String>) -> Step {
        self.begin(title.into(), None)
    }

    /// Begins a step of `total` parts.
    pub fn counted(&self, title: impl Into<String>, total: u64) -> Step {
        self.begin(title.into(), Some(total))
    }

    fn begin(&self, title: String, total: Option<u64>) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::new_spinner(),
            });
            let template = match total {
                Some(_) => "  {prefix:<24} [{bar:30}] {pos}/{len} {elapsed} {msg}",
                None => "  {prefix:<24} {spinner} {elapsed} {msg}",
            };
            let style = ProgressStyle::with_template(template).expect("a constant template is well formed");
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            tracing::info!(step = %title, total, "begin");
        }
        Step {
            title,
            total,
            done: 0,
            note: String::new(),
            bar,
            started: Instant::now(),
        }
    }

    /// A writer for log lines that does not tear the bars.
    pub fn writer(&self) -> LogWriter {
        LogWriter {
            bars: self.bars.clone(),
        }
    }

    /// Prints a line for a person, on standard error, above the bars.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| output::tell(line)),
            None => tracing::info!("{line}"),
        }
    }
}

/// A step in progress. Dropping it unfinished removes its bar.
pub struct Step {
    title: String,
    total: Option<u64>,
    done: u64,
    note: String,
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Step {
    /// Says how many parts are done, and what is being done. Repeating what was said shows nothing new.
    pub fn set(&mut self, done: u64, note: impl Into<String>) {
        let note = note.into();
        if done == self.done && note == self.note {
            return;
        }
        (self.done, self.note) = (done, note);
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(self.note.clone());
            }
            None => match self.total {
                Some(total) => tracing::info!(step = %self.title, done, total, "{}", self.note),
                None => tracing::info!(step = %self.title, "{}", self.note),
            },
        }
    }

    /// Ends the step; returns how long it took.
    pub fn finish(self, note: &str) -> Duration {
        let took = self.started.elapsed();
        match &self.bar {
            Some(bar) => {
                if let Some(total) = self.total {
                    bar.set_position(total);
                }
                bar.finish_with_message(note.to_string());
            }
            None => tracing::info!(step = %self.title, seconds = took.as_secs_f64(), "{note}"),
        }
        took
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar
            && !bar.is_finished()
        {
            bar.finish_and_clear();
        }
    }
}

/// Writes log lines to standard error, lifting the bars out of the way for each.
#[derive(Clone)]
pub struct LogWriter {
    bars: Option<MultiProgress>,
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let told = on_one_line(line);
        let write = || io::stderr().write_all(&told);
        // Whoever reads the log may be gone, and its disk full: the service goes on without.
        let _ = match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Standard error has no buffer.
        Ok(())
    }
}

/// An event as one line, whatever texts of others are in it: what a line break would begin, nobody has logged.
fn on_one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len());
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.push(*other),
        }
    }
    line.extend_from_slice(&event[text.len()..]);
    Cow::Owned(line)
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, line) in [
            (&b"one\n"[..], &b"one\n"[..]),
            (
                b"a worker said bad\nINFO fake\n",
                b"a worker said bad\\nINFO fake\n",
            ),
            (b"a\r\nb", b"a\\r\\nb"),
            (b"\n\n", b"\\n\n"),
            (b"", b""),
        ] {
            assert_eq!(&*on_one_line(event), line);
        }
    }
}
