//! A claimant in a process of its own, which is this test program started again with one test, `process`. It
//! claims one epoch after the other, and says before each that it asks and after each what the answer was.
//!
//! A test that reads those lines knows what the process was told, whatever becomes of it.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use arbiter::{LocalDirectory, Process};
use replica::Verdict;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{claim, vm};

/// Where a claimant finds its orders: the address of the place, its owner's number, the first epoch that it
/// claims and the one before which it stops.
const ORDERS: &str = "LOCKSTEP_TEST_CLAIMANT";

/// If this is set, the claimant can make no file longer once its arbiter is open.
pub const WRITES_NOTHING: &str = "LOCKSTEP_TEST_WRITES_NOTHING";

#[test]
fn process() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Vec<&str> = orders.split('|').collect();
    let [address, owner, first, end, sign] = orders[..] else {
        panic!("{orders:?}");
    };
    let owner: u128 = owner.parse().unwrap();
    let local = (!sign.is_empty()).then(|| LocalDirectory::open(sign.as_ref()).unwrap());
    let sign = local.map(|local| local.sign(&vm(), owner, address).unwrap());
    let process = Process::here(sign.as_ref().map(arbiter::SignOfLife::path));
    let mut arbiter = address.parse::<arbiter::Place>().unwrap().open(process).unwrap();
    if std::env::var_os(WRITES_NOTHING).is_some() {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Fsize, none).unwrap();
    }
    for epoch in first.parse().unwrap()..end.parse().unwrap() {
        println!("\nasks {epoch}");
        let answer = arbiter.claim(&vm(), &claim(epoch, owner));
        let word = match answer.verdict {
            Verdict::Won => "won",
            Verdict::Lost { .. } => "lost",
            Verdict::Unreachable => "unreachable",
        };
        println!("\n{word} {epoch} {}", answer.reason.unwrap_or_default());
    }
    println!("\nwaits 0");
    // Until the test closes the pipe or kills this process.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// A claimant that runs.
pub struct Claimant {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Claimant {
    /// Starts a process that claims the epochs from `first` to before `end`.
    pub fn start(address: &str, owner: u128, first: u64, end: u64) -> Claimant {
        let program = std::env::current_exe().unwrap();
        Claimant::start_by(Command::new(program), address, owner, (first, end), "")
    }

    /// As [`Claimant::start`], by a command that takes the arguments of this program, and with the directory
    /// in which the process signs that it lives.
    pub fn start_by(
        mut command: Command,
        address: &str,
        owner: u128,
        (first, end): (u64, u64),
        sign: &str,
    ) -> Claimant {
        let mut child = command
            .args(["--exact", "claimant::process", "--nocapture"])
            .env(ORDERS, format!("{address}|{owner}|{first}|{end}|{sign}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Claimant { child, lines }
    }

    /// The next thing that the process says: a word and an epoch; `None`: it has ended.
    pub fn says(&mut self) -> Option<(String, u64)> {
        loop {
            let line = self.lines.next()?.ok()?;
            let mut words = line.split(' ');
            let known = ["asks", "won", "lost", "unreachable", "waits"];
            if let Some(word) = words.next().filter(|word| known.contains(word)) {
                return Some((word.to_owned(), words.next()?.parse().ok()?));
            }
        }
    }

    /// Waits until the process has claimed all its epochs, and gives those that it has won.
    pub fn wins(&mut self) -> Vec<u64> {
        let mut won = Vec::new();
        loop {
            match self.says() {
                Some((word, _)) if word == "waits" => return won,
                Some((word, epoch)) if word == "won" => won.push(epoch),
                Some((word, epoch)) => assert_ne!(word, "unreachable", "{epoch}"),
                None => panic!("the process has ended"),
            }
        }
    }

    /// Kills the process after `wait`, which is called once the process asks for `epoch`. Gives the epochs
    /// that it has said it has won, and the last one that it has asked for.
    pub fn killed_while_asking(mut self, epoch: u64, wait: impl FnOnce()) -> (Vec<u64>, u64) {
        let (mut won, mut asked) = (Vec::new(), 0);
        let mut wait = Some(wait);
        while let Some((word, number)) = self.says() {
            match word.as_str() {
                "asks" => asked = number,
                "won" => won.push(number),
                _ => panic!("{word} {number}"),
            }
            if word == "asks"
                && number >= epoch
                && let Some(wait) = wait.take()
            {
                wait();
                self.kill();
            }
        }
        (won, asked)
    }

    /// Kills the process, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Claimant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
