//! The sandbox from outside: what the kernel says of the threads of real processes, and what the processes
//! say where the sandbox is not whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// A guest on bare metal with a disk and a network device; it serves until it is switched off.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/server.bin");

/// The right to be less nice to others (`capabilities(7)`).
const CAP_SYS_NICE: u64 = 1 << 23;

/// The fields of a `status` of /proc.
fn fields(status: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(status).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// A field of this test's own process, which may be in a container.
fn here(field: &str) -> String {
    fields(Path::new("/proc/thread-self/status"))[field].clone()
}

/// A process that is killed when the test is over.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        Process(
            Command::new(env!("CARGO_BIN_EXE_lockstep"))
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// The next line of the process' standard error.
    fn says(&mut self) -> String {
        let mut line = String::new();
        // The line is read byte by byte, so that what follows is left for the next call.
        let stderr = self.0.stderr.as_mut().unwrap();
        BufReader::with_capacity(1, stderr).read_line(&mut line).unwrap();
        line
    }

    /// The name of each thread of the process, and what the kernel says of the thread.
    fn threads(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        tasks
            .map(|task| {
                let fields = fields(&task.unwrap().path().join("status"));
                (fields["Name"].clone(), fields)
            })
            .collect()
    }

    /// How nice the first thread is to others (`getpriority(2)`): a smaller number is served sooner.
    fn nice(&self) -> i32 {
        rustix::process::getpriority_process(Some(rustix::process::Pid::from_child(&self.0))).unwrap()
    }

    /// Checks that every thread has given up everything.
    fn assert_is_sandboxed(&self, names: &[&str]) {
        let threads = self.threads();
        for (name, fields) in &threads {
            for (field, value) in [
                ("Seccomp", "2"),
                ("NoNewPrivs", "1"),
                ("CapEff", "0000000000000000"),
                ("CapPrm", "0000000000000000"),
                ("CapInh", "0000000000000000"),
                ("CapAmb", "0000000000000000"),
            ] {
                assert_eq!(fields[field], value, "{field} of thread '{name}'");
            }
            if rustix::process::geteuid().is_root() {
                assert_eq!(fields["CapBnd"], "0000000000000000", "thread '{name}'");
            }
        }
        for wanted in names {
            assert!(
                threads.iter().any(|(name, _)| name == wanted),
                "no '{wanted}' in {:?}",
                threads.iter().map(|(name, _)| name).collect::<Vec<_>>()
            );
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("disk"), [0; 1 << 16]).unwrap();
    std::fs::create_dir(site.path().join("arbiter")).unwrap();
    site
}

/// Waits until something listens at a socket: the VM is being run then.
fn wait_for(socket: &Path, process: &mut Process) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        assert_eq!(process.0.try_wait().unwrap(), None, "it has ended");
        std::thread::yield_now();
    }
}

/// Waits until all threads have their own filters: the first gets its right before the guest's first step,
/// the others when they begin.
fn wait_for_first_step(process: &mut Process) {
    // The process has two filters, and each thread one more.
    let filters = here("Seccomp_filters").parse::<u32>().unwrap() + 3;
    let filters = filters.to_string();
    loop {
        let threads = process.threads();
        if threads
            .iter()
            .all(|(_, fields)| fields["Seccomp_filters"] == filters)
        {
            return;
        }
        assert_eq!(process.0.try_wait().unwrap(), None, "it has ended");
        std::thread::yield_now();
    }
}

/// The arguments of a VM in a directory.
fn machine(site: &Path) -> Vec<String> {
    let console = format!("unix:{}", text(&site.join("console")));
    [
        "--firmware",
        SERVER,
        "--memory",
        "16M",
        "--disk",
        &text(&site.join("disk")),
    ]
    .into_iter()
    .chain(["--serial", &console])
    .map(str::to_owned)
    .collect()
}

fn with<'a>(first: &[&'a str], rest: &'a [String]) -> Vec<&'a str> {
    first
        .iter()
        .copied()
        .chain(rest.iter().map(String::as_str))
        .collect()
}

#[test]
fn every_thread_of_a_running_vm_has_given_up_what_it_does_not_need() {
    let site = site();
    let machine = machine(site.path());
    let log = text(&site.path().join("log"));
    let mut vm = Process::start(&with(&["record", "-o", &log], &machine));
    let _console = wait_for(&site.path().join("console"), &mut vm);
    wait_for_first_step(&mut vm);
    vm.assert_is_sandboxed(&["lockstep", "disk0.1", "log", "console input", "outlet"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", vm.0.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let here = rustix::process::getrlimit(rustix::process::Resource::Core).current;
    assert!(here != Some(0) || core.matches(" 0 ").count() == 2, "{core}");
}

#[test]
fn a_gateway_and_a_waiting_backup_have_given_up_what_they_do_not_need() {
    let site = site();
    let mut gateway = Process::start(&["gateway", "--insecure", "--listen", "127.0.0.1:0"]);
    let mut ready = String::new();
    BufReader::new(gateway.0.stdout.as_mut().unwrap())
        .read_line(&mut ready)
        .unwrap();
    gateway.assert_is_sandboxed(&["lockstep"]);
    let machine = machine(site.path());
    let arbiter = text(&site.path().join("arbiter"));
    let pair = ["--insecure", "--backup", "127.0.0.1:0", "--arbiter", &arbiter];
    let mut backup = Process::start(&with(&[&["backup"], &pair[..]].concat(), &machine));
    let said = backup.says();
    assert!(said.contains("waiting for the primary"), "{said}");
    backup.assert_is_sandboxed(&["lockstep"]);
    let ours = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(gateway.nice(), ours, "a gateway asks for no time");
    let may_ask = u64::from_str_radix(&here("CapEff"), 16).unwrap() & CAP_SYS_NICE != 0;
    assert_eq!(backup.nice(), if may_ask { ours.min(-10) } else { ours });
}

#[test]
fn no_sandbox_keeps_everything() {
    let site = site();
    let machine = machine(site.path());
    let mut vm = Process::start(&with(&["run", "--no-sandbox"], &machine));
    let _console = wait_for(&site.path().join("console"), &mut vm);
    for (name, fields) in vm.threads() {
        for field in ["Seccomp", "NoNewPrivs", "CapEff", "CapBnd"] {
            assert_eq!(fields[field], here(field), "{field} of thread '{name}'");
        }
    }
}

#[test]
fn a_kernel_without_landlock_or_seccomp_is_told_of_once_each_and_runs_the_vm() {
    let site = site();
    // `li t0, 0x100000; lui t1, 5; addi t1, 0x555; sw t1, 0(t0)`: switches the machine off.
    let words: [u32; 5] = [0x0010_02b7, 0x0000_5337, 0x5553_0313, 0x0062_a023, 0x0000_006f];
    let firmware = site.path().join("power-off.bin");
    std::fs::write(&firmware, words.map(u32::to_le_bytes).concat()).unwrap();
    let output = std::thread::spawn(move || {
        // These calls are answered, for this thread and the program that it starts, as an older kernel would
        // answer.
        let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
        let filter = SeccompFilter::new(
            calls.into_iter().map(|call| (call, Vec::new())).collect(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
            TargetArch::try_from(std::env::consts::ARCH).unwrap(),
        );
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args([
                "run",
                "--serial",
                "none",
                "--disk",
                &text(&site.path().join("disk")),
                "--firmware",
            ])
            .arg(firmware)
            .output()
            .unwrap()
    });
    let output = output.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for missing in ["no landlock", "no seccomp"] {
        assert_eq!(said.matches(missing).count(), 1, "{missing}: {said}");
    }
}

#[test]
fn another_user_is_become_by_root_only() {
    let site = site();
    let machine = machine(site.path());
    let mut arguments = with(&["run", "--user", "4294960000:4294960001"], &machine);
    if !rustix::process::geteuid().is_root() {
        let output = Process::start(&arguments);
        let mut output = output;
        assert!(output.says().contains("only root can run a VM as another user"));
        return;
    }
    // The disk belongs to root.
    let mut refused = Process::start(&arguments);
    let said = refused.says();
    assert!(
        said.contains("cannot") && said.contains("ermission denied"),
        "{said}"
    );
    for path in ["", "disk"] {
        std::os::unix::fs::chown(site.path().join(path), Some(4_294_960_000), Some(4_294_960_001)).unwrap();
    }
    // Anybody may read the guest's image, wherever the repository is.
    let firmware = site.path().join("firmware");
    std::fs::copy(SERVER, &firmware).unwrap();
    let firmware = text(&firmware);
    *arguments
        .iter_mut()
        .find(|argument| **argument == SERVER)
        .unwrap() = &firmware;
    let mut vm = Process::start(&arguments);
    let _console = wait_for(&site.path().join("console"), &mut vm);
    for (name, fields) in vm.threads() {
        assert_eq!(fields["Uid"], ["4294960000"; 4].join("\t"), "{name}");
        assert_eq!(fields["Gid"], ["4294960001"; 4].join("\t"), "{name}");
        assert_eq!(fields["Groups"], "4294960001", "{name}");
    }
    vm.assert_is_sandboxed(&["lockstep"]);
}

#[test]
fn a_user_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "--user", "nobody-of-that-name"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no user `nobody-of-that-name`"), "{said}");
}
