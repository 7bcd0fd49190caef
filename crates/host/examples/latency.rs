//! How long a guest's answer takes: alone, and as one of a pair on this host, against a bare TCP ping-pong.
//!
//! `cargo run --release -p host --example latency [ROUNDS]`. The difference between a pair and a guest alone
//! is what the output rule costs: the log out, the acknowledgement back, the release.
//!
//! It starts itself again, once for each replica, with the role in an environment variable. It must not run
//! beside anything else that wants the processor, or it measures that.

#[path = "../tests/site/mod.rs"]
mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use host::{PairSpec, Pairing};
use link::KeyFile;
use replica::{OnSlow, Span};
use site::{Cable, Site, Toy, vm};

/// Environment variable by which a process that this program starts learns its role.
const ROLE: &str = "LOCKSTEP_LATENCY_ROLE";

fn main() {
    if let Some(role) = std::env::var_os(ROLE) {
        return replica_process(&role.into_string().expect("a role"));
    }
    let rounds = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(5000);
    println!("{:<34} {:>9} {:>9} {:>9}", "microseconds", "p50", "p90", "p99");
    bare(rounds);
    for (spins, key) in [(false, false), (false, true), (true, false), (true, true)] {
        let what = if spins { "busy guest" } else { "idle guest" };
        if !key {
            alone(rounds, spins, what);
        }
        pair(rounds, spins, key, what);
    }
}

/// Prints a line of percentiles; `samples` are in microseconds.
fn print(what: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100];
    println!("{what:<34} {:>9.1} {:>9.1} {:>9.1}", at(50), at(90), at(99));
}

/// Two processes, one message each way, blocking reads: what this host's TCP can do.
fn bare(rounds: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut child = start(
        "bare",
        Path::new("/"),
        &listener.local_addr().expect("a port").to_string(),
        false,
        false,
    );
    let (mut stream, _) = listener.accept().expect("the child");
    stream.set_nodelay(true).expect("TCP");
    let mut buffer = [0; 100];
    let samples = (0..rounds).map(|_| {
        let started = Instant::now();
        stream.write_all(&buffer).expect("the child");
        stream.read_exact(&mut buffer).expect("the child");
        started.elapsed().as_secs_f64() * 1e6
    });
    print("bare TCP ping-pong", samples.collect());
    let _ = child.kill();
    let _ = child.wait();
}

/// The guest alone, behind a gateway that is this process.
fn alone(rounds: usize, spins: bool, what: &str) {
    let Site { dir, gateway } = Site::new();
    let mut child = start("run", dir.path(), "127.0.0.1:0", spins, false);
    let mut cable = gateway.accept();
    print(&format!("{what}, alone"), ping(&mut cable, rounds));
    cable.send(b"o").expect("the replica");
    let _ = child.wait();
}

/// A primary and a backup on this host, and what the primary's own figures say.
fn pair(rounds: usize, spins: bool, key: bool, what: &str) {
    let Site { dir, gateway } = Site::new();
    let mut backup = start("backup", dir.path(), "127.0.0.1:0", spins, key);
    let mut lines = BufReader::new(backup.stdout.take().expect("its output")).lines();
    let address = lines.next().expect("a line").expect("a line");
    let mut primary = start("primary", dir.path(), &address, spins, key);
    let mut cable = gateway.accept();
    let what = format!("{what}, pair, {}", if key { "encrypted" } else { "plain" });
    print(&what, ping(&mut cable, rounds));
    cable.send(b"o").expect("the replica");
    let _ = (primary.wait(), backup.wait());
    let events = std::fs::read_to_string(dir.path().join("primary.events")).expect("events");
    let figures: serde_json::Value = events
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .rfind(|event: &serde_json::Value| event["event"] == "figures")
        .expect("figures");
    for name in ["output_delay", "round_trip"] {
        let delays = &figures[name];
        println!(
            "    {name}: mean {:.1}, p50 < {}, p99 < {}",
            delays["mean_us"].as_f64().unwrap_or(0.0),
            delays["p50_us"],
            delays["p99_us"]
        );
    }
}

/// Microseconds from each request to its answer, without those of the first tenth, which only warm up.
fn ping(cable: &mut Cable, rounds: usize) -> Vec<f64> {
    let mut request = vec![b'e'; 60];
    let mut samples = Vec::with_capacity(rounds);
    for n in 0..rounds + rounds / 10 {
        request[1..9].copy_from_slice(&n.to_le_bytes());
        let started = Instant::now();
        cable.send(&request).expect("the replica");
        let answer = cable.receive().expect("the replica");
        assert_eq!(answer[..9], request[..9]);
        if n >= rounds / 10 {
            samples.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    samples
}

/// Starts this program again in a role. `peer`: the address that it is given.
fn start(role: &str, dir: &Path, peer: &str, spins: bool, key: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([dir.as_os_str(), peer.as_ref()])
        .env(ROLE, role)
        .stdout(Stdio::piped());
    for (name, set) in [("SPINS", spins), ("KEY", key)] {
        if set {
            command.env(name, "1");
        }
    }
    command.spawn().expect("a process")
}

/// What a process does that was started in a role.
fn replica_process(role: &str) {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory"));
    let address = arguments.next().expect("an address");
    if role == "bare" {
        let mut stream = TcpStream::connect(address).expect("the parent");
        stream.set_nodelay(true).expect("TCP");
        let mut buffer = [0; 100];
        while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        return;
    }
    let spec = vm(&dir, role);
    let pair = PairSpec {
        address: address.parse().expect("an address"),
        key: std::env::var_os("KEY").map(|_| KeyFile {
            path: dir.join("key"),
            // The key lies in a directory that only this user can enter.
            though_open: true,
        }),
        arbiter: arbiter::Place::Directory(dir.join("arbiter")),
        timeout: Span::from_ms(10_000),
        patience: Span::from_ms(10_000),
        timeout_only: false,
        on_slow: OnSlow::default(),
        watcher: Vec::new(),
    };
    let spins = std::env::var_os("SPINS").is_some();
    let mut build = |_: &machine::Config| Ok(Toy::new().that_answers().that_spins(spins));
    let mut progress = |progress: &Pairing<'_>| {
        if let Pairing::Listening(address) = progress {
            println!("{address}");
        }
    };
    let result = match role {
        "run" => host::run(&spec, None, None, &mut build),
        "primary" => host::primary(&spec, &pair, &mut build, &mut progress),
        _ => host::backup(&spec, &pair, &mut build, &mut progress),
    };
    if let Err(error) = result {
        eprintln!("{role}: {}", os::error::chain(&error));
    }
}
