//! The guest's cable to a gateway with a key: probing, going live, cuts that nobody reports, and
//! reconnecting.
//!
//! The gateway is a real one, with the guest of its own tests behind it.

#[path = "../../gateway/tests/support/guest.rs"]
mod guest;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use cable::keyed::{Callee, Next};
use cable::stream::Word;
use cable::wire::Wire;
use gateway::GuestListen;
use guest::{Gateway, mac};
use link::{Key, KeyFile};
use os::sys::clock;
use os::wake::Waker;
use ports::limits::{GATEWAY_KEPT_FOR, ITEMS_MAX};
use ports::{Endpoint, Lead, NetError, Port, PortSpec, announce};
use replica::{Epoch, Time};
use rustix::event::{PollFd, PollFlags, poll};

const KEY: [u8; 32] = [7; 32];

/// A host that has the gateway's key, and opens cables to the gateway with it.
struct KeyedHost {
    _dir: tempfile::TempDir,
    /// The file with the key.
    key: PathBuf,
    /// Wakes this thread when a cable is plugged in.
    waker: Waker,
}

impl KeyedHost {
    fn new() -> KeyedHost {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        write_key(&key, KEY);
        KeyedHost {
            _dir: dir,
            key,
            waker: Waker::new().unwrap(),
        }
    }

    fn port(&self, address: SocketAddr) -> (PortSpec, Port) {
        let spec = PortSpec::Gateway {
            endpoint: Endpoint::Tcp(address),
            key: Some(KeyFile {
                path: self.key.clone(),
                though_open: false,
            }),
        };
        let port = Port::open(&spec, &self.waker).unwrap();
        (spec, port)
    }

    /// Does what the guest thread does until `done`.
    fn run_until(&self, port: &mut Port, mut done: impl FnMut(&mut Port) -> bool) {
        while !done(port) {
            let now = clock::now();
            if port.deadline().is_some_and(|at| at <= now) {
                port.on_time(now);
            }
            port.flush();
            let patience = port
                .deadline()
                .map(|at| clock::timespec(at.since(clock::now()).0));
            let mut fds = vec![PollFd::new(&self.waker, PollFlags::IN)];
            let fd = port.fd();
            fds.extend(fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            poll(&mut fds, patience.as_ref()).unwrap();
            self.waker.clear();
            port.on_wake();
            assert_eq!(port.receive().count(), 0, "no frame was expected");
        }
    }
}

fn write_key(path: &Path, key: [u8; 32]) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(Key::new(key).to_hex().as_bytes()).unwrap();
}

fn gateway(listen: SocketAddr) -> Gateway {
    Gateway::start(|config| {
        config.listen = GuestListen::Tcp(listen);
        config.insecure = false;
        config.keys = vec![Key::new(KEY)];
    })
}

fn address(gateway: &Gateway) -> SocketAddr {
    match gateway.ready.listen {
        GuestListen::Tcp(address) => address,
        GuestListen::Unix(_) => panic!("a TCP gateway"),
    }
}

/// A free port of the loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A relay between a port and a gateway that can be cut so that neither end hears of it: it just stops.
struct Relay {
    address: SocketAddr,
    cut: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Relay {
    fn new(to: SocketAddr) -> Relay {
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        let cut = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_cut = std::sync::Arc::clone(&cut);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if is_cut.load(std::sync::atomic::Ordering::SeqCst) {
                    // As a host that is away: nobody answers, ever.
                    std::mem::forget(near);
                    continue;
                }
                let far = TcpStream::connect(to).unwrap();
                for (mut from, mut into) in
                    [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
                {
                    let is_cut = std::sync::Arc::clone(&is_cut);
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            if is_cut.load(std::sync::atomic::Ordering::SeqCst) {
                                std::mem::forget((from, into));
                                return;
                            }
                            if into.write_all(&buffer[..length]).is_err() {
                                return;
                            }
                        }
                        let _ = into.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Relay { address, cut }
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, std::sync::atomic::Ordering::SeqCst);
    }
}

fn leads(port: &mut Port) -> bool {
    port.lead(clock::now()) != Lead::Nowhere
}

/// Until the gateway has answered a question; that it is connected is news as well.
fn be_answered(host: &KeyedHost, port: &mut Port) {
    host.run_until(port, leads);
    let first = port.lead(clock::now());
    host.run_until(port, |port| leads(port) && port.lead(clock::now()) != first);
}

#[test]
fn a_quiet_replica_knows_whether_its_way_to_the_gateway_is_well() {
    let host = KeyedHost::new();
    let gateway = gateway(ANY);
    let relay = Relay::new(address(&gateway));
    let (_, mut port) = host.port(relay.address);
    assert!(!leads(&mut port), "it has not been reached yet");
    port.stay_quiet();
    be_answered(&host, &mut port);
    // The gateway counts after it has answered.
    host.run_until(&mut port, |_| gateway.ready.gauges.peers.get() == 1);
    relay.cut(true);
    host.run_until(&mut port, |port| !leads(port));
    // The gateway notices too.
    host.run_until(&mut port, |_| gateway.ready.gauges.peers.get() == 0);
    relay.cut(false);
    be_answered(&host, &mut port);
}

#[test]
fn what_a_live_replica_sent_into_a_cut_arrives_when_the_path_is_back() {
    let host = KeyedHost::new();
    // Takes those without a key as well: another guest looks on.
    let gateway = Gateway::start(|config| config.keys = vec![Key::new(KEY)]);
    let relay = Relay::new(address(&gateway));
    let (spec, mut port) = host.port(relay.address);
    port.check(&spec).unwrap();
    port.go_live(Epoch(1));
    let mut other = guest::Guest::with_lease(&gateway, 2);
    be_answered(&host, &mut port);
    relay.cut(true);
    host.run_until(&mut port, |port| !leads(port));
    port.transmit(&announce::frame(mac(9).0));
    port.flush();
    relay.cut(false);
    // Nobody sends it again but the port.
    be_answered(&host, &mut port);
    while other.wire.receive()[6..12] != mac(9).0 {}
}

#[test]
fn a_gateway_with_a_key_that_restarts_is_found_again() {
    let host = KeyedHost::new();
    let first = gateway(ANY);
    let address = address(&first);
    let (spec, mut port) = host.port(address);
    port.check(&spec).unwrap();
    port.go_live(Epoch(1));
    drop(first);
    host.run_until(&mut port, |port| !leads(port));
    let second = gateway(address);
    host.run_until(&mut port, leads);
    host.run_until(&mut port, |_| second.ready.gauges.peers.get() == 1);
}

#[test]
fn a_gateway_with_another_key_and_a_port_without_one_are_told_apart_at_the_start() {
    let host = KeyedHost::new();
    let gateway = Gateway::start(|config| {
        config.insecure = false;
        config.keys = vec![Key::new([8; 32])];
    });
    let (spec, mut port) = host.port(address(&gateway));
    let error = port.check(&spec).unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }));
    let sentence = os::error::chain(&error);
    assert!(sentence.contains("it has another key"), "{sentence}");
    let nobody = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let (spec, mut port) = host.port(nobody);
    let sentence = os::error::chain(&port.check(&spec).unwrap_err());
    assert!(
        sentence.contains("start it with `lockstep gateway`"),
        "{sentence}"
    );
}

#[test]
fn a_guest_without_a_network_lacks_nothing() {
    assert_ne!(Port::None.lead(Time(0)), Lead::Nowhere);
    assert_ne!(host::cables::Cables::default().lead(Time(0)), Lead::Nowhere);
}

#[test]
fn what_is_shown_at_a_takeover_waits_for_a_gateway_that_was_away_for_long() {
    let host = KeyedHost::new();
    let gateway = Gateway::start(|config| config.keys = vec![Key::new(KEY)]);
    let relay = Relay::new(address(&gateway));
    let (_, mut port) = host.port(relay.address);
    port.stay_quiet();
    be_answered(&host, &mut port);
    let mut other = guest::Guest::with_lease(&gateway, 2);
    relay.cut(true);
    host.run_until(&mut port, |port| port.fd().is_none());
    // Until frames of that time would be too old to send, as the answers to another port show.
    let too_old = clock::now().after(GATEWAY_KEPT_FOR);
    let (_, mut uncut) = host.port(address(&gateway));
    uncut.stay_quiet();
    while clock::now() <= too_old {
        be_answered(&host, &mut uncut);
    }
    port.go_live(Epoch(1));
    port.transmit(&announce::frame(mac(9).0));
    relay.cut(false);
    be_answered(&host, &mut port);
    while other.wire.receive()[6..12] != mac(9).0 {}
}

/// Takes one connection as a gateway with the key does.
fn take_one(listener: &TcpListener) -> Wire<TcpStream> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut callee = Callee::default();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        match callee.take(&byte, &[Key::new(KEY)]).unwrap() {
            Next::More => {}
            Next::Send(bytes) => stream.write_all(&bytes).unwrap(),
            Next::Done(done) => {
                stream.write_all(&done.send).unwrap();
                return Wire::new(stream, Some(done.records));
            }
        }
    }
}

#[test]
fn a_gateway_that_says_one_word_after_the_other_does_not_hold_up_the_guest() {
    let host = KeyedHost::new();
    let listener = TcpListener::bind(ANY).unwrap();
    let (_, mut port) = host.port(listener.local_addr().unwrap());
    let gateway = std::thread::spawn(move || {
        let mut wire = take_one(&listener);
        for _ in 0..3 * ITEMS_MAX {
            wire.say(Word::Pong);
        }
        assert!(wire.flush().unwrap());
        wire
    });
    port.stay_quiet();
    // It stops reading before it has heard the end.
    host.run_until(&mut port, |port| port.fd().is_some());
    // All of it has come before the first look: what comes piece by piece is read to the end each time.
    let gateway = gateway.join().unwrap();
    host.run_until(&mut port, |port| port.is_unread() || port.fd().is_none());
    assert!(
        port.is_unread(),
        "it read to the end, and then the gateway was mute"
    );
    while port.is_unread() {
        assert_eq!(port.receive().count(), 0);
    }
    drop(gateway);
}
