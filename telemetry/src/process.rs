//! What this process takes of its machine.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::metric::{Kind, Metric};
use crate::page::Page;

/// Processor time of the process, under the name that dashboards know.
pub static PROCESSOR: Metric = Metric {
    name: "process_cpu_seconds",
    kind: Kind::Counter,
    unit: "seconds",
    labels: &[],
    help: "Processor time that the process has used, in all threads",
};
/// Resident memory of the process.
pub static RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: "bytes",
    labels: &[],
    help: "Memory of the process that is in use",
};
/// Open file descriptors of the process.
pub static OPEN_FILES: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: "descriptors",
    labels: &[],
    help: "File descriptors that the process has open",
};
/// When the process began.
pub static STARTED: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: "seconds",
    labels: &[],
    help: "When the process began to count, Unix seconds",
};

/// All of them.
pub static METRICS: [&Metric; 4] = [&PROCESSOR, &RESIDENT, &OPEN_FILES, &STARTED];

/// Tells what this process takes.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    started_unix_s: f64,
}

impl Process {
    /// Of this process, which begins now.
    pub fn begun() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_s: since.as_secs_f64(),
        }
    }

    /// Adds its numbers of now to a page. What the system does not tell is left out.
    pub fn add_to(self, page: &mut Page) {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        page.number(&PROCESSOR, &[], seconds);
        if let Some(bytes) = resident_bytes() {
            page.number(&RESIDENT, &[], bytes as f64);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            page.number(&OPEN_FILES, &[], open.count() as f64);
        }
        page.number(&STARTED, &[], self.started_unix_s);
    }
}

/// Memory of this process that is in use.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_of() {
        let mut page = Page::default();
        Process::begun().add_to(&mut page);
        let text = page.to_text();
        for metric in METRICS {
            let name = metric.full_name();
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = value
                .unwrap_or_else(|| panic!("{name} in {text}"))
                .parse()
                .unwrap();
            assert!(value > 0.0, "{name}");
        }
    }
}
