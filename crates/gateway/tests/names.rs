//! Names over UDP and TCP when resolvers are dead, silent or refuse: the next one is asked, in both
//! transports.
//!
//! Resolvers are sockets on the host's loopback; the guest is the network stack of `support/guest.rs`.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use gateway::Resolvers;
use guest::{DNS, Gateway, Guest, pattern};
use scene::{QUESTION, ask, datagrams, listener, receive};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

const OK: u8 = 0;
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// An answer to the question, with this code and these bytes at its end.
fn answer(code: u8, more: &[u8]) -> Vec<u8> {
    let mut answer = [QUESTION, more].concat();
    answer[2] |= 0x80;
    answer[3] = 0x80 | code;
    answer
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A resolver over TCP that takes one connection, reads so many questions and says these messages.
fn resolver(questions: usize, messages: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<()>) {
    let (listener, _) = listener();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        for _ in 0..questions {
            let mut question = vec![0; 2 + QUESTION.len()];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(question, framed(QUESTION));
        }
        for message in messages {
            stream.write_all(&framed(&message)).unwrap();
        }
    });
    (address, thread)
}

/// A port at which nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn scene(resolvers: Vec<SocketAddr>) -> (Gateway, Guest) {
    scene::start(|config| config.resolvers = Resolvers::Fixed(resolvers))
}

/// The guest asks over TCP so many times at once, and reads until so many bytes have come or the end.
fn ask_over_tcp(guest: &mut Guest, questions: usize, bytes: usize) -> (SocketHandle, Vec<u8>) {
    let client = guest.open((DNS, 53), 5000);
    guest.run_until(|guest| guest.tcp(client).may_send());
    for _ in 0..questions {
        guest.tcp(client).send_slice(&framed(QUESTION)).unwrap();
    }
    let mut heard = Vec::new();
    guest.run_until(|guest| {
        receive(guest, client, &mut heard);
        heard.len() >= bytes || !guest.tcp(client).may_recv()
    });
    (client, heard)
}

#[test]
fn over_tcp_a_second_resolver_answers_for_a_dead_first_one() {
    let (second, thread) = resolver(1, vec![answer(OK, b"second")]);
    let (_gateway, mut guest) = scene(vec![closed(), second]);
    let expected = framed(&answer(OK, b"second"));
    assert_eq!(ask_over_tcp(&mut guest, 1, expected.len()).1, expected);
    thread.join().unwrap();
}

#[test]
fn over_tcp_a_second_resolver_answers_for_one_that_says_nothing() {
    let (silent, _) = listener();
    let (second, thread) = resolver(1, vec![answer(OK, b"second")]);
    let (_gateway, mut guest) = scene(vec![silent.local_addr().unwrap(), second]);
    let expected = framed(&answer(OK, b"second"));
    assert_eq!(ask_over_tcp(&mut guest, 1, expected.len()).1, expected);
    thread.join().unwrap();
}

#[test]
fn over_tcp_a_resolver_that_refuses_or_hangs_up_is_passed_over() {
    let (refuses, first) = resolver(1, vec![answer(REFUSED, b"")]);
    let (hangs_up, second) = resolver(1, vec![]);
    let (answers, third) = resolver(1, vec![answer(OK, b"third")]);
    let (_gateway, mut guest) = scene(vec![refuses, hangs_up, answers]);
    let expected = framed(&answer(OK, b"third"));
    assert_eq!(ask_over_tcp(&mut guest, 1, expected.len()).1, expected);
    for thread in [first, second, third] {
        thread.join().unwrap();
    }
}

#[test]
fn over_tcp_a_refusal_is_better_than_nothing_and_a_failure_better_than_silence() {
    let (refuses, thread) = resolver(1, vec![answer(REFUSED, b"")]);
    let (_gateway, mut guest) = scene(vec![refuses, closed()]);
    assert_eq!(
        ask_over_tcp(&mut guest, 1, usize::MAX).1,
        framed(&answer(REFUSED, b""))
    );
    thread.join().unwrap();
    for resolvers in [vec![], vec![closed()], vec![closed(), closed()]] {
        let (_gateway, mut guest) = scene(resolvers);
        let (client, heard) = ask_over_tcp(&mut guest, 1, usize::MAX);
        assert_eq!(heard, framed(&answer(SERVFAIL, b"")));
        assert_eq!(guest.tcp(client).state(), State::CloseWait);
    }
}

#[test]
fn over_tcp_long_answers_several_messages_and_several_questions_pass() {
    let messages: Vec<Vec<u8>> = [60_000, 100, 40_000]
        .into_iter()
        .map(|length| answer(OK, &pattern(length)))
        .collect();
    let (address, thread) = resolver(3, messages.clone());
    let (_gateway, mut guest) = scene(vec![closed(), address]);
    let expected = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect::<Vec<_>>();
    let (_, heard) = ask_over_tcp(&mut guest, 3, usize::MAX);
    assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
    thread.join().unwrap();
}

#[test]
fn over_tcp_connections_that_say_nothing_keep_nobody_out() {
    let (silent, _) = listener();
    let (_gateway, mut guest) = scene(vec![silent.local_addr().unwrap()]);
    // As many as there is room for; one more ends the oldest.
    let idle: Vec<_> = (0..128)
        .map(|number| guest.open((DNS, 53), 6000 + number))
        .collect();
    guest.run_until(|guest| idle.iter().all(|&client| guest.tcp(client).may_send()));
    let last = guest.open((DNS, 53), 7000);
    guest.run_until(|guest| !guest.tcp(idle[0]).may_recv());
    assert!(guest.tcp(idle[1]).may_recv() && guest.tcp(last).may_recv());
}

#[test]
fn over_udp_a_resolver_that_refuses_is_passed_over() {
    let says = |code: u8| {
        let (socket, address) = datagrams();
        let thread = thread::spawn(move || {
            let (_, from) = socket.recv_from(&mut [0; 512]).unwrap();
            socket.send_to(&answer(code, &[]), from).unwrap();
        });
        (address, thread)
    };
    for code in [SERVFAIL, 4, REFUSED] {
        let ((refuses, first), (answers, second)) = (says(code), says(OK));
        let (_gateway, mut guest) = scene(vec![refuses, answers]);
        assert_eq!(ask(&mut guest, DNS)[3] & 0x0f, OK);
        first.join().unwrap();
        second.join().unwrap();
    }
    // If nobody knows better, the refusal is the answer.
    let (refuses, first) = says(REFUSED);
    let (_gateway, mut guest) = scene(vec![refuses, closed()]);
    assert_eq!(ask(&mut guest, DNS)[3] & 0x0f, REFUSED);
    first.join().unwrap();
}

#[test]
fn over_udp_a_resolver_that_does_not_answer_delays_one_question_and_not_the_next() {
    let ((silent, first), (socket, second)) = (datagrams(), datagrams());
    let (_gateway, mut guest) = scene(vec![first, second]);
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&answer(OK, b""), from).unwrap();
        }
    });
    let client = guest.bind_udp(5354);
    for _ in 0..3 {
        guest.udp(client).send_slice(QUESTION, (DNS, 53)).unwrap();
        scene::datagram(&mut guest, client);
    }
    // Only the first question was put to the resolver that is silent.
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv(&mut [0; 512]).is_ok());
    assert!(silent.recv(&mut [0; 512]).is_err());
}
