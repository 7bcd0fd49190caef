//! A writer in a process of its own, which is this test program started again with one test, `process`. It
//! adds to one count, over and over, and says each number that it has written.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use etcd::Settings;
use rustix::process::{Resource, Rlimit, setrlimit};
use store::{Directory, Etcd, Expected, Store};

use crate::{LONG, counting, key};

/// Where a writer finds its orders: its name, how often it adds, and the address of the place.
const ORDERS: &str = "LOCKSTEP_TEST_WRITER";

/// If this is set, the writer can make no file longer once its store is open.
const WRITES_NOTHING: &str = "LOCKSTEP_TEST_WRITES_NOTHING";

/// The store with this address.
pub fn open(address: &str) -> Box<dyn Store> {
    match address.split_once(' ') {
        Some(("directory", path)) => Box::new(Directory::open(path.as_ref()).unwrap()),
        Some(("etcd", rest)) => {
            let (deadline_ms, endpoints) = rest.split_once(' ').unwrap();
            let endpoints: Vec<&str> = endpoints.split(' ').collect();
            let deadline = std::time::Duration::from_millis(deadline_ms.parse().unwrap());
            let settings = Settings {
                deadline,
                ..Settings::new(&endpoints)
            };
            Box::new(Etcd::new(settings, Etcd::PREFIX).unwrap())
        }
        _ => panic!("no place is called {address}"),
    }
}

#[test]
fn process() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut orders = orders.splitn(3, ' ');
    let (name, times, address) = (
        orders.next().unwrap(),
        orders.next().unwrap(),
        orders.next().unwrap(),
    );
    let store = open(address);
    if std::env::var_os(WRITES_NOTHING).is_some() {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Fsize, none).unwrap();
        let error = store
            .write(&key("vms/web/spec"), b"much", Expected::Any)
            .unwrap_err();
        println!("\nerror {error}");
        return;
    }
    let mut counter = counting::Counter::new(name, LONG);
    for _ in 0..times.parse::<u64>().unwrap() {
        println!("\nwrote {}", counter.add(&*store));
    }
}

/// A writer that runs.
pub struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts a process that adds so many times to the count at this address.
    pub fn start(address: &str, name: &str, times: u64) -> Writer {
        Writer::start_by(&mut command(), address, name, times)
    }

    /// Starts a process to whose files nothing can be added, and gives the error of its write.
    pub fn write_nothing(address: &str) -> String {
        let mut command = command();
        // The limit is told by a signal too, which a shell has its children ignore.
        command.env(WRITES_NOTHING, "1");
        let mut writer = Writer::start_by(&mut command, address, "none", 0);
        let error = writer.next("error").expect("it says an error");
        writer.end();
        error
    }

    fn start_by(command: &mut Command, address: &str, name: &str, times: u64) -> Writer {
        let mut child = command
            .env(ORDERS, format!("{name} {times} {address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Writer { child, lines }
    }

    /// What the writer says next after this word; `None`: it has ended.
    pub fn next(&mut self, word: &str) -> Option<String> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Some(rest) = line.strip_prefix(word) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    /// Kills the writer, and gives the last number that it said, if any since it was last asked.
    pub fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        let mut last = None;
        while let Some(number) = self.next("wrote") {
            // The last line may be torn by the end of the process.
            last = number.parse().ok().or(last);
        }
        self.child.wait().unwrap();
        last
    }

    /// Waits for the end of the writer, which must have gone well.
    pub fn end(mut self) {
        while self.next("wrote").is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

fn command() -> Command {
    let mut command = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(program);
    command.args(["writer::process", "--exact", "--nocapture", "--test-threads=1"]);
    command
}
