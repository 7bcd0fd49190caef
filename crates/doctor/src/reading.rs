//! Reads the facts of a host from `/proc` and `/sys`.

use std::fs;
use std::path::Path;

use crate::host::{Group, HostFacts, Limits, Memory};

/// Files that are there while a program keeps the clock by a time server.
const CLOCKS: [(&str, &str); 3] = [
    ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
    ("/run/chrony/chronyd.pid", "chrony"),
    ("/run/ntpd.pid", "ntpd"),
];

/// What is seen of this host, and of the process of this number.
#[must_use]
pub fn host(pid: u32, no_translation: Option<String>) -> HostFacts {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").ok();
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    HostFacts {
        no_translation,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        modules: modules.map(|text| text.trim().to_owned()),
        memory: memory(&text("/proc/meminfo")),
        steal_permille: steal(&text("/proc/stat")),
        processors: all as u64,
        group: group(&text(&format!("/proc/{pid}/cgroup")), Path::new("/sys/fs/cgroup")),
        limits: limits(&text(&format!("/proc/{pid}/limits"))),
        clock: CLOCKS
            .iter()
            .find(|(file, _)| Path::new(file).exists())
            .map(|(_, program)| *program),
    }
}

/// Reads `/proc/meminfo`.
fn memory(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    Memory {
        all: field("MemTotal"),
        available: field("MemAvailable"),
        swap: field("SwapTotal"),
        swap_free: field("SwapFree"),
    }
}

/// The share of the processors' time that others had, in thousandths: the eighth number of the first line of
/// `/proc/stat`, of all but those of guests, which are counted twice there.
fn steal(text: &str) -> u64 {
    let line = text.lines().next().unwrap_or_default();
    let times: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .flat_map(str::parse)
        .collect();
    let all: u64 = times.iter().sum();
    let stolen = times.get(7).copied().unwrap_or(0);
    stolen.saturating_mul(1_000).checked_div(all).unwrap_or(0)
}

/// The tightest limits of a process' control group and of those around it. `cgroup` is the text of
/// `/proc/PID/cgroup`, `root` where the groups are.
fn group(cgroup: &str, root: &Path) -> Group {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"));
    let mut tightest = Group::default();
    let Some(path) = path else {
        return tightest;
    };
    let own = root.join(path);
    for directory in own
        .ancestors()
        .take_while(|directory| directory.starts_with(root))
    {
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let memory = text("memory.max").trim().parse().ok();
        tightest.memory = smaller(tightest.memory, memory);
        let quota = text("cpu.max");
        let mut quota = quota.split_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(quota)), Some(Ok(period))) = (quota.next(), quota.next()) {
            let share = quota.saturating_mul(1_000).checked_div(period);
            tightest.processors_permille = smaller(tightest.processors_permille, share);
        }
    }
    tightest
}

fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Reads `/proc/PID/limits`, whose names have 26 places.
fn limits(text: &str) -> Limits {
    let soft = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.get(26..)?.split_whitespace().next()?.parse().ok()
    };
    Limits {
        files: soft("Max open files"),
        locked: soft("Max locked memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_it_writes_them() {
        let text =
            "MemTotal:       24576000 kB\nMemAvailable:   20000000 kB\nSwapTotal: 8 kB\nSwapFree: 4 kB\n";
        let seen = memory(text);
        assert_eq!((seen.all, seen.available), (24_576_000 << 10, 20_000_000 << 10));
        assert_eq!((seen.swap, seen.swap_free), (8 << 10, 4 << 10));
        assert_eq!(steal("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1"), 100);
        assert_eq!(steal(""), 0);
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        let seen = limits(text);
        assert_eq!((seen.files, seen.locked), (Some(1_024), None));
    }

    #[test]
    fn the_tightest_of_the_groups_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("outer/inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.path().join("outer/memory.max"), "1048576\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(inner.join("cpu.max"), "150000 100000\n").unwrap();
        fs::write(root.path().join("outer/cpu.max"), "max 100000\n").unwrap();
        let seen = group("1:name=x:/y\n0::/outer/inner\n", root.path());
        assert_eq!(
            (seen.memory, seen.processors_permille),
            (Some(1 << 20), Some(1_500))
        );
        assert_eq!(group("", root.path()), Group::default());
    }

    #[test]
    fn this_host_is_seen() {
        let seen = host(std::process::id(), None);
        assert!(seen.memory.all > seen.memory.available && seen.memory.available > 0);
        assert!(seen.processors > 0 && !seen.kernel.is_empty());
    }
}
