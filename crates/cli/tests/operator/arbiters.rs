//! VMs whose arbiter is a real etcd: it decides when a half dies or the two are cut from each other; nobody
//! misses it while a pair is well; and a half that needs it waits for it. All processes are in the sandbox.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use arbiter::{Arbiter, Closing, Place, Process};
use replica::VmName;

use super::*;
use crate::pki::Pki;
use crate::server::Cluster;

impl Site {
    /// A site whose arbiter is this etcd.
    fn with_etcd(cluster: &Cluster) -> Site {
        let server = &cluster.endpoints()[0];
        let arbiter = format!("etcd://{}", server.strip_prefix("http://").unwrap());
        Site::with_arbiter(arbiter)
    }

    fn opened(&self) -> Box<dyn Arbiter> {
        // A cluster that has just gone on, or that is slow, may not answer in time.
        loop {
            if let Ok(arbiter) = self.arbiter.parse::<Place>().unwrap().open(Process::here(None)) {
                return arbiter;
            }
        }
    }

    /// Checks that this was a VM's last epoch, and that its end is written down by whoever has said all this.
    fn is_over(&self, vm: &str, epoch: u64, said: &str) {
        let (last, closed) = self.record(vm);
        // On a slow machine the process does not wait until it is written, and says so.
        let is_told = closed == Some(Closing::Off) || said.contains("is not written down there");
        assert!(last == epoch && is_told, "{last} {closed:?} {said}");
    }

    /// The last epoch of a VM, and how it has ended.
    fn record(&self, vm: &str) -> (u64, Option<Closing>) {
        let mut arbiter = self.opened();
        let vm = VmName::new(vm).unwrap();
        loop {
            if let Ok(last) = arbiter.last(&vm) {
                let last = last.expect("somebody has claimed an epoch");
                return (last.epoch.0, last.closed);
            }
        }
    }
}

/// A network between a primary and its backup, which can be cut.
struct Network {
    address: String,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    fn before(backup: &str) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (backup, shared) = (backup.to_owned(), Arc::clone(&streams));
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let far = TcpStream::connect(&backup).unwrap();
                let copies = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                shared.lock().unwrap().extend(copies);
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                for (from, to) in [back, (near, far)] {
                    thread::spawn(move || carry(from, to));
                }
            }
        });
        Network { address, streams }
    }

    fn is_cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Carries bytes one way until one side has gone.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn etcd_gives_the_vm_to_the_backup_when_the_primary_is_killed() {
    // FT 2.3-e
    let cluster = Cluster::start(1);
    let site = Site::with_etcd(&cluster);
    let (primary, mut backup) = site.pair();
    primary.signal(Signal::KILL);
    backup.says("the arbiter gives epoch 2 to this side");
    backup.says("this side is live, epoch 2");
    backup.echoes(b'b');
    assert_eq!(site.record("vm"), (2, None));
    backup.types(b"o");
    site.is_over("vm", 2, &backup.ends_well());
}

#[test]
fn an_etcd_that_stands_still_or_is_gone_is_not_missed_until_a_half_dies_and_then_waited_for() {
    let mut cluster = Cluster::start(1);
    let site = Site::with_etcd(&cluster);
    let (mut primary, mut backup) = site.pair();
    cluster.stand(0, true);
    for _ in 0..20 {
        primary.echoes(b'a');
    }
    cluster.kill(0);
    for _ in 0..20 {
        primary.echoes(b'b');
    }
    primary.signal(Signal::KILL);
    let line = backup.says("does not answer; the guest stands");
    let expected = format!("lockstep: the arbiter {} does not answer", site.arbiter);
    assert!(line.starts_with(&expected), "{line}");
    cluster.restart(0);
    backup.says("this side is live, epoch 2");
    backup.echoes(b'c');
    backup.types(b"o");
    site.is_over("vm", 2, &backup.ends_well());
}

#[test]
fn of_two_halves_that_are_cut_from_each_other_etcd_lets_one_go_on() {
    // FT 2.3-e
    let cluster = Cluster::start(1);
    let site = Site::with_etcd(&cluster);
    let (mut backup, address) = site.backup();
    let network = Network::before(&address);
    let mut primary = Replica::start(&mut site.half("primary", &network.address));
    primary.says("paired with");
    backup.says("paired with");
    primary.echoes(b'a');
    network.is_cut();
    // The primary asks at once, and the backup when the primary's lease is over.
    let (status, said) = backup.ends();
    assert_eq!(status.code(), Some(3), "{said}");
    assert_eq!(site.code("backup"), HaltCode::Lost);
    primary.echoes(b'b');
    primary.types(b"o");
    site.is_over("vm", 2, &primary.ends_well());

    // And the other way round, where the primary stands still for too long.
    let (mut primary, mut backup) = site.pair();
    primary.stands_still();
    backup.says("this side is live, epoch 4");
    primary.signal(Signal::CONT);
    let (status, said) = primary.ends();
    assert_eq!(status.code(), Some(3), "{said}");
    backup.echoes(b'b');
    backup.types(b"o");
    site.is_over("vm", 4, &backup.ends_well());
}

#[test]
fn a_vm_that_runs_gets_a_backup_at_a_host_that_hears_of_its_etcd_from_it() {
    let cluster = Cluster::start(1);
    let site = Site::with_etcd(&cluster);
    let (owner, mut copy) = site.protected();
    let status = site.tells(&["status", "web", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["arbiter"], site.arbiter);
    owner.signal(Signal::KILL);
    copy.says("this side is live, epoch 2");
    copy.echoes(b'c');
    copy.types(b"o");
    site.is_over("web", 2, &copy.ends_well());
}

#[test]
fn a_vm_with_a_record_in_etcd_is_not_started_twice_and_is_released_there() {
    let cluster = Cluster::start(1);
    let site = Site::with_etcd(&cluster);
    // Without a key it can get no backup, and may call no port but the etcd's.
    let start = || {
        let mut run = site.lockstep("run");
        run.args(["--name", "web", "--arbiter", &site.arbiter]);
        Replica::start(&mut run)
    };
    let release = |code: i32, sentence: &str| {
        let words = [
            "release",
            "web",
            "--epoch",
            "1",
            "--yes",
            "--arbiter",
            &site.arbiter,
        ];
        let done = site.tells(&words);
        let said = [&done.stdout[..], &done.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(done.status.code(), Some(code), "{said}");
        assert!(said.contains(sentence), "{said}");
    };
    let mut owner = start();
    owner.echoes(b'a');
    let (status, said) = start().ends();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("web runs as epoch 1 on host "), "{said}");
    let flag = format!("`lockstep release web --epoch 1 --arbiter {}`", site.arbiter);
    assert!(said.contains(&flag), "{said}");
    release(4, "and that process lives; stop it instead");
    owner.signal(Signal::KILL);
    owner.ends();
    release(0, "epoch 1 of web is released");
    let mut owner = start();
    owner.echoes(b'a');
    owner.types(b"o");
    site.is_over("web", 2, &owner.ends_well());
}

#[test]
fn an_etcd_with_certificates_is_asked_from_within_the_sandbox() {
    let files = tempfile::tempdir().unwrap();
    let pki = Pki::new(files.path());
    let mut cluster = Cluster::start_with(1, "https", &|addresses| pki.options(addresses));
    let server = cluster.endpoints().remove(0).replace("https://", "etcds://");
    let (ca, shown) = (pki.ca.display(), pki.client());
    let (certificate, key) = (shown.certificate.display(), shown.key.display());
    let options = format!("ca={ca},certificate={certificate},certificate_key={key}");
    let site = Site::with_arbiter(format!("{server},{options}"));
    let (primary, mut backup) = site.pair();
    // The connections of the start are gone, so another one is made, by the thread that asks.
    cluster.kill(0);
    cluster.restart(0);
    primary.signal(Signal::KILL);
    backup.says("this side is live, epoch 2");
    backup.echoes(b'b');
    backup.types(b"o");
    site.is_over("vm", 2, &backup.ends_well());
}

#[test]
fn an_arbiter_that_cannot_be_read_or_reached_is_refused_before_anything_starts() {
    let site = Site::new();
    let complaint = |arbiter: &str, code: i32| {
        let mut run = site.lockstep("run");
        run.args(["--name", "web", "--arbiter", arbiter]);
        let (status, said) = Replica::start(&mut run).ends();
        assert_eq!(status.code(), Some(code), "{said}");
        said
    };
    let said = complaint("etcd://127.0.0.1:2379,ca=x", 2);
    assert!(said.contains("write etcds:// instead of etcd://"), "{said}");
    let said = complaint("etcd://127.0.0.1:9", 1);
    assert!(
        said.contains("the arbiter etcd://127.0.0.1:9 cannot be used"),
        "{said}"
    );
    std::fs::write(site.path("vm.toml"), "name = \"web\"\narbiter = \"etcd://a b\"\n").unwrap();
    let mut run = site.lockstep("run");
    let (status, said) = Replica::start(run.arg(site.path("vm.toml"))).ends();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("vm.toml line 2: `arbiter`: `a b` is no server of etcd"),
        "{said}"
    );
}
