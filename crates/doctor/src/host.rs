//! What is judged of the host itself: processor, kernel, memory, what others take of it, and the clock.

use report::amount::rounded;

use crate::limits::{FILES_MIN, MEMORY_MIN, STEAL_PERMILLE_MAX};
use crate::line::Line;

/// What was seen of the host, and of the process whose limits VMs have: the agent, or else this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Why guests' code cannot be translated here; `None`: it can.
    pub no_translation: Option<String>,
    /// The kernel's release, such as `6.12.57+deb13-amd64`.
    pub kernel: String,
    /// The kernel's security modules that are switched on, with commas; `None`: it does not say.
    pub modules: Option<String>,
    /// Memory of the host, in bytes.
    pub memory: Memory,
    /// Share of its processors' time that the host has lost to others since its boot, in thousandths.
    pub steal_permille: u64,
    /// How many processors the kernel shows.
    pub processors: u64,
    /// What the control groups of the examined process leave to it.
    pub group: Group,
    /// What the kernel lets the examined process use.
    pub limits: Limits,
    /// By which program the clock follows a time server; `None`: there is no sign of one.
    pub clock: Option<&'static str>,
}

/// Memory of a host, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All memory that the kernel has, in bytes.
    pub all: u64,
    /// Memory that the kernel calls available, in bytes.
    pub available: u64,
    /// Space to which memory may be swapped, in bytes.
    pub swap: u64,
    /// Free space to which memory may be swapped, in bytes.
    pub swap_free: u64,
}

/// What a control group leaves to its processes; `None`: all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Memory that the group may use, in bytes.
    pub memory: Option<u64>,
    /// Time of processors that the group may use, in thousandths of one processor.
    pub processors_permille: Option<u64>,
}

/// What the kernel lets a process use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many files the process may have open; `None`: as many as it likes.
    pub files: Option<u64>,
    /// Memory that the process may keep from being swapped, in bytes; `None`: all its memory.
    pub locked: Option<u64>,
}

/// Judges a host.
#[must_use]
pub fn judge(facts: &HostFacts) -> Vec<Line> {
    vec![
        processor(facts),
        kernel(facts),
        memory(&facts.memory),
        swap(facts),
        steal(facts.steal_permille),
        group(facts),
        files(facts.limits.files),
        clock(facts.clock),
    ]
}

fn processor(facts: &HostFacts) -> Line {
    match &facts.no_translation {
        None => Line::ok("processor", "guests' code is translated to machine code"),
        Some(why) => Line::warn(
            "processor",
            format!("guests run about eight times slower than on other hosts, interpreted: {why}"),
        ),
    }
}

/// The sandbox has all its limits from this release on (docs/security.md, "Older kernels").
const KERNEL_WHOLE: (u64, u64) = (6, 12);
/// The first release with landlock.
const KERNEL_LANDLOCK: (u64, u64) = (5, 13);

fn kernel(facts: &HostFacts) -> Line {
    let release = &facts.kernel;
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let version: (u64, u64) = (next(), next());
    let has_landlock = facts
        .modules
        .as_ref()
        .is_none_or(|modules| modules.split(',').any(|module| module == "landlock"));
    if version < KERNEL_LANDLOCK {
        return Line::warn(
            "kernel",
            format!("{release} has no landlock, so the sandbox does not limit files; 6.12 has all of it"),
        );
    }
    if !has_landlock {
        return Line::warn(
            "kernel",
            format!(
                "landlock is switched off, so the sandbox does not limit files; boot {release} with \
                 `lsm=` and landlock in it"
            ),
        );
    }
    if version < KERNEL_WHOLE {
        return Line::warn(
            "kernel",
            format!("{release} lacks some limits of the sandbox (docs/security.md); 6.12 has all of them"),
        );
    }
    Line::ok("kernel", format!("{release} has all that the sandbox uses"))
}

fn memory(memory: &Memory) -> Line {
    let sentence = format!(
        "{} of {} are available",
        rounded(memory.available),
        rounded(memory.all)
    );
    if memory.available < MEMORY_MIN {
        return Line::no(
            "memory",
            format!("{sentence}, too little for any VM; stop something"),
        );
    }
    if memory.available < memory.all / 10 {
        let more = "a host that runs out of memory stands still and looks dead; stop something";
        return Line::warn("memory", format!("{sentence}; {more}"));
    }
    Line::ok("memory", sentence)
}

fn swap(facts: &HostFacts) -> Line {
    let used = facts.memory.swap.saturating_sub(facts.memory.swap_free);
    match (facts.memory.swap, facts.limits.locked) {
        (0, _) => Line::ok("swap", "there is none"),
        (all, None) => Line::ok(
            "swap",
            format!(
                "{} of {} are used; memory of VMs stays in RAM",
                rounded(used),
                rounded(all)
            ),
        ),
        (all, Some(locked)) => Line::warn(
            "swap",
            format!(
                "{} of {} are used, and memory of VMs above {} may go there: a VM that waits for it looks \
                 dead; `swapoff -a`, or `LimitMEMLOCK=infinity` for the agent",
                rounded(used),
                rounded(all),
                rounded(locked)
            ),
        ),
    }
}

fn steal(permille: u64) -> Line {
    let percent = format!("{}.{} %", permille / 10, permille % 10);
    if permille > STEAL_PERMILLE_MAX {
        return Line::warn(
            "stolen time",
            format!(
                "this host is a guest itself and has lost {percent} of its processors to others since its \
                 boot: pauses may look like death; give it processors of its own"
            ),
        );
    }
    Line::ok(
        "stolen time",
        format!("{percent} of the processors' time went to others since the boot"),
    )
}

fn group(facts: &HostFacts) -> Line {
    let mut limits = Vec::new();
    let memory = facts.group.memory.filter(|&bytes| bytes < facts.memory.all);
    if let Some(bytes) = memory {
        let percent = bytes.saturating_mul(100) / facts.memory.all.max(1);
        limits.push(format!(
            "{} of the host's memory, which the agent does not know: `memory_percent = {}` in agent.toml, or \
             lift `MemoryMax`",
            rounded(bytes),
            (percent * 9 / 10).max(1)
        ));
    }
    let whole = facts.processors.saturating_mul(1_000);
    if let Some(permille) = facts
        .group
        .processors_permille
        .filter(|&permille| permille < whole)
    {
        limits.push(format!(
            "{}.{} of {} processors: VMs stand when that is used up, and look dead; lift `CPUQuota`",
            permille / 1_000,
            permille % 1_000 / 100,
            facts.processors
        ));
    }
    match limits.as_slice() {
        [] => Line::ok("control group", "no limit of memory or processors"),
        limits => Line::warn("control group", format!("VMs may use {}", limits.join("; and "))),
    }
}

fn files(files: Option<u64>) -> Line {
    match files {
        Some(files) if files < FILES_MIN => Line::warn(
            "open files",
            format!(
                "a process may have {files} open, {FILES_MIN} are better; raise `ulimit -n`, or `LimitNOFILE`"
            ),
        ),
        Some(files) => Line::ok("open files", format!("a process may have {files}")),
        None => Line::ok("open files", "a process may have as many as it likes"),
    }
}

fn clock(follows: Option<&str>) -> Line {
    match follows {
        Some(program) => Line::ok("clock", format!("it follows a time server by {program}")),
        None => Line::warn(
            "clock",
            "there is no sign that it follows a time server, so happenings of several hosts may be hard to \
             read together; start chrony or systemd-timesyncd (nothing is safe or unsafe by a clock)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict;

    /// A host at which nothing is wrong.
    fn good() -> HostFacts {
        HostFacts {
            no_translation: None,
            kernel: "6.12.57+deb13-amd64".into(),
            modules: Some("lockdown,capability,landlock,yama".into()),
            memory: Memory {
                all: 16 << 30,
                available: 8 << 30,
                swap: 0,
                swap_free: 0,
            },
            steal_permille: 20,
            processors: 4,
            group: Group::default(),
            limits: Limits {
                files: Some(1_024),
                locked: Some(8 << 20),
            },
            clock: Some("chrony"),
        }
    }

    #[test]
    fn nothing_is_said_against_a_good_host() {
        let lines = judge(&good());
        let wrong: Vec<&Line> = lines.iter().filter(|line| line.verdict != Verdict::Ok).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    type Fault = fn(&mut HostFacts);
    /// What is changed in the facts of a good one, and which line is wrong then.
    const FAULTS: &[(Fault, Verdict, &str, &str)] = &[
        (
            |f| f.no_translation = Some("no BMI2".into()),
            Verdict::Warn,
            "processor",
            "no BMI2",
        ),
        (
            |f| f.kernel = "5.10.0-9".into(),
            Verdict::Warn,
            "kernel",
            "no landlock",
        ),
        (
            |f| f.kernel = "6.11.2".into(),
            Verdict::Warn,
            "kernel",
            "lacks some limits",
        ),
        (
            |f| f.modules = Some("yama".into()),
            Verdict::Warn,
            "kernel",
            "switched off",
        ),
        (
            |f| f.memory.available = 255 << 20,
            Verdict::No,
            "memory",
            "too little for any VM",
        ),
        (
            |f| f.memory.available = 1 << 30,
            Verdict::Warn,
            "memory",
            "stop something",
        ),
        (|f| f.memory.swap = 1 << 30, Verdict::Warn, "swap", "LimitMEMLOCK"),
        (|f| f.steal_permille = 75, Verdict::Warn, "stolen time", "7.5 %"),
        (
            |f| f.group.memory = Some(4 << 30),
            Verdict::Warn,
            "control group",
            "memory_percent = 22",
        ),
        (
            |f| f.group.processors_permille = Some(1_500),
            Verdict::Warn,
            "control group",
            "1.5 of 4",
        ),
        (
            |f| f.limits.files = Some(1_023),
            Verdict::Warn,
            "open files",
            "ulimit -n",
        ),
        (|f| f.clock = None, Verdict::Warn, "clock", "start chrony"),
    ];

    #[test]
    fn each_fault_of_a_host_is_one_line_that_says_what_to_do() {
        for (fault, verdict, about, part) in FAULTS {
            let mut facts = good();
            fault(&mut facts);
            let lines = judge(&facts);
            let wrong: Vec<&Line> = lines.iter().filter(|line| line.verdict != Verdict::Ok).collect();
            let [line] = wrong.as_slice() else {
                panic!("{about}: {wrong:?}");
            };
            assert_eq!((line.verdict, line.about), (*verdict, *about));
            assert!(line.sentence.contains(part), "{}", line.sentence);
        }
    }

    #[test]
    fn what_limits_nothing_is_no_fault() {
        let mut facts = good();
        facts.group = Group {
            memory: Some(16 << 30),
            processors_permille: Some(4_000),
        };
        facts.memory.swap = 1 << 30;
        facts.limits = Limits::default();
        facts.modules = None;
        assert!(judge(&facts).iter().all(|line| line.verdict == Verdict::Ok));
    }
}
