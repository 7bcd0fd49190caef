//! The arbiter in a disk server under examination, and what can go wrong with it alone. The server is a
//! process of its own, which is this test program started again with one test, `process`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arbiter::{Arbiter, Cell, Mark, Process, ServerArbiter, ServerCells, ServerPlace, sees};
use disk_server::{Config, DiskServer};
use replica::{Epoch, Verdict, VmName};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::servers::Server;
use crate::{LOST, Place, arbiter, claim, expect, vm};

/// Where the process finds its configuration.
const CONFIG: &str = "LOCKSTEP_TEST_DISK_SERVER";
/// Milliseconds that no question takes which is answered.
const LONG_MS: u64 = 600_000;

#[test]
fn process() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let server = Arc::new(DiskServer::open(&Config::load(Path::new(&config)).unwrap()).unwrap());
    println!("\nready");
    std::thread::spawn(move || server.serve());
    // Until the test ends, or kills this process.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

/// A disk server with one disk, of the VM `shop`.
pub struct Alone {
    dir: TempDir,
    address: SocketAddr,
    running: RefCell<Option<Child>>,
}

fn server(text: &str) -> ServerPlace {
    match text.parse::<arbiter::Place>().unwrap() {
        arbiter::Place::Server(place) => *place,
        other => panic!("{other}"),
    }
}

impl Alone {
    fn text(&self) -> String {
        let key = self.dir.path().join("key");
        format!("lockstep://{},key={}", self.address, key.display())
    }

    fn start(&self) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "in_server::process", "--nocapture"])
            .env(CONFIG, self.dir.path().join("disks.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "the server has ended");
        // What it says later is for nobody.
        std::thread::spawn(move || lines.for_each(drop));
        *self.running.borrow_mut() = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.borrow();
        let pid = Pid::from_child(running.as_ref().expect("it runs"));
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if self.running.borrow().is_some() {
            self.kill();
        }
    }
}

impl Place for Alone {
    type Cells = ServerCells;

    fn new() -> Alone {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, "7".repeat(64)).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::File::create(dir.path().join("disk"))
            .unwrap()
            .set_len(4096)
            .unwrap();
        // A port that nobody else has at this moment.
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let text = format!(
            "listen = '{address}'\nkey = 'key'\nstate = 'state'\n\
             [[export]]\nname = 'vda'\nvm = 'shop'\npath = 'disk'\n"
        );
        std::fs::write(dir.path().join("disks.toml"), text).unwrap();
        disk_server::init(&dir.path().join("state")).unwrap();
        let place = Alone {
            dir,
            address,
            running: RefCell::default(),
        };
        place.start();
        place
    }

    fn cells(&self) -> ServerCells {
        ServerCells::open(&server(&self.address())).unwrap()
    }

    fn address(&self) -> String {
        format!("{},deadline_ms={LONG_MS}", self.text())
    }

    fn go_away(&self) {
        self.kill();
    }

    fn come_back(&self) {
        self.restart();
    }

    fn spoil(&self, cell: Cell, bytes: &[u8]) {
        let name = match cell {
            Cell::Id => "web.id".into(),
            Cell::Claim(epoch) => format!("web.{:020}.claim", epoch.0),
            Cell::End(epoch) => format!("web.{:020}.end", epoch.0),
        };
        std::fs::write(self.dir.path().join("state/claims").join(name), bytes).unwrap();
    }
}

impl Server for Alone {
    fn socket(&self) -> SocketAddr {
        self.address
    }

    fn by_way_of(&self, address: SocketAddr, deadline: Duration) -> ServerCells {
        let key = self.dir.path().join("key");
        let (key, ms) = (key.display(), deadline.as_millis());
        let place = server(&format!("lockstep://{address},key={key},deadline_ms={ms}"));
        loop {
            // On a slow machine the server may answer too late.
            if let Ok(cells) = ServerCells::open(&place) {
                return cells;
            }
        }
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
        let child = self.running.borrow_mut().take();
        child.unwrap().wait().unwrap();
    }

    fn restart(&self) {
        self.start();
    }

    fn stand(&self, still: bool) {
        self.signal(if still { Signal::STOP } else { Signal::CONT });
    }
}

#[test]
fn a_server_that_cannot_be_used_is_said_so_at_the_start() {
    let place = Alone::new();
    let other = place.dir.path().join("other");
    std::fs::write(&other, "8".repeat(64)).unwrap();
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (text, sentence) in [
        (
            "lockstep://127.0.0.1:9,insecure".to_owned(),
            "both hosts must reach that disk server",
        ),
        (
            format!("lockstep://{},insecure", place.address),
            "has a key and this side has not",
        ),
        (
            format!("lockstep://{},key={}", place.address, other.display()),
            "has another key",
        ),
        (
            format!("lockstep://{},key=/none", place.address),
            "cannot read the key file /none",
        ),
    ] {
        let error = ServerArbiter::open(&server(&text), Process::here(None)).unwrap_err();
        let told = os::error::chain(&error);
        assert!(told.contains(sentence), "{told}");
        assert!(!error.is_refusal());
    }
}

#[test]
fn a_mark_is_seen_at_its_server_alone_and_its_vms_are_told() {
    let (here, there) = (Alone::new(), Alone::new());
    let places = [&here, &there].map(|place| place.address().parse::<arbiter::Place>().unwrap());
    let mark = Mark::leave(&places[0]).unwrap();
    assert!(sees(&places[0], mark.name()).unwrap());
    assert!(!sees(&places[1], mark.name()).unwrap());
    assert!(!sees(&places[0], "web.id").unwrap());
    let mut arbiter = arbiter(&here);
    for name in ["web", "shop"] {
        let name = VmName::new(name).unwrap();
        assert_eq!(arbiter.claim(&name, &claim(1, 1)).verdict, Verdict::Won);
    }
    let names = places[0].vms().unwrap();
    assert_eq!(
        names.iter().map(VmName::as_str).collect::<Vec<_>>(),
        ["shop", "web"]
    );
}

#[test]
fn a_claim_raises_the_fence_around_the_disks_of_its_vm() {
    // FT 2.3-e.
    let place = Alone::new();
    let shop = VmName::new("shop").unwrap();
    let fence = || std::fs::read_to_string(place.dir.path().join("state/fences/shop")).unwrap_or_default();
    let mut arbiter = arbiter(&place);
    assert_eq!(arbiter.claim(&shop, &claim(7, 70)).verdict, Verdict::Won);
    assert!(
        fence().contains(&format!("epoch 7\nowner {:032x}", 70)),
        "{}",
        fence()
    );
    assert_eq!(arbiter.claim(&shop, &claim(7, 71)).verdict, LOST);
    assert!(
        fence().contains(&format!("epoch 7\nowner {:032x}", 70)),
        "{}",
        fence()
    );
    // A VM without a disk here has an arbiter all the same.
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    assert_eq!(arbiter.last(&vm()).unwrap().unwrap().epoch, Epoch(1));
}
