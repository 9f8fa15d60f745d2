//! What Linux tells under `/proc` of the machine and its processes. None where it does not tell.

use std::fs;

/// An amount of `/proc/meminfo`, such as `MemTotal`, in bytes.
pub fn memory_bytes(name: &str) -> Option<u64> {
    bytes(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// The name of the machine's first processor.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    field(&text, "model name").map(str::to_owned)
}

/// The machine's name in the network.
pub fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The processes that there are.
pub fn process_ids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// What is told of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// It has ended, and its parent has not asked how.
    pub is_zombie: bool,
    /// The process that started it, or that took it over.
    pub parent: u32,
    /// Processor time that it has used in all its threads, in clock ticks (usually 10 ms).
    pub cpu_ticks: u64,
}

impl Process {
    /// The process of that id, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command's name, in parentheses, may hold spaces and parentheses; state, parent and, as fields 14 and 15 of the
    /// line, time in user and in kernel mode follow it.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            is_zombie: *fields.first()? == "Z",
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: number(11)?.checked_add(number(12)?)?,
        })
    }
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    /// In use now, bytes.
    pub now_bytes: u64,
    /// The most that was in use so far, bytes.
    pub peak_bytes: u64,
}

impl ProcessMemory {
    /// The memory of the process of that id, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            now_bytes: bytes(&status, "VmRSS")?,
            peak_bytes: bytes(&status, "VmHWM")?,
        })
    }
}

/// A line `name: value`, as several of the files have them.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map(str::trim)
}

/// Such a line that holds kibibytes.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_kibibytes() {
        assert_eq!(
            bytes("MemFree:    1 kB\nMemTotal:       1024 kB\n", "MemTotal"),
            Some(1 << 20)
        );
        assert_eq!(bytes("MemTotal:       x kB\n", "MemTotal"), None);
        assert_eq!(bytes("MemTotal:       1\n", "MemTotal"), None);
        assert_eq!(bytes("MemTotal:  18446744073709551615 kB\n", "MemTotal"), None);
        assert_eq!(bytes("MemTotals:  1 kB\n", "MemTotal"), None);
        assert_eq!(bytes("", "MemTotal"), None);
    }

    #[test]
    fn a_processors_name_stands_behind_a_tabulator() {
        let text = "processor\t: 0\nmodel name\t: Some: CPU \nmodel\t: 1\n";
        assert_eq!(field(text, "model name"), Some("Some: CPU"));
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let text = "7 (a) R 1 (b) Z 42 7 7 0 -1 0 1 2 3 4 50 60 0 0 20 0";
        let process = Process::parse(text).unwrap();
        assert_eq!(
            process,
            Process {
                is_zombie: true,
                parent: 42,
                cpu_ticks: 110
            }
        );
        assert_eq!(Process::parse("7 (a) R 1"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn this_process_and_its_machine_are_told_of() {
        let pid = std::process::id();
        let process = Process::of(pid).expect("this process");
        assert!(!process.is_zombie);
        assert!(process_ids().contains(&pid));
        let memory = ProcessMemory::of(pid).expect("its memory");
        assert!(memory.peak_bytes > 0);
        assert!(memory_bytes("MemAvailable").unwrap() <= memory_bytes("MemTotal").unwrap());
        assert_eq!(Process::of(0), None, "there is no such process");
        assert_eq!(ProcessMemory::of(0), None);
    }
}
