//! Who may take part: VMMs with the gateway's key, each with its own guests, and nobody else.
//!
//! Strangers here reach the port and even know what a genuine peer says; they must neither get a frame nor
//! keep anybody out.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use cable::keyed::{Callee, KeyedError, is_greeting};
use cable::stream::Word;
use gateway::{GatewayConfig, GatewayError, GuestListen};
use guest::{FIRST_LEASE, GATEWAY, Gateway, Guest, Wire, arp, mac, tcp_segment};
use link::Key;
use scene::connected;
use smoltcp::wire::{EthernetAddress, EthernetFrame};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

fn key(number: u8) -> Key {
    Key::new([number; 32])
}

/// A gateway that takes only these keys.
fn with_keys(keys: &[u8]) -> Gateway {
    Gateway::start(|config| {
        config.insecure = false;
        config.keys = keys.iter().map(|&number| key(number)).collect();
        config.forwards.push("127.0.0.1:0-:7".parse().unwrap());
    })
}

fn keyed_guest(gateway: &Gateway, key: &Key, number: u8) -> Guest {
    let mut guest = Guest::on(Wire::live(gateway, key, 1), number);
    guest.lease();
    guest
}

/// Whom the next frame that is not for everybody is for.
fn next_answered(wire: &mut Wire) -> EthernetAddress {
    loop {
        let to = EthernetFrame::new_unchecked(wire.receive()).dst_addr();
        if to.is_unicast() {
            return to;
        }
    }
}

/// Sends frames in the clear and reads what comes until the other end closes.
fn speak_plainly(mut stream: impl Read + Write) -> Vec<u8> {
    let mut frame = Vec::new();
    cable::stream::write_frame(&mut frame, &arp(mac(1), FIRST_LEASE, FIRST_LEASE)).unwrap();
    let mut heard = Vec::new();
    // The gateway may have closed already.
    let _ = stream.write_all(&frame);
    let _ = stream.read_to_end(&mut heard);
    heard
}

#[test]
fn over_tcp_there_is_no_gateway_without_a_key_unless_asked_for() {
    let config = GatewayConfig::new(GuestListen::Tcp("127.0.0.1:0".parse().unwrap()));
    let error = gateway::run(config, |_| panic!("it is not ready")).unwrap_err();
    assert!(matches!(error, GatewayError::NoKey));
    assert!(error.to_string().contains("--key FILE"), "{error}");
}

#[test]
fn a_stranger_is_refused_and_takes_no_guests_traffic() {
    let gateway = with_keys(&[1]);
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let (server, mut client) = connected(&gateway, &mut guest);
    // The same frame with which a backup takes over, from somebody without the key and from somebody with
    // another.
    let heard = speak_plainly(gateway.connect());
    assert!(is_greeting(&heard), "it is told that a key is wanted");
    assert_eq!(Wire::probe(&gateway, &key(2)).err(), Some(KeyedError::AnotherKey));
    // What the client sends next goes to the guest, and to it alone.
    client.write_all(b"secret").unwrap();
    guest.run_until(|guest| guest.tcp(server).recv_queue() == 6);
}

#[test]
fn in_the_clear_nobody_takes_a_guest_that_has_a_key() {
    // Both kinds at once: a gateway with a key that was started with `--insecure`.
    let gateway = Gateway::start(|config| config.keys.push(key(1)));
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let mut thief = Wire::new(&gateway);
    thief.send(&arp(mac(1), FIRST_LEASE, FIRST_LEASE));
    // Its own address it may use: the answer to that one shows that the first frame was dropped.
    thief.send(&arp(mac(66), [10, 0, 2, 66].into(), GATEWAY));
    assert_eq!(next_answered(&mut thief), mac(66));
    guest.ping(GATEWAY);
    // And not while the guest is away either.
    drop(guest);
    thief.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    thief.send(&arp(mac(66), [10, 0, 2, 66].into(), GATEWAY));
    assert_eq!(next_answered(&mut thief), mac(66));
}

#[test]
fn each_key_has_its_own_guests() {
    let gateway = with_keys(&[1, 2]);
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let mut neighbour = keyed_guest(&gateway, &key(2), 2);
    // The neighbour's VMM claims the guest's address in a higher epoch.
    let mut thief = Wire::live(&gateway, &key(2), 99);
    thief.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    thief.send(&arp(mac(3), [10, 0, 2, 30].into(), GATEWAY));
    assert_eq!(next_answered(&mut thief), mac(3));
    guest.ping(GATEWAY);
    neighbour.ping(GATEWAY);
}

#[test]
fn a_backup_takes_over_on_the_connection_with_which_it_probed() {
    let gateway = with_keys(&[1]);
    let mut backup = Wire::probe(&gateway, &key(1)).unwrap();
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let (server, mut client) = connected(&gateway, &mut guest);
    client.write_all(b"request").unwrap();
    while tcp_segment(&guest.wire.receive()).is_none_or(|(_, tcp)| tcp.payload() != b"request") {}
    // A probe owns nothing, whatever it sends, and gets nothing, not even broadcasts.
    backup.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    guest.ping(GATEWAY);

    backup.say(Word::Live { epoch: 2 });
    // The old primary is still connected, and speaks again: it is stalled, not dead. Its frames count for
    // nothing.
    let mut old = guest.move_to(backup);
    guest.ping(GATEWAY);
    old.send(&arp(mac(1), FIRST_LEASE, FIRST_LEASE));
    // Nor do they if it connects again, having missed that it has lost.
    let mut again = Wire::live(&gateway, &key(1), 1);
    again.send(&arp(mac(1), FIRST_LEASE, FIRST_LEASE));
    guest.run_until(|guest| guest.tcp(server).recv_queue() == 7);
    guest.ping(GATEWAY);
}

#[test]
fn what_a_primary_showed_before_it_left_reaches_the_client() {
    let gateway = with_keys(&[1]);
    let mut backup = Wire::probe(&gateway, &key(1)).unwrap();
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let (server, mut client) = connected(&gateway, &mut guest);
    // The reply stands behind more frames than the gateway handles in a turn; in the next one it hears of the
    // backup.
    guest
        .wire
        .send_many(&arp(mac(1), FIRST_LEASE, [10, 0, 2, 77].into()), 4000);
    guest.tcp(server).send_slice(b"reply").unwrap();
    guest.poll();
    backup.say(Word::Live { epoch: 2 });
    let primary = guest.move_to(backup);
    // The gateway answers the backup only after all that the primary had sent; the guest's timer for sending
    // the reply once more is far away.
    guest.ping(GATEWAY);
    client.set_nonblocking(true).unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"reply");
    drop(primary);
}

#[test]
fn a_primary_that_connects_again_goes_on_at_once() {
    let gateway = with_keys(&[1]);
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let (server, mut client) = connected(&gateway, &mut guest);
    client.write_all(b"request").unwrap();
    while tcp_segment(&guest.wire.receive()).is_none_or(|(_, tcp)| tcp.payload() != b"request") {}
    // The old connection hangs in a cut network; the new one is of the same epoch.
    let old = guest.move_to(Wire::live(&gateway, &key(1), 1));
    guest.wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    let resent = loop {
        let frame = guest.wire.receive();
        if tcp_segment(&frame).is_some_and(|(_, tcp)| tcp.payload() == b"request") {
            break frame;
        }
        let is_arp = EthernetFrame::new_unchecked(&frame).ethertype() == smoltcp::wire::EthernetProtocol::Arp;
        assert!(
            !is_arp,
            "what was lost came before the answer to the next question"
        );
    };
    guest.wire.put_back(resent);
    guest.run_until(|guest| guest.tcp(server).recv_queue() == 7);
    drop(old);
}

#[test]
fn what_was_lost_in_a_silence_is_sent_again_when_the_path_is_back() {
    let gateway = with_keys(&[1]);
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    let (server, mut client) = connected(&gateway, &mut guest);
    client.write_all(b"request").unwrap();
    // The frame is lost, and so is every one that the gateway sends by itself, which it does ever more
    // rarely.
    for _ in 0..2 {
        while tcp_segment(&guest.wire.receive()).is_none_or(|(_, tcp)| tcp.payload() != b"request") {}
    }
    // Nothing but a question on the connection shows that the path is back.
    guest.wire.say(Word::Ping);
    guest.run_until(|guest| guest.tcp(server).recv_queue() == 7);
}

#[test]
fn a_peer_that_falls_silent_is_disconnected() {
    let gateway = with_keys(&[1]);
    let mut wire = Wire::live(&gateway, &key(1), 1);
    // Who asks once will go on asking, as long as there is a path.
    wire.say(Word::Ping);
    assert!(wire.is_closed());
}

#[test]
fn strangers_at_the_door_keep_no_vmm_out() {
    let gateway = with_keys(&[1]);
    let silent: Vec<TcpStream> = (0..200).map(|_| gateway.connect()).collect();
    let mut guest = keyed_guest(&gateway, &key(1), 1);
    guest.ping(GATEWAY);
    // Each of them is sent away in the end, without having said a word.
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn garbage_at_the_door_is_survived() {
    let gateway = with_keys(&[1]);
    let greeting = cable::keyed::greeting(true).unwrap();
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x4c; 200],
        &greeting[..9],
        &[&greeting[..], &[0xff; 200]].concat(),
        &[&greeting[..], &[48, 0], &[7; 48]].concat(),
    ] {
        let mut stream = gateway.connect();
        stream.write_all(said).unwrap();
        // It may have been sent away by now.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    keyed_guest(&gateway, &key(1), 1).ping(GATEWAY);
}

#[test]
fn a_unix_socket_is_its_users_own_and_takes_both_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway");
    let gateway = Gateway::start(|config| {
        config.listen = GuestListen::Unix(path.clone());
        config.insecure = false;
        config.keys.push(key(1));
    });
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut plain = UnixStream::connect(&path).unwrap();
    let mut bytes = Vec::new();
    cable::stream::write_frame(&mut bytes, &arp(mac(1), FIRST_LEASE, GATEWAY)).unwrap();
    plain.write_all(&bytes).unwrap();
    let mut length = [0; 4];
    plain.read_exact(&mut length).unwrap();
    assert_eq!(u32::from_be_bytes(length), 42);
    let mut keyed = UnixStream::connect(&path).unwrap();
    keyed.write_all(&cable::keyed::greeting(true).unwrap()).unwrap();
    let mut greeting = [0; 26];
    keyed.read_exact(&mut greeting).unwrap();
    assert!(is_greeting(&greeting));
    drop(gateway);
}

#[test]
fn a_vmm_with_a_key_hears_that_the_gateway_has_none() {
    let gateway = Gateway::start(|_| {});
    assert_eq!(
        Wire::probe(&gateway, &key(1)).err(),
        Some(KeyedError::GatewayHasNoKey)
    );
    assert!(
        KeyedError::GatewayHasNoKey
            .to_string()
            .contains("start it with `--key FILE`")
    );
    assert!(!Callee::last_words(KeyedError::PeerWantsKey).is_empty());
}
