//! How much memory this process may use.
//!
//! A container's `/proc/meminfo` tells of the whole machine, so the control group's limits are read too; the
//! lowest counts.

use std::fs;
use std::path::{Path, PathBuf};

use accel::machine::memory_bytes;

/// Memory of the machine or of the tightest control group around this process, bytes.
///
/// None when neither can be read.
pub fn limit_bytes() -> Option<u64> {
    [
        memory_bytes("MemTotal"),
        group_directories().iter().filter_map(|group| group.limit()).min(),
    ]
    .into_iter()
    .flatten()
    .min()
}

/// Memory that is free now for this process: the machine's available memory, or what the tightest control
/// group leaves, bytes. Page cache counts as free in both.
pub fn available_bytes() -> Option<u64> {
    let groups = group_directories().iter().filter_map(Group::available).min();
    [memory_bytes("MemAvailable"), groups].into_iter().flatten().min()
}

/// A control group's directory and the names that its version gives to the files.
struct Group {
    directory: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl Group {
    fn limit(&self) -> Option<u64> {
        // Version 2 says "max", version 1 a number near 2^63, when there is no limit.
        let limit: u64 = fs::read_to_string(self.directory.join(self.limit))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        (limit < 1 << 60).then_some(limit)
    }

    fn available(&self) -> Option<u64> {
        let usage: u64 = fs::read_to_string(self.directory.join(self.usage))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        // The kernel takes inactive page cache back before it refuses memory.
        let cache = fs::read_to_string(self.directory.join("memory.stat"))
            .ok()
            .and_then(|stat| {
                stat.lines()
                    .find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok())
            });
        Some(
            self.limit()?
                .saturating_sub(usage.saturating_sub(cache.unwrap_or(0))),
        )
    }
}

/// The control groups around this process, of either version, innermost first.
fn group_directories() -> Vec<Group> {
    groups_in(
        &fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        Path::new("/sys/fs/cgroup"),
    )
}

fn groups_in(membership: &str, root: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (base, limit, usage) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max", "memory.current")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (
                root.join("memory"),
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        } else {
            continue;
        };
        // Inside a container the path may be the host's and not exist here; then only the root's files do.
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            groups.push(Group {
                directory: base.join(ancestor),
                limit,
                usage,
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let limit = limit_bytes().expect("Linux says how much memory there is");
        assert!(limit > 64 << 20, "{limit}");
        assert!(available_bytes().expect("and how much is free") <= memory_bytes("MemTotal").unwrap());
    }

    #[test]
    fn the_tightest_group_of_either_version_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "1000\n");
        write("a/memory.current", "900\n");
        write("a/memory.stat", "anon 1\ninactive_file 300\n");
        write("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.limit_in_bytes", "700\n");

        let two = groups_in("0::/a/b\n", root.path());
        assert_eq!(two.iter().filter_map(Group::limit).min(), Some(1000));
        assert_eq!(two.iter().filter_map(Group::available).min(), Some(400));
        let one = groups_in("7:cpu:/c\n4:memory:/c\n", root.path());
        assert_eq!(one.iter().filter_map(Group::limit).min(), Some(700));
    }
}
