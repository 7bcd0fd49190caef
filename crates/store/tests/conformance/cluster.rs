//! The store in etcd, and what can go wrong with it alone: servers that die while others write, compaction
//! while nobody listens, the arbiter's keys.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use etcd::{Client, Operation, Settings};
use store::{Etcd, Expected, Prefix, Seen, Store, StoreError};

use crate::counting::{self, count_by_threads};
use crate::server::Cluster;
use crate::watching::View;
use crate::{LONG, Place, content, key, value_of};

/// How long a call may take where servers go away, in ms: a slow machine has some of them fail, which the
/// tests bear.
const DEADLINE_MS: u64 = 3_000;

/// One server.
pub struct Alone(Cluster);

impl Place for Alone {
    fn new() -> Alone {
        Alone(Cluster::start(1))
    }

    fn address(&self) -> String {
        address(&self.0, LONG.as_millis() as u64)
    }

    fn go_away(&mut self) {
        self.0.kill(0);
    }

    fn come_back(&mut self) {
        self.0.restart(0);
    }
}

/// Three servers, of which one may die.
struct Three(Cluster);

impl Place for Three {
    fn new() -> Three {
        Three(Cluster::start(3))
    }

    fn address(&self) -> String {
        address(&self.0, DEADLINE_MS)
    }

    fn go_away(&mut self) {
        self.0.kill(0);
        self.0.kill(1);
    }

    fn come_back(&mut self) {
        self.0.restart(0);
        self.0.restart(1);
    }
}

fn address(cluster: &Cluster, deadline_ms: u64) -> String {
    format!("etcd {deadline_ms} {}", cluster.endpoints().join(" "))
}

#[test]
fn a_server_that_dies_while_writers_count_loses_nothing() {
    let place = Three::new();
    let other = place.host();
    let mut watch = other.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    view.follow(&mut *watch);
    let address = place.address();
    let Three(mut cluster) = place;
    let hosts = Hosts(address);
    count_by_threads(&hosts, 4, 30, || {
        // In the middle, by their own count. All of them have asked this server until now.
        while view.keys.values().all(|count| counting::sum(count) < 20) {
            view.follow(&mut *watch);
        }
        cluster.kill(0);
        while view.keys.values().all(|count| counting::sum(count) < 60) {
            view.follow(&mut *watch);
        }
        cluster.restart(0);
    });
    crate::watching::reach(&*other);
    let count = counting::read(&*other).unwrap();
    assert_eq!(count.into_values().collect::<Vec<_>>(), [30; 4]);
    while view.keys.values().all(|count| counting::sum(count) < 120) {
        view.follow(&mut *watch);
    }
}

/// Stores by address alone, while somebody else has the servers.
struct Hosts(String);

impl Place for Hosts {
    fn new() -> Hosts {
        unreachable!("it is made of a cluster's address")
    }

    fn address(&self) -> String {
        self.0.clone()
    }

    fn go_away(&mut self) {}

    fn come_back(&mut self) {}
}

#[test]
fn a_cluster_without_a_majority_is_away() {
    let mut place = Three::new();
    let store = place.host();
    crate::watching::reach(&*store);
    let web = key("vms/web/spec");
    while store.write(&web, b"1", Expected::Any).is_err() {}
    place.go_away();
    assert!(matches!(store.read(&web), Err(StoreError::Away { .. })));
    assert!(matches!(
        store.write(&web, b"2", Expected::Any),
        Err(StoreError::Away { .. })
    ));
    place.come_back();
    crate::watching::reach(&*store);
    let value = value_of(&*store, &web);
    View::default().until(&mut *store.watch(&Prefix::all()).unwrap(), &web, value.as_deref());
}

#[test]
fn a_watch_that_has_missed_what_is_compacted_reads_everything_again() {
    let cluster = Cluster::start(1);
    let direct = crate::writer::open(&address(&cluster, LONG.as_millis() as u64));
    let gate = Gate::before(cluster.endpoints()[0].strip_prefix("http://").unwrap());
    let far = crate::writer::open(&format!("etcd {} http://{}", DEADLINE_MS, gate.address));
    let (web, old) = (key("vms/web/spec"), key("vms/old/spec"));
    direct.write(&old, b"0", Expected::Any).unwrap();
    let mut watch = far.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    while view.anew == 0 {
        view.follow(&mut *watch);
    }
    direct.write(&web, b"1", Expected::Any).unwrap();
    while !view.keys.contains_key(&web) {
        view.follow(&mut *watch);
    }
    gate.shut();
    direct.remove(&old, Expected::Any).unwrap();
    let last = direct.write(&web, b"2", Expected::Any).unwrap();
    cluster.compact(last.0);
    gate.open();
    while view.keys.contains_key(&old) || view.keys[&web] != b"2" {
        view.follow(&mut *watch);
    }
    assert_eq!(view.anew, 2);
    // A cut that misses nothing that is compacted is noticed by nobody.
    gate.shut();
    direct.write(&web, b"3", Expected::Any).unwrap();
    gate.open();
    while view.keys[&web] != b"3" {
        view.follow(&mut *watch);
    }
    assert_eq!(view.anew, 2);
}

#[test]
fn a_watch_whose_server_stands_still_goes_on_at_another_one() {
    let place = Three::new();
    let store = place.host();
    let web = key("vms/web/spec");
    while store.write(&web, b"1", Expected::Any).is_err() {}
    let mut watch = store.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    view.until(&mut *watch, &web, Some(b"1"));
    // At one of them the watch is.
    for server in 0..3 {
        place.0.stand(server, true);
        let value = format!("without {server}");
        while store.write(&web, value.as_bytes(), Expected::Any).is_err() {}
        view.until(&mut *watch, &web, Some(value.as_bytes()));
        place.0.stand(server, false);
    }
    assert_eq!(view.anew, 1);
}

#[test]
fn keys_of_others_are_not_seen() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let client = Client::new(Settings {
        deadline: LONG,
        ..Settings::new(&[&endpoints[0]])
    })
    .unwrap();
    let store = crate::writer::open(&address(&cluster, LONG.as_millis() as u64));
    let mut watch = store.watch(&Prefix::all()).unwrap();
    assert_eq!(watch.next(LONG).unwrap(), Seen::Everything(Vec::new()));
    for name in [
        "/lockstep/1/owner/web",
        "/lockstep/1/a b",
        "/lockstep/2/vms/web/spec",
        "/lockstep/1/",
    ] {
        let put = Operation::Put {
            key: name.into(),
            value: b"x".to_vec(),
            lease: None,
        };
        client.transact(&[], &[put], &[]).unwrap();
    }
    store.write(&key("a"), b"1", Expected::Absent).unwrap();
    assert_eq!(content(&*store, ""), ["a=1"]);
    match watch.next(LONG).unwrap() {
        Seen::Changes(changes) => assert_eq!(changes.len(), 1),
        other => panic!("{other:?}"),
    }
    // Two sites in one cluster.
    let settings = Settings {
        deadline: LONG,
        ..Settings::new(&[&endpoints[0]])
    };
    let other = Etcd::new(settings, "/other/").unwrap();
    assert_eq!(content(&other, ""), [""; 0]);
    other.write(&key("a"), b"2", Expected::Absent).unwrap();
    assert_eq!(value_of(&*store, &key("a")), Some(b"1".to_vec()));
    assert_eq!(watch.next(Duration::ZERO).unwrap(), Seen::Nothing);
}

/// What stands between a client and a server, and lets connections through or cuts them.
struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    shut: bool,
    streams: Vec<TcpStream>,
}

impl Gate {
    fn before(server: &str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let mut state = shared.lock().unwrap();
                if state.shut {
                    continue;
                }
                let far = TcpStream::connect(&server).unwrap();
                state
                    .streams
                    .extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                let (back, forth) = ((far.try_clone().unwrap(), near.try_clone().unwrap()), (near, far));
                for (from, to) in [back, forth] {
                    thread::spawn(move || carry(from, &to));
                }
            }
        });
        Gate { address, state }
    }

    fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.shut = true;
        for stream in state.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) {
        self.state.lock().unwrap().shut = false;
    }
}

/// Carries bytes one way until one side has gone.
fn carry(mut from: TcpStream, mut to: &TcpStream) {
    let mut bytes = [0; 4096];
    let mut step = || -> io::Result<usize> {
        let count = from.read(&mut bytes)?;
        to.write_all(&bytes[..count])?;
        Ok(count)
    };
    while step().is_ok_and(|count| count > 0) {}
    let _ = to.shutdown(Shutdown::Both);
}
