//! Nobody starts a VM twice: every refusal of a start and of `lockstep release`, each with its sentence and
//! exit code, and the starts that are not refused since nobody can own the VM any more.
//!
//! The processes are real, with directories of this host's locks and an arbiter of their own.

mod site;

use std::io::Read;

use site::{Ended, Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];
/// A firmware that switches the machine off at once:
/// `li t0, 0x100000; lui t1, 5; addi t1, 0x555; sw t1, 0(t0)`.
const GOES_OFF: [u32; 5] = [0x0010_02b7, 0x0000_5337, 0x5553_0313, 0x0062_a023, 0x0000_006f];

/// The files of a VM called web, and the hosts' shared directory.
fn site() -> Site {
    Site::new(&[("waits", &WAITS), ("goes-off", &GOES_OFF)])
}

impl Site {
    fn flag(&self) -> String {
        format!("--arbiter {}", self.path("arbiter").display())
    }

    /// A process that runs a VM, once it runs.
    fn runs(&self, words: &str) -> Running {
        let words =
            format!("run --memory 16M --serial none --firmware {{waits}} --events {{events}} {words}");
        let running = self.begins(&words);
        // The first event is written when the guest begins.
        while std::fs::read_to_string(self.path("events")).is_ok_and(|text| text.is_empty())
            || !self.path("events").exists()
        {
            std::thread::yield_now();
        }
        running
    }

    /// The two halves of a pair of the VM web, primary first, once they are a pair.
    fn pair(&self) -> (Running, Running) {
        let half = |role: &str, address: &str| {
            self.begins(&format!(
                "{role} --memory 16M --serial none --firmware {{waits}} --name web --arbiter {{arbiter}} \
                 --key {{key}} --backup {address} --timeout-ms 1000"
            ))
        };
        let mut backup = half("backup", "127.0.0.1:0");
        let listens = backup.says("waiting for the primary on ");
        let mut primary = half("primary", listens.rsplit(' ').next().unwrap());
        primary.says("paired with");
        backup.says("paired with");
        (primary, backup)
    }

    /// Runs a VM that goes off, or is refused.
    fn starts(&self, words: &str) -> Ended {
        self.ends(&format!(
            "run --memory 16M --serial none --firmware {{goes-off}} {words}"
        ))
    }

    /// What an end in the arbiter's directory says.
    fn why(&self, epoch: u64) -> Option<String> {
        let path = self.path("arbiter").join(format!("web.{epoch:020}.end"));
        let text = std::fs::read_to_string(path).ok()?;
        let why = text.lines().find_map(|line| line.strip_prefix("why "));
        Some(why.unwrap().to_owned())
    }
}

impl Running {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn gets(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// The first signal says that the guest cannot be asked, the second pulls the plug.
    fn stops(mut self) {
        self.gets(rustix::process::Signal::TERM);
        self.says("cannot be asked");
        self.gets(rustix::process::Signal::TERM);
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

impl Ended {
    fn is_refused(&self, parts: &[&str]) {
        let text = self.with(4);
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

#[test]
fn a_vm_with_an_arbiter_is_not_started_while_it_runs_with_a_disk_or_without() {
    let site = site();
    std::fs::write(site.path("disk"), vec![0; 8192]).unwrap();
    for (disk, epoch) in [("", 1), (" --disk {disk}", 2)] {
        let _ = std::fs::remove_file(site.path("events"));
        let words = format!("--name web --arbiter {{arbiter}}{disk}");
        let first = site.runs(&words);
        let host = os::identity::host_name();
        let runs = format!(
            "web runs as epoch {epoch} on host {host} (pid {}, since 20",
            first.pid()
        );
        let release = format!(
            "stop it there, or, if that host is surely off, `lockstep release web --epoch {epoch} {}`",
            site.flag()
        );
        let pair =
            "primary --memory 16M --serial none --firmware {goes-off} --backup 127.0.0.1:1 --key {key} ";
        for second in [
            site.starts(&words),
            site.ends(&format!("{pair}{words}")),
            site.ends(&format!(
                "record -o {{log}} --memory 16M --serial none --firmware {{goes-off}} {words}"
            )),
        ] {
            second.is_refused(&[&runs, &release]);
        }
        assert!(!site.path("log").exists(), "nothing was changed");
        // Another VM is another matter.
        site.starts("--name shop --arbiter {arbiter}").with(0);
        first.stops();
        assert_eq!(site.why(epoch).as_deref(), Some("off"));
    }
    // Its end is written down, so it can be started, and each guest that goes off ends its epoch.
    site.starts("--name web --arbiter {arbiter}").with(0);
    site.starts("--name web --arbiter {arbiter}").with(0);
    assert_eq!(site.why(4).as_deref(), Some("off"));
}

#[test]
fn a_pair_owns_its_vm_through_a_failover_until_its_guest_is_off() {
    let site = site();
    let (primary, mut backup) = site.pair();
    let words = "--name web --arbiter {arbiter}";
    let owner = format!(
        "web runs as epoch 1 on host {} (pid {}",
        os::identity::host_name(),
        primary.pid()
    );
    site.starts(words).is_refused(&[&owner]);
    primary.dies();
    backup.says("this side is live, epoch 2");
    let owner = format!(
        "web runs as epoch 2 on host {} (pid {}",
        os::identity::host_name(),
        backup.pid()
    );
    site.starts(words).is_refused(&[&owner]);
    backup.stops();
    assert_eq!((site.why(1), site.why(2).as_deref()), (None, Some("off")));

    // A primary that leaves closes nothing: its backup goes on.
    let (mut primary, mut backup) = site.pair();
    primary.gets(rustix::process::Signal::TERM);
    backup.says("this side is live, epoch 4");
    assert!(primary.child.wait().unwrap().success());
    assert_eq!(site.why(3), None);
    let owner = format!(
        "web runs as epoch 4 on host {} (pid {}",
        os::identity::host_name(),
        backup.pid()
    );
    site.starts(words).is_refused(&[&owner]);
    backup.stops();
    site.starts(words).with(0);
    assert_eq!(site.why(5).as_deref(), Some("off"));
}

#[test]
fn a_pair_whose_guest_goes_off_frees_its_vm() {
    let site = site();
    std::fs::copy(site.path("goes-off"), site.path("waits")).unwrap();
    let (mut primary, mut backup) = site.pair();
    for half in [&mut primary, &mut backup] {
        half.says("the guest has switched itself off");
        assert!(half.child.wait().unwrap().success());
    }
    assert_eq!(site.why(1).as_deref(), Some("off"));
    site.starts("--name web --arbiter {arbiter}").with(0);
}

#[test]
fn a_vm_whose_process_was_killed_on_this_host_is_started_again_after_a_wait_for_its_backup() {
    let site = site();
    let first = site.runs("--name web --arbiter {arbiter}");
    let pid = first.pid();
    first.dies();
    let text = site.starts("--name web --arbiter {arbiter}").with(0);
    let waits = format!("(pid {pid}, since 20");
    assert!(
        text.contains(&waits) && text.contains("a backup may take it over within 10 s"),
        "{text}"
    );
    assert_eq!(site.why(1).as_deref(), Some("gone"));
    assert_eq!(site.why(2).as_deref(), Some("off"));
}

#[test]
fn a_vm_that_may_run_on_another_host_is_started_only_after_a_release() {
    let site = site();
    std::fs::write(site.path("disk"), vec![0; 8192]).unwrap();
    let words = "--name web --arbiter {arbiter} --disk {disk}";
    site.runs(words).dies();
    // The same record, and the same lock of the disk, as another host has made them.
    let claim = site.path("arbiter").join(format!("web.{:020}.claim", 1));
    for path in [claim, site.path("disk.lock")] {
        let text = std::fs::read_to_string(&path).unwrap();
        let host = format!("host {}", os::identity::host_name());
        let text = text.replace(&os::identity::boot_id(), "another");
        std::fs::write(&path, text.replace(&host, "host far-away")).unwrap();
    }
    let refused = [
        "web runs as epoch 1 on host far-away (pid ",
        "lockstep release web --epoch 1 --arbiter ",
    ];
    site.starts(words).is_refused(&refused);

    let release = "release web --arbiter {arbiter} --epoch";
    let text = site.ends(&format!("{release} 1")).with(2);
    assert!(
        text.contains("`release` needs `--yes` without a terminal"),
        "{text}"
    );
    site.ends(&format!("{release} 2 --yes"))
        .is_refused(&["epoch 2 is not the last one of web, that is epoch 1, which runs on host far-away"]);
    assert_eq!(site.why(1), None, "nothing was changed");
    let text = site
        .ends("release shop --epoch 1 --yes --arbiter {arbiter}")
        .with(1);
    assert!(
        text.contains("knows no VM 'shop'; check the name and the directory"),
        "{text}"
    );
    let text = site
        .ends("release web --epoch 1 --yes --arbiter {run}/none")
        .with(1);
    assert!(text.contains("cannot be written; it must exist"), "{text}");

    let text = site.ends(&format!("{release} 1 --yes")).with(0);
    assert_eq!(text, "epoch 1 of web is released; it can be started again\n");
    let text = site.ends(&format!("{release} 1 --yes")).with(0);
    assert!(
        text.starts_with("epoch 1 of web is closed already: released by "),
        "{text}"
    );
    site.starts(words).with(0);
    site.ends(&format!("{release} 1 --yes"))
        .is_refused(&["that is epoch 2, which is closed: its guest was switched off; nothing was changed"]);
}

#[test]
fn a_vm_that_lives_on_this_host_is_not_released() {
    let site = site();
    let first = site.runs("--name web --arbiter {arbiter}");
    let lives = format!("(pid {}, since 20", first.pid());
    site.ends("release web --epoch 1 --yes --arbiter {arbiter}")
        .is_refused(&[
            "web runs as epoch 1 on host ",
            &lives,
            "that process lives; stop it instead",
        ]);
    site.starts("--name web --arbiter {arbiter}").with(4);
}

#[test]
fn a_vm_that_an_earlier_version_has_claimed_is_started_only_after_a_release() {
    let site = site();
    let claim = site.path("arbiter").join(format!("web.{:020}.claim", 7));
    let text = format!("lockstep claim 1\nvm web\nepoch 7\nowner {:032x}\n", 5);
    std::fs::write(claim, text).unwrap();
    site.starts("--name web --arbiter {arbiter}").is_refused(&[
        "web runs as epoch 7 on a host that its claim does not name, as an earlier version of",
    ]);
    site.ends("release web --epoch 7 --yes --arbiter {arbiter}")
        .with(0);
    site.starts("--name web --arbiter {arbiter}").with(0);
    assert_eq!(site.why(8).as_deref(), Some("off"));
}

#[test]
fn an_arbiter_that_is_not_there_is_said_so_and_nothing_runs() {
    let site = site();
    let text = site.starts("--name web --arbiter {none}").with(1);
    assert!(
        text.contains("none cannot be written; it must exist on storage that both hosts share"),
        "{text}"
    );
}

#[test]
fn without_an_arbiter_a_vm_with_a_name_of_its_own_runs_once_on_a_host() {
    let site = site();
    std::fs::write(site.path("vm.toml"), "name = \"web\"\n").unwrap();
    for words in ["--name web", "{vm.toml}"] {
        let _ = std::fs::remove_file(site.path("events"));
        let first = site.runs(words);
        let runs = format!(
            "web runs already on this host (pid {}); stop it there",
            first.pid()
        );
        for second in ["--name web", "{vm.toml}"] {
            site.starts(second).is_refused(&[&runs]);
        }
        site.starts("--name shop").with(0);
        // Killed or not, who is gone holds nothing.
        first.dies();
        site.starts("--name web").with(0);
    }
}

#[test]
fn vms_without_a_name_may_run_beside_each_other_but_not_on_one_disk() {
    let site = site();
    std::fs::write(site.path("disk"), vec![0; 8192]).unwrap();
    let first = site.runs("--disk {disk}");
    site.starts("").with(0);
    let owner = format!("is in use by VM 'vm' epoch 0 (pid {}", first.pid());
    site.starts("--disk {disk}").is_refused(&[&owner]);
}
