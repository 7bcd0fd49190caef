//! The link between replicas: who is let in, who is refused with which words, and that messages arrive.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use link::limits::{HANDSHAKES_MAX, REFUSALS_TOLD_MAX};
use link::{Arrival, Key, Link, LinkError, Listener, Security, connect};
use replica::Span;
use socket2::SockRef;

fn key(byte: u8) -> Security {
    Security::Key(Key::new([byte; 32]))
}

/// A listener in its own thread: its address, the link it accepts, and the words about those it refuses.
fn listen(security: Security) -> (SocketAddr, Receiver<Link>, Receiver<String>) {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), security).unwrap();
    let address = listener.address();
    let (links, accepted) = channel();
    let (words, refused) = channel();
    thread::spawn(move || {
        let result = listener.accept(None, &mut |arrival| {
            if let Arrival::Refused(error) = arrival {
                let _ = words.send(error.to_string());
            }
        });
        let _ = links.send(result.unwrap());
    });
    (address, accepted, refused)
}

fn call(address: SocketAddr, security: &Security) -> Result<Link, LinkError> {
    connect(address, security, Span::from_ms(10_000), &mut |_| true)
}

/// Blocks until a message is there, and gives it.
fn next(link: &mut Link) -> Result<Vec<u8>, LinkError> {
    loop {
        if let Some(message) = link.receive()? {
            return Ok(message);
        }
        thread::yield_now();
    }
}

fn pair(security: Security) -> (Link, Link) {
    let (address, accepted, _refused) = listen(security.clone());
    let left = call(address, &security).unwrap();
    (left, accepted.recv().unwrap())
}

#[test]
fn messages_of_every_length_arrive_whole_and_in_order() {
    for security in [key(1), Security::Insecure] {
        let (mut left, mut right) = pair(security);
        let lengths = [
            0, 1, 65_514, 65_515, 65_516, 65_535, 65_536, 200_000, 20_000_000, 3,
        ];
        let messages: Vec<Vec<u8>> = lengths
            .iter()
            .map(|&n| (0..n).map(|i| (i * 7 + n) as u8).collect())
            .collect();
        let expected = messages.clone();
        let reader = thread::spawn(move || {
            for message in expected {
                assert!(next(&mut right).unwrap() == message);
            }
            right
        });
        for message in &messages {
            left.send(message).unwrap();
            while !left.flush().unwrap() {
                thread::yield_now();
            }
        }
        let mut right = reader.join().unwrap();
        right.send(b"and back").unwrap();
        assert!(right.flush().unwrap());
        assert_eq!(next(&mut left).unwrap(), b"and back");
    }
}

#[test]
fn what_arrived_before_the_end_is_given_out_before_the_error() {
    let (mut left, mut right) = pair(key(1));
    for n in 0..100_u8 {
        left.send(&[n]).unwrap();
    }
    assert!(left.flush().unwrap());
    drop(left);
    for n in 0..100_u8 {
        assert_eq!(next(&mut right).unwrap(), [n]);
    }
    assert!(matches!(next(&mut right), Err(LinkError::Closed { .. })));
}

#[test]
fn another_key_is_refused_with_clear_words_on_both_sides() {
    let (address, accepted, refused) = listen(key(1));
    let error = call(address, &key(2)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has another key; copy the same key file"),
        "{error}"
    );
    let words = refused.recv().unwrap();
    assert!(
        words.contains("has another key; copy the same key file"),
        "{words}"
    );
    // The caller with the right key is still welcome.
    let _link = call(address, &key(1)).unwrap();
    accepted.recv().unwrap();
}

#[test]
fn a_key_on_one_side_only_is_refused_with_clear_words_on_both_sides() {
    for (listener, caller) in [(key(1), Security::Insecure), (Security::Insecure, key(1))] {
        let (address, _accepted, refused) = listen(listener.clone());
        let error = call(address, &caller).unwrap_err().to_string();
        let words = refused.recv().unwrap();
        let (with, without) = if caller == Security::Insecure {
            (&error, &words)
        } else {
            (&words, &error)
        };
        assert!(with.contains("has a key and this side has not"), "{with}");
        assert!(without.contains("has not a key and this side has"), "{without}");
    }
}

#[test]
fn strangers_are_refused_and_silent_ones_keep_nobody_out() {
    let (address, accepted, refused) = listen(key(1));
    let _silent = TcpStream::connect(address).unwrap();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 5000],
        b"LOCKSTEP\x01\x01",
    ] {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(garbage).unwrap();
        drop(stranger);
        refused.recv().unwrap();
    }
    let mut future = TcpStream::connect(address).unwrap();
    future.write_all(b"LOCKSTEP\x09\x01................").unwrap();
    assert!(
        refused
            .recv()
            .unwrap()
            .contains("speaks version 9 of the link and this side version 1")
    );
    let _link = call(address, &key(1)).unwrap();
    accepted.recv().unwrap();
}

#[test]
fn silent_connections_however_many_keep_nobody_out() {
    for security in [key(1), Security::Insecure] {
        let (address, accepted, _refused) = listen(security.clone());
        let silent: Vec<_> = (0..HANDSHAKES_MAX + 50)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let link = call(address, &security).unwrap();
        assert_eq!(accepted.recv().unwrap().peer().ip(), link.peer().ip());
        drop(silent);
    }
}

#[test]
fn a_caller_that_says_a_byte_now_and_then_is_dropped_all_the_same() {
    let (address, accepted, refused) = listen(key(1));
    let mut dribbler = TcpStream::connect(address).unwrap();
    let words = loop {
        match refused.recv_timeout(Duration::from_millis(300)) {
            Ok(words) => break words,
            // The bytes begin like a greeting's magic and go on with anything: nothing is wrong before the
            // magic is whole.
            Err(_) => drop(dribbler.write(b"L").and_then(|_| dribbler.write(b"O"))),
        }
    };
    assert!(words.contains("does not speak Lockstep"), "{words}");
    let mut dribbler = TcpStream::connect(address).unwrap();
    let greeting = *b"LOCKSTEP\x01\x01................";
    let mut rest = greeting.iter();
    let words = loop {
        match refused.recv_timeout(Duration::from_millis(300)) {
            Ok(words) => break words,
            Err(_) => drop(dribbler.write(rest.as_slice().get(..1).unwrap_or(b"\0"))),
        }
        rest.next();
    };
    assert!(words.contains("did not introduce itself"), "{words}");
    let _link = call(address, &key(1)).unwrap();
    accepted.recv().unwrap();
}

#[test]
fn a_flood_of_refused_callers_is_not_told_of_one_by_one() {
    let (address, accepted, refused) = listen(key(1));
    for _ in 0..100 {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Reads until the stranger is refused, so that all hundred are.
        while let Ok(1..) = std::io::Read::read(&mut stranger, &mut [0; 64]) {}
    }
    let _link = call(address, &key(1)).unwrap();
    accepted.recv().unwrap();
    // A minute later as many would be told again. This test is not meant to take a minute, but it may.
    assert!(refused.iter().count() as u64 <= 2 * REFUSALS_TOLD_MAX);
}

#[test]
fn the_primary_calls_again_when_a_listener_hangs_up_or_says_nothing() {
    let broken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = broken.local_addr().unwrap();
    let (failed, failures) = channel();
    let caller = thread::spawn(move || {
        connect(address, &key(1), Span::from_ms(600_000), &mut |attempt| {
            let _ = failed.send(attempt.error.to_string());
            true
        })
    });
    // The listener hangs up at once; then it takes the next call and says nothing.
    drop(broken.accept().unwrap());
    let words = failures.recv().unwrap();
    assert!(words.contains("did not introduce itself"), "{words}");
    let silent = broken.accept().unwrap();
    let words = failures.recv().unwrap();
    assert!(words.contains("said nothing for 5 s"), "{words}");
    drop((silent, broken));
    let mut listener = Listener::bind(address, key(1)).unwrap();
    listener.accept(None, &mut |_| {}).unwrap();
    caller.join().unwrap().unwrap();
}

#[test]
fn a_listener_that_stays_silent_is_named_when_patience_is_over() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = connect(address, &key(1), Span(0), &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("did not introduce itself"), "{error}");
}

#[test]
fn the_kernel_resends_without_doubling_and_asks_after_a_silent_peer() {
    use rustix::net::sockopt;
    let (left, right) = pair(key(1));
    for link in [&left, &right] {
        assert!(sockopt::tcp_thin_linear_timeouts(link).unwrap());
        assert!(sockopt::socket_keepalive(link).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(link).unwrap(), 12_000);
        // With a longer failure-detection timeout the kernel is more patient than that.
        link.outlast(Span::from_ms(500)).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(link).unwrap(), 12_000);
        link.outlast(Span::from_ms(60_000)).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(link).unwrap(), 300_000);
        // A replica waits for four of its timeouts at most.
        link.outlast(Span::from_ms(3_000)).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(link).unwrap(), 15_000);
    }
}

#[test]
fn messages_that_one_read_has_brought_are_known_to_be_there() {
    for security in [key(1), Security::Insecure] {
        let (mut left, mut right) = pair(security);
        for n in 0..100_u8 {
            left.send(&[n]).unwrap();
        }
        assert!(left.flush().unwrap());
        assert_eq!(next(&mut right).unwrap(), [0]);
        // The kernel tells what it has still to give; what has been read already, only the link knows.
        let mut count = 1;
        while right.has_message() {
            assert_eq!(right.receive().unwrap().unwrap(), [count]);
            count += 1;
        }
        while count < 100 {
            assert_eq!(next(&mut right).unwrap(), [count]);
            count += 1;
        }
        assert!(!right.has_message());
    }
}

#[test]
fn a_replayed_greeting_of_a_true_peer_is_not_a_peer() {
    // A man in the middle copies what a true initiator sends, and later sends it again.
    let (address, accepted, _refused) = listen(key(1));
    let middle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let middle_address = middle.local_addr().unwrap();
    let copier = thread::spawn(move || {
        let (mut from, _) = middle.accept().unwrap();
        let mut to = TcpStream::connect(address).unwrap();
        let mut back = (to.try_clone().unwrap(), from.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        let mut copy = Vec::new();
        std::io::copy(
            &mut std::io::Read::by_ref(&mut from),
            &mut Tee(&mut to, &mut copy),
        )
        .unwrap();
        copy
    });
    let link = call(middle_address, &key(1)).unwrap();
    accepted.recv().unwrap();
    drop(link);
    let copy = copier.join().unwrap();

    let (address, accepted, refused) = listen(key(1));
    let mut thief = TcpStream::connect(address).unwrap();
    thief.write_all(&copy).unwrap();
    assert!(refused.recv().unwrap().contains("has another key"));
    let _link = call(address, &key(1)).unwrap();
    accepted.recv().unwrap();
}

struct Tee<'a>(&'a mut TcpStream, &'a mut Vec<u8>);

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.extend_from_slice(bytes);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn damaged_bytes_on_the_way_end_the_link() {
    // A middle man who turns one bit after the handshake.
    let (address, accepted, _refused) = listen(key(1));
    let middle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let middle_address = middle.local_addr().unwrap();
    thread::spawn(move || {
        let (mut from, _) = middle.accept().unwrap();
        let mut to = TcpStream::connect(address).unwrap();
        let mut back = (to.try_clone().unwrap(), from.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        let mut seen = 0;
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = std::io::Read::read(&mut from, &mut buffer) {
            for byte in &mut buffer[..length] {
                seen += 1;
                if seen == 600 {
                    *byte ^= 1;
                }
            }
            to.write_all(&buffer[..length]).unwrap();
        }
    });
    let mut left = call(middle_address, &key(1)).unwrap();
    let mut right = accepted.recv().unwrap();
    left.send(&[5; 2000]).unwrap();
    assert!(left.flush().unwrap());
    let error = next(&mut right).unwrap_err().to_string();
    assert!(
        error.contains("not encrypted with the key of this link"),
        "{error}"
    );
}

#[test]
fn an_impossible_length_ends_the_link() {
    let (mut left, right) = pair(Security::Insecure);
    let mut raw = rustix_dup(&right);
    raw.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(next(&mut left), Err(LinkError::Garbage { .. })));
}

fn rustix_dup(link: &Link) -> TcpStream {
    use std::os::fd::AsFd;
    TcpStream::from(link.as_fd().try_clone_to_owned().unwrap())
}

#[test]
fn heartbeats_pass_and_forged_ones_do_not() {
    let (mut left, mut right) = pair(key(1));
    let target = SockRef::from(&*right.heartbeats()).local_addr().unwrap();
    let target = target.as_socket().unwrap();
    // The socket is bound to the peer, so a stranger's datagram does not even arrive.
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger
        .send_to(b"LSHB\x01\0\0\0\0\0\0\0beat0123456789abcdef", target)
        .unwrap();
    left.heartbeats().send(b"beat");
    let beat = loop {
        if let Some(beat) = right.heartbeats().receive() {
            break beat;
        }
        thread::yield_now();
    };
    assert_eq!(beat, b"beat");
    assert_eq!(right.heartbeats().receive(), None);
}

#[test]
fn the_primary_calls_until_the_backup_is_there() {
    // Reserve a port, free it, and open the listener only after the first failed attempt.
    let address = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1))
        .unwrap()
        .address();
    let (failed, first_failure) = channel();
    let caller = thread::spawn(move || {
        connect(address, &key(1), Span::from_ms(60_000), &mut |attempt| {
            let _ = failed.send(attempt.number);
            true
        })
    });
    assert_eq!(first_failure.recv().unwrap(), 1);
    let mut listener = Listener::bind(address, key(1)).unwrap();
    listener.accept(None, &mut |_| {}).unwrap();
    caller.join().unwrap().unwrap();
}

#[test]
fn calling_ends_when_patience_does_or_when_told() {
    let address = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1))
        .unwrap()
        .address();
    let error = connect(address, &key(1), Span(0), &mut |_| true).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot be reached; start the backup there first"),
        "{error}"
    );
    let error = connect(address, &key(1), Span::from_ms(60_000), &mut |_| false).unwrap_err();
    assert!(matches!(error, LinkError::Stopped));
}

#[test]
fn waiting_for_the_primary_ends_when_told() {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1)).unwrap();
    let stop = os::wake::Waker::new().unwrap();
    stop.wake();
    use std::os::fd::AsFd;
    let error = listener.accept(Some(stop.as_fd()), &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::Stopped));
}

#[test]
fn a_taken_port_is_said_to_be_taken() {
    let first = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1)).unwrap();
    let error = Listener::bind(first.address(), key(1)).unwrap_err().to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
}
