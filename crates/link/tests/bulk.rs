//! The bulk link over real sockets: who is let in beside the main link, that records arrive, and that each
//! end goes on or ends when the other does not read, dies, or lies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Inbox, channel};
use std::thread::{self, JoinHandle};

use link::bulk::{Connection, Pages, Phase, Piece, Receiver, Record, Sender, Shape};
use link::limits::{
    BULK_ON_THE_WAY_MAX, BULK_PIECE_LEN_MAX, BULK_READ_AGAIN, BULK_RECEIVED_MAX, HANDSHAKES_MAX,
};
use link::{Arrival, Incoming, Key, Link, LinkError, Listener, Security, Token, Tokens, connect};
use os::wake::Waker;
use replica::Span;
use rustix::event::{PollFd, PollFlags, poll};

const SHAPE: Shape = Shape {
    page_len: 64,
    pages: 1 << 20,
};

fn key(byte: u8) -> Security {
    Security::Key(Key::new([byte; 32]))
}

fn token(byte: u8) -> Token {
    Token::new([byte; 16])
}

/// A listener in a thread of its own, which lets in whoever may.
struct Door {
    address: SocketAddr,
    tokens: Tokens,
    incoming: Inbox<Incoming>,
    refused: Inbox<String>,
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    fn open(security: &Security) -> Door {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), security.clone()).unwrap();
        let (address, tokens) = (listener.address(), listener.tokens());
        let (let_in, incoming) = channel();
        let (words, refused) = channel();
        let stop = Waker::new().unwrap();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut tell = |arrival: &Arrival<'_>| {
                if let Arrival::Refused(error) = arrival {
                    let _ = words.send(error.to_string());
                }
            };
            use std::os::fd::AsFd;
            while let Ok(caller) = listener.next(Some(stopped.as_fd()), &mut tell) {
                let _ = let_in.send(caller);
            }
        });
        Door {
            address,
            tokens,
            incoming,
            refused,
            stop,
            thread: Some(thread),
        }
    }

    fn expect(&self, token: Token) {
        assert!(self.tokens.expect(token));
    }

    fn main(&self) -> Link {
        match self.incoming.recv().unwrap() {
            Incoming::Main(link) => *link,
            Incoming::Bulk(bulk) => panic!("{bulk:?}"),
        }
    }

    fn bulk(&self) -> Connection {
        match self.incoming.recv().unwrap() {
            Incoming::Bulk(bulk) => bulk,
            Incoming::Main(link) => panic!("{link:?}"),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One end of a bulk link with the waker of its guest thread.
struct End<T> {
    link: T,
    waker: Waker,
}

impl<T> End<T> {
    /// Waits until somebody has called this end.
    fn wait(&self) {
        poll(&mut [PollFd::new(&self.waker, PollFlags::IN)], None).unwrap();
        self.waker.clear();
    }
}

impl End<Sender> {
    fn call(address: SocketAddr, security: &Security, token: Token) -> End<Sender> {
        let waker = Waker::new().unwrap();
        let link = Sender::call(address, security, token, None, waker.clone()).unwrap();
        End { link, waker }
    }

    /// Sends a record, when there is room.
    fn send(&self, record: Record) {
        let mut record = record;
        while let Err(again) = self.link.send(record) {
            assert_ne!(self.link.phase(), Phase::Over, "{:?}", self.link.take_error());
            record = again;
            self.wait();
        }
    }

    fn until_drained(&self) {
        while !self.link.is_drained() {
            self.wait();
        }
    }

    /// Waits for the end of the link, and gives the reason.
    fn error(&self) -> LinkError {
        while self.link.phase() != Phase::Over {
            self.wait();
        }
        self.link.take_error().unwrap()
    }
}

impl End<Receiver> {
    fn of(connection: Connection, shape: Shape) -> End<Receiver> {
        let waker = Waker::new().unwrap();
        let link = Receiver::new(connection, shape, waker.clone()).unwrap();
        End { link, waker }
    }

    fn next(&mut self) -> Result<Record, LinkError> {
        loop {
            if let Some(record) = self.link.receive()? {
                return Ok(record);
            }
            self.wait();
        }
    }
}

fn pair(security: &Security, shape: Shape) -> (End<Sender>, End<Receiver>) {
    let door = Door::open(security);
    door.expect(token(1));
    let sender = End::call(door.address, security, token(1));
    (sender, End::of(door.bulk(), shape))
}

/// A state of one piece of so many bytes, of which none compresses away to nothing.
fn state(length: usize) -> Record {
    let bytes: Vec<u8> = (0..length).map(|index| ((index * 31) >> 3) as u8).collect();
    Record::State(Piece {
        length: length as u64,
        offset: 0,
        bytes,
    })
}

#[test]
fn main_link_and_bulk_link_come_to_one_listener_in_any_order() {
    for security in [key(1), Security::Insecure] {
        for bulk_first in [false, true] {
            let door = Door::open(&security);
            door.expect(token(7));
            let patience = Span::from_ms(10_000);
            let call_main = || connect(door.address, &security, patience, &mut |_| true).unwrap();
            let (mut main, sender, mut main_here, bulk_here);
            if bulk_first {
                sender = End::call(door.address, &security, token(7));
                bulk_here = door.bulk();
                main = call_main();
                main_here = door.main();
            } else {
                main = call_main();
                main_here = door.main();
                sender = End::call(door.address, &security, token(7));
                bulk_here = door.bulk();
            }
            assert_eq!(bulk_here.token(), token(7));
            let mut receiver = End::of(bulk_here, SHAPE);
            sender.send(Record::Sealed);
            assert_eq!(receiver.next().unwrap(), Record::Sealed);
            assert_eq!(sender.link.phase(), Phase::Open);
            main.send(b"beside it").unwrap();
            assert!(main.flush().unwrap());
            let message = loop {
                match main_here.receive().unwrap() {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(message, b"beside it");
        }
    }
}

#[test]
fn a_token_that_nobody_expects_is_refused_with_words_on_both_sides() {
    for security in [key(1), Security::Insecure] {
        let door = Door::open(&security);
        door.expect(token(1));
        door.expect(token(2));
        door.tokens.forget(&token(2));
        let _sender = End::call(door.address, &security, token(1));
        let _bulk = door.bulk();
        // Unknown, forgotten, and used before while its bulk link still lives.
        for wrong in [token(9), token(2), token(1)] {
            let error = End::call(door.address, &security, wrong).error();
            assert!(matches!(error, LinkError::Uninvited { .. }), "{error:?}");
            assert!(
                error.to_string().contains("does not expect this bulk link"),
                "{error}"
            );
            let words = door.refused.recv().unwrap();
            assert!(
                words.contains("its token is unknown here or was used before"),
                "{words}"
            );
        }
        door.expect(token(3));
        let _sender = End::call(door.address, &security, token(3));
        assert_eq!(door.bulk().token(), token(3));
    }
}

#[test]
fn of_many_callers_with_one_token_one_is_let_in() {
    let security = key(1);
    let door = Door::open(&security);
    door.expect(token(1));
    let senders: Vec<End<Sender>> = (0..8)
        .map(|_| End::call(door.address, &security, token(1)))
        .collect();
    let _bulk = door.bulk();
    for _ in 1..senders.len() {
        assert!(door.refused.recv().unwrap().contains("nobody expects"));
    }
    let mut open = 0;
    for sender in &senders {
        while sender.link.phase() == Phase::Calling {
            sender.wait();
        }
        open += usize::from(sender.link.phase() == Phase::Open);
    }
    assert_eq!(open, 1);
}

#[test]
fn a_token_without_the_key_is_worth_nothing() {
    let door = Door::open(&key(1));
    door.expect(token(1));
    let error = End::call(door.address, &key(2), token(1)).error();
    assert!(matches!(error, LinkError::WrongKey { .. }), "{error:?}");
    assert!(door.refused.recv().unwrap().contains("has another key"));
    let error = End::call(door.address, &Security::Insecure, token(1)).error();
    assert!(matches!(error, LinkError::Mode { .. }), "{error:?}");
    assert!(door.refused.recv().unwrap().contains("has not a key"));
    // Neither has used the token up.
    let _sender = End::call(door.address, &key(1), token(1));
    door.bulk();
}

#[test]
fn who_waits_for_a_primary_alone_lets_no_bulk_link_in() {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1)).unwrap();
    let (address, tokens) = (listener.address(), listener.tokens());
    assert!(tokens.expect(token(1)));
    let (words, refused) = channel();
    let waiting = thread::spawn(move || {
        let told = &mut |arrival: &Arrival<'_>| {
            if let Arrival::Refused(error) = arrival {
                let _ = words.send(error.to_string());
            }
        };
        listener.accept(None, told).unwrap()
    });
    let sender = End::call(address, &key(1), token(1));
    assert!(refused.recv().unwrap().contains("nobody expects"));
    assert!(matches!(sender.error(), LinkError::Closed { .. }));
    let _main = connect(address, &key(1), Span::from_ms(10_000), &mut |_| true).unwrap();
    waiting.join().unwrap();
}

#[test]
fn silent_strangers_and_dribblers_keep_no_bulk_link_out() {
    for security in [key(1), Security::Insecure] {
        let door = Door::open(&security);
        door.expect(token(1));
        let silent: Vec<_> = (0..HANDSHAKES_MAX + 50)
            .map(|_| TcpStream::connect(door.address).unwrap())
            .collect();
        let _sender = End::call(door.address, &security, token(1));
        assert_eq!(door.bulk().token(), token(1));
        drop(silent);
    }
    // A caller that says half of a token and then nothing more is dropped when a handshake's time is over.
    let door = Door::open(&Security::Insecure);
    let mut dribbler = raw_greeting(TcpStream::connect(door.address).unwrap());
    dribbler.write_all(&[0; 10]).unwrap();
    let words = door.refused.recv().unwrap();
    assert!(words.contains("did not introduce itself"), "{words}");
    assert_eq!(dribbler.read(&mut [0; 1]).unwrap(), 0);
}

/// The greetings of a connection without a key.
fn raw_greeting(mut stream: TcpStream) -> TcpStream {
    stream.write_all(b"LOCKSTEP\x01\x00................").unwrap();
    stream.read_exact(&mut [0; 26]).unwrap();
    stream
}

/// A caller that has a bulk link without a key, and may say anything over it.
fn raw_caller(door: &Door, token: Token) -> TcpStream {
    door.expect(token);
    let mut stream = raw_greeting(TcpStream::connect(door.address).unwrap());
    stream.write_all(&[0; 2]).unwrap();
    stream.write_all(token.bytes()).unwrap();
    let mut answer = [9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0]);
    stream
}

#[test]
fn records_of_every_kind_arrive_whole_and_in_order() {
    for security in [key(1), Security::Insecure] {
        for page_len in [64, 4096] {
            let shape = Shape { page_len, ..SHAPE };
            let (sender, mut receiver) = pair(&security, shape);
            let mut records = vec![state(0)];
            let image: Vec<u8> = (0..3 * BULK_PIECE_LEN_MAX + 17)
                .map(|index| (index % 251) as u8)
                .collect();
            let pieces = Piece::cut(&image);
            records.extend(pieces.map(|piece| Record::Image {
                image: [5; 32],
                piece,
            }));
            for round in 0..300 {
                let mut pages = Pages::new(round, page_len, Vec::new());
                let mut page = round * 5;
                while !pages.is_full() && pages.len() < 100 {
                    // Zeros, what compresses, and what does not.
                    let mut random = page;
                    let content = (0..page_len).map(|_| match page % 3 {
                        0 => 0,
                        1 => page as u8 | 1,
                        _ => {
                            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            (random >> 24) as u8
                        }
                    });
                    pages.push(page, &content.collect::<Vec<u8>>());
                    page += 1 + page % 7;
                }
                records.push(Record::Pages(pages));
            }
            records.extend(Piece::cut(&image).map(Record::State));
            records.push(Record::Sealed);
            let sent = records.clone();
            let sending = thread::spawn(move || {
                for record in sent {
                    sender.send(record);
                }
                sender.until_drained();
                sender.link.figures()
            });
            for record in &records {
                assert!(receiver.next().unwrap() == *record);
            }
            let (sent, received) = (sending.join().unwrap(), receiver.link.figures());
            assert_eq!(sent.records, records.len() as u64);
            assert_eq!((sent.records, sent.pages), (received.records, received.pages));
            assert_eq!(sent.content_bytes, received.content_bytes);
            assert_eq!(sent.wire_bytes, received.wire_bytes);
            assert!(sent.zero_pages > 5_000 && sent.zero_pages < sent.pages);
            assert!(sent.packed_bytes <= sent.wire_bytes);
        }
    }
}

#[test]
fn whoever_drops_a_drained_sender_loses_nothing_and_the_receiver_hears_of_the_end_once() {
    let (sender, mut receiver) = pair(&key(1), SHAPE);
    for _ in 0..200 {
        sender.send(state(5000));
    }
    sender.until_drained();
    drop(sender);
    for _ in 0..200 {
        assert!(receiver.next().unwrap() == state(5000));
    }
    assert!(matches!(receiver.next(), Err(LinkError::Closed { .. })));
    assert!(receiver.link.is_over() && !receiver.link.has_record());
    assert!(matches!(receiver.link.receive(), Ok(None)));
}

#[test]
fn a_peer_that_dies_in_the_middle_ends_the_link_on_the_other_side() {
    for security in [key(1), Security::Insecure] {
        // The receiver dies, while the sender has much to send.
        let (sender, mut receiver) = pair(&security, SHAPE);
        while sender.link.send(state(200_000)).is_ok() {}
        receiver.next().unwrap();
        drop(receiver);
        let error = sender.error();
        assert!(matches!(error, LinkError::Closed { .. }), "{error:?}");
        assert_eq!(sender.link.room(), 0);
        assert!(sender.link.send(Record::Sealed).is_err());
        // The sender dies, with a record half on the way.
        let (sender, mut receiver) = pair(&security, SHAPE);
        while sender.link.send(state(200_000)).is_ok() {}
        receiver.next().unwrap();
        drop(sender);
        let error = loop {
            match receiver.next() {
                Ok(record) => assert!(record == state(200_000)),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LinkError::Closed { .. }), "{error:?}");
        // Either dies while nothing travels.
        let (sender, receiver) = pair(&security, SHAPE);
        drop(receiver);
        assert!(matches!(sender.error(), LinkError::Closed { .. }));
        let (sender, mut receiver) = pair(&security, SHAPE);
        drop(sender);
        assert!(matches!(receiver.next(), Err(LinkError::Closed { .. })));
    }
}

#[test]
fn a_guest_thread_that_takes_nothing_stops_the_sender_at_the_bounds_and_not_for_good() {
    let (sender, mut receiver) = pair(&key(1), SHAPE);
    // Records of which the bounds are multiples.
    let overhead = state(0).cost();
    let record = state((128 << 10) - overhead);
    assert_eq!(record.cost(), 128 << 10);
    let mut sent = 0;
    // First the receiver's queue fills up to its bound, then what the kernels keep, then the sender's queue.
    while receiver.link.waiting() < BULK_RECEIVED_MAX || sender.link.room() > 0 {
        if sender.link.send(record.clone()).is_ok() {
            sent += 1;
        } else {
            thread::yield_now();
        }
    }
    assert_eq!(receiver.link.waiting(), BULK_RECEIVED_MAX);
    assert_eq!(sender.link.on_the_way(), BULK_ON_THE_WAY_MAX);
    assert!(!sender.link.has_room(1));
    // The thread does not read again before a part of what waits is taken.
    for _ in 0..(BULK_RECEIVED_MAX - BULK_READ_AGAIN) / record.cost() {
        assert!(receiver.next().unwrap() == record);
        sent -= 1;
    }
    while sent > 0 {
        assert!(receiver.link.waiting() <= BULK_RECEIVED_MAX);
        assert!(receiver.next().unwrap() == record);
        sent -= 1;
    }
    while !sender.link.has_room(BULK_ON_THE_WAY_MAX) {
        sender.wait();
    }
    sender.send(Record::Sealed);
    assert_eq!(receiver.next().unwrap(), Record::Sealed);
}

#[test]
fn either_end_can_be_dropped_while_its_threads_wait_for_the_other() {
    // The sender waits for the network, the receiver for its guest thread.
    let (sender, receiver) = pair(&key(1), SHAPE);
    while receiver.link.waiting() < BULK_RECEIVED_MAX - (256 << 10) || sender.link.room() > 256 << 10 {
        if sender.link.send(state(250_000)).is_err() {
            thread::yield_now();
        }
    }
    drop(sender);
    drop(receiver);
    // The sender waits for a peer that says nothing: its call is hung up.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = End::call(silent.local_addr().unwrap(), &key(1), token(1));
    let (mut call, _) = silent.accept().unwrap();
    call.read_exact(&mut [0; 26]).unwrap();
    assert_eq!(sender.link.phase(), Phase::Calling);
    drop(sender);
    assert_eq!(call.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_sender_that_reaches_nobody_says_so() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sender = End::call(gone, &key(1), token(1));
    // Records may be handed over meanwhile; they are dropped.
    sender.send(state(100));
    let error = sender.error();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[test]
fn what_no_correct_sender_says_ends_the_link_with_a_sentence() {
    let door = Door::open(&Security::Insecure);
    let hear = |number: u8, bytes: &[u8]| {
        let mut caller = raw_caller(&door, token(number));
        let mut receiver = End::of(door.bulk(), SHAPE);
        caller.write_all(bytes).unwrap();
        let error = receiver.next().unwrap_err();
        // The caller finds the connection closed.
        assert!(!matches!(caller.read(&mut [0]), Ok(1..)));
        error.to_string()
    };
    let words = hear(1, &[1, 0, 0, 0, 99]);
    assert!(words.contains("sends records of kind 99 on its bulk link, which this release does not know"));
    assert!(words.contains("install the same release"), "{words}");
    let words = hear(2, &u32::MAX.to_le_bytes());
    assert!(words.contains("longer than any record"), "{words}");
    // Page 2^20 of a guest that has 2^20 pages.
    let words = hear(3, &[9, 0, 0, 0, 2, 0, 1, 0x80, 0x80, 0x80, 0x02, 0, 0]);
    assert!(words.contains("a page that the guest has not"), "{words}");
    // Half a state, and then the end.
    let mut half = vec![19, 0, 0, 0, 3];
    half.extend(2_u64.to_le_bytes());
    half.extend(0_u64.to_le_bytes());
    half.extend([0, 5, 1, 0, 0, 0, 4]);
    let mut caller = raw_caller(&door, token(4));
    let mut receiver = End::of(door.bulk(), SHAPE);
    caller.write_all(&half).unwrap();
    assert!(matches!(receiver.next(), Ok(Record::State(_))));
    let words = receiver.next().unwrap_err().to_string();
    assert!(words.contains("before an image or its state is whole"), "{words}");
}

#[test]
fn a_receiver_that_says_anything_is_no_receiver() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = End::call(listener.local_addr().unwrap(), &Security::Insecure, token(1));
    let mut peer = raw_greeting(listener.accept().unwrap().0);
    peer.read_exact(&mut [0; 18]).unwrap();
    peer.write_all(&[0, 5]).unwrap();
    let error = sender.error().to_string();
    assert!(
        error.contains("says something on a link where it only listens"),
        "{error}"
    );
    // An answer that is none.
    let sender = End::call(listener.local_addr().unwrap(), &Security::Insecure, token(1));
    let mut peer = raw_greeting(listener.accept().unwrap().0);
    peer.read_exact(&mut [0; 18]).unwrap();
    peer.write_all(&[2]).unwrap();
    drop((peer, listener));
    let error = sender.error();
    assert!(!matches!(error, LinkError::Uninvited { .. }), "{error:?}");
}

#[test]
fn damaged_bytes_on_the_way_end_the_bulk_link() {
    // A middle man who turns one bit of the twentieth kilobyte.
    let door = Door::open(&key(1));
    door.expect(token(1));
    let middle = TcpListener::bind("127.0.0.1:0").unwrap();
    let middle_address = middle.local_addr().unwrap();
    let address = door.address;
    thread::spawn(move || {
        let (mut from, _) = middle.accept().unwrap();
        let mut to = TcpStream::connect(address).unwrap();
        let mut back = (to.try_clone().unwrap(), from.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        let mut seen = 0;
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            for byte in &mut buffer[..length] {
                seen += 1;
                *byte ^= u8::from(seen == 20_000);
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
    let sender = End::call(middle_address, &key(1), token(1));
    let mut receiver = End::of(door.bulk(), SHAPE);
    let mut pages = Pages::new(1, 64, Vec::new());
    pages.push(1, &[1; 64]);
    for _ in 0..2000 {
        sender.send(Record::Pages(pages.clone()));
    }
    let error = loop {
        match receiver.next() {
            Ok(record) => assert!(record == Record::Pages(pages.clone())),
            Err(error) => break error.to_string(),
        }
    };
    let damaged = ["not encrypted with the key", "longer than any record"];
    assert!(damaged.iter().any(|words| error.contains(words)), "{error}");
}

#[test]
fn the_kernel_paces_the_link_and_the_rate_is_measured() {
    const PACE: u64 = 10_000_000;
    let (sender, mut receiver) = pair(&key(1), SHAPE);
    sender.link.set_pace(Some(PACE));
    let sending = thread::spawn(move || {
        // Bytes that do not compress, far more than the kernel takes at once.
        let mut random = 1_u32;
        let bytes: Vec<u8> = (0..200_000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        for _ in 0..50 {
            sender.send(Record::State(Piece {
                length: bytes.len() as u64,
                offset: 0,
                bytes: bytes.clone(),
            }));
        }
        sender.until_drained();
        sender.link.figures()
    });
    for _ in 0..50 {
        receiver.next().unwrap();
    }
    let rate = sending.join().unwrap().rate.unwrap();
    // A host that is busy makes it slower, and nothing makes it faster.
    assert!(rate < 2 * PACE, "{rate} bytes a second");
}

/// Name of a variable that is set in a child process, which enters the sandbox.
const CHILD: &str = "LOCKSTEP_TEST_BULK_SANDBOX";

#[test]
fn a_bulk_link_comes_about_and_carries_records_inside_the_sandbox() {
    if std::env::var_os(CHILD).is_some() {
        return send_and_receive_in_the_sandbox();
    }
    let name = "a_bulk_link_comes_about_and_carries_records_inside_the_sandbox";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && words.contains("1 passed"),
        "{words}{errors}"
    );
}

fn send_and_receive_in_the_sandbox() {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), key(1)).unwrap();
    let address = listener.address();
    let mut needs = os::sandbox::Needs::of_any_process();
    needs.files.connect_to([address.port()]);
    let _held = needs.enter().unwrap();
    assert!(listener.tokens().expect(token(1)));
    let sender = End::call(address, &key(1), token(1));
    sender.link.set_pace(Some(1 << 30));
    use std::os::fd::AsFd;
    // A sender that cannot call wakes this thread before anybody comes.
    let connection = match listener.next(Some(sender.waker.as_fd()), &mut |_| {}) {
        Ok(Incoming::Bulk(connection)) => connection,
        other => panic!("{other:?}, {:?}", sender.link.take_error()),
    };
    let mut receiver = End::of(connection, SHAPE);
    let sending = thread::spawn(move || {
        for _ in 0..300 {
            sender.send(state(250_000));
        }
        sender.until_drained();
    });
    for _ in 0..300 {
        assert!(receiver.next().unwrap() == state(250_000));
    }
    sending.join().unwrap();
    assert!(matches!(receiver.next(), Err(LinkError::Closed { .. })));
}
