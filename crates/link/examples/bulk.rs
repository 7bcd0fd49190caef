//! How fast a bulk link carries a guest's pages, and what a main link beside it feels of that.
//!
//! `cargo run --release -p link --example bulk -- [FILE] [SECONDS]` does both ends on this host. `FILE` is
//! taken for the memory of a typical guest: its pages of 4096 bytes. On two hosts, or in two network
//! namespaces, run `.. bulk -- listen HOST:PORT` first and then `.. bulk -- call HOST:PORT [FILE] [SECONDS]`;
//! the port after it is used too. It must not run beside anything else that wants the processor, or it
//! measures that.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use link::bulk::{Figures, Pages, Phase, Receiver, Record, Sender, Shape};
use link::limits::BULK_PIECE_LEN_MAX;
use link::{Incoming, Key, Link, Listener, Security, Token, Tokens, connect};
use os::wake::Waker;
use replica::Span;
use rustix::event::{PollFd, PollFlags, poll};

const PAGE: usize = 4096;
const ASK_FOR_TOKEN: &[u8] = b"token";
/// Pages of each content that is made up: far more than any cache holds.
const PAGES: usize = 32 << 10;

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let role = arguments.next_if(|word| word == "listen" || word == "call");
    let address = |word: Option<String>| word.and_then(|word| word.parse().ok()).expect("HOST:PORT");
    let peer: SocketAddr = match role.as_deref() {
        Some("listen") => {
            let threads = serve(address(arguments.next()));
            return threads
                .into_iter()
                .for_each(|thread| thread.join().expect("no end"));
        }
        Some(_) => address(arguments.next()),
        None => {
            let local = SocketAddr::from(([127, 0, 0, 1], 20_850));
            serve(local);
            local
        }
    };
    let file = arguments
        .next()
        .map(|path| std::fs::read(path).expect("a file to read"));
    let seconds = arguments.next().and_then(|word| word.parse().ok()).unwrap_or(3);
    let bench = Bench {
        peer,
        time: Duration::from_secs(seconds),
    };
    let random = noise(PAGES * PAGE);
    let contents = [
        ("random", Some(random)),
        ("typical", file),
        ("zero", Some(vec![0; PAGES * PAGE])),
    ];
    println!(
        "{:<22} {:>9} {:>9} {:>7} {:>7} {:>14}",
        "pages", "GB/s", "wire GB/s", "ratio", "raw", "us a page here"
    );
    for (name, content) in &contents {
        let Some(content) = content else { continue };
        for key in [false, true] {
            bench.throughput(name, content, key);
        }
    }
    println!(
        "\n{:<44} {:>7} {:>7} {:>7}",
        "round trip of the main link, us", "p50", "p99", "max"
    );
    for (name, content) in contents.iter().take(2) {
        let Some(content) = content else { continue };
        bench.round_trips(name, content);
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn security(key: bool) -> Security {
    if key {
        Security::Key(Key::new([1; 32]))
    } else {
        Security::Insecure
    }
}

/// Listens without a key at this port, and with one at the next.
fn serve(address: SocketAddr) -> Vec<thread::JoinHandle<()>> {
    [false, true]
        .map(|key| {
            let address = SocketAddr::new(address.ip(), address.port() + u16::from(key));
            let mut listener = Listener::bind(address, security(key)).expect("two free ports");
            thread::spawn(move || {
                let tokens = listener.tokens();
                loop {
                    match listener.next(None, &mut |arrival| eprintln!("{arrival:?}")) {
                        Ok(Incoming::Main(link)) => drop(thread::spawn({
                            let tokens = tokens.clone();
                            move || echo(*link, &tokens)
                        })),
                        Ok(Incoming::Bulk(connection)) => {
                            let waker = Waker::new().expect("a descriptor");
                            let shape = Shape {
                                page_len: PAGE,
                                pages: u32::MAX,
                            };
                            let receiver = Receiver::new(connection, shape, waker.clone()).expect("a thread");
                            thread::spawn(move || take_all(receiver, &waker));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .into()
}

/// Answers each message with itself, and the question for a token with one.
fn echo(mut link: Link, tokens: &Tokens) {
    while let Ok(message) = next(&mut link) {
        let answer = if message == ASK_FOR_TOKEN {
            let token = Token::draw().expect("random numbers");
            assert!(tokens.expect(token));
            token.bytes().to_vec()
        } else {
            message
        };
        if link.send(&answer).and_then(|()| link.flush()).is_err() {
            return;
        }
    }
}

fn next(link: &mut Link) -> Result<Vec<u8>, link::LinkError> {
    loop {
        if let Some(message) = link.receive()? {
            return Ok(message);
        }
        let _ = poll(&mut [PollFd::new(&*link, PollFlags::IN)], None);
    }
}

fn take_all(mut receiver: Receiver, waker: &Waker) {
    loop {
        match receiver.receive() {
            Ok(Some(Record::Pages(pages))) => receiver.recycle(pages.into_buffer()),
            Ok(Some(_)) => {}
            Ok(None) => wait(waker),
            Err(_) => return,
        }
    }
}

fn wait(waker: &Waker) {
    let _ = poll(&mut [PollFd::new(waker, PollFlags::IN)], None);
    waker.clear();
}

struct Bench {
    peer: SocketAddr,
    time: Duration,
}

/// What sending pages for a while has come to.
struct Run {
    time: Duration,
    /// Time in which this thread made records and handed them over.
    here: Duration,
    pages: u64,
    figures: Figures,
}

impl Bench {
    fn main_link(&self, key: bool) -> Link {
        let peer = SocketAddr::new(self.peer.ip(), self.peer.port() + u16::from(key));
        connect(peer, &security(key), Span::from_ms(5_000), &mut |_| true).expect("somebody who listens")
    }

    fn bulk_link(main: &mut Link, key: bool, pace: Option<u64>) -> (Sender, Waker) {
        main.send(ASK_FOR_TOKEN)
            .and_then(|()| main.flush())
            .expect("a link");
        let token = next(main).expect("a token").try_into().expect("16 bytes");
        let waker = Waker::new().expect("a descriptor");
        let token = Token::new(token);
        let sender = Sender::call(main.peer(), &security(key), token, pace, waker.clone()).expect("threads");
        while sender.phase() == Phase::Calling {
            wait(&waker);
        }
        (sender, waker)
    }

    /// Sends pages of this content, again and again, until the time is over.
    fn send(&self, content: &[u8], sender: &Sender, waker: &Waker) -> Run {
        let begin = Instant::now();
        let (mut here, mut pages) = (Duration::ZERO, 0);
        let mut rest = content.chunks_exact(PAGE).enumerate();
        while begin.elapsed() < self.time {
            while !sender.has_room(2 * BULK_PIECE_LEN_MAX) {
                assert_ne!(sender.phase(), Phase::Over, "{:?}", sender.take_error());
                wait(waker);
            }
            let making = Instant::now();
            let mut record = Pages::new(1, PAGE, sender.buffer());
            while !record.is_full() {
                match rest.next() {
                    Some((number, page)) => record.push(number as u32, page),
                    None => rest = content.chunks_exact(PAGE).enumerate(),
                }
            }
            pages += record.len() as u64;
            sender.send(Record::Pages(record)).expect("room was there");
            here += making.elapsed();
        }
        while !sender.is_drained() {
            wait(waker);
        }
        Run {
            time: begin.elapsed(),
            here,
            pages,
            figures: sender.figures(),
        }
    }

    fn throughput(&self, name: &str, content: &[u8], key: bool) {
        let mut main = self.main_link(key);
        let (sender, waker) = Bench::bulk_link(&mut main, key, None);
        let run = self.send(content, &sender, &waker);
        let giga = |bytes: u64| bytes as f64 / run.time.as_secs_f64() / 1e9;
        let figures = run.figures;
        println!(
            "{:<22} {:>9.2} {:>9.2} {:>7.2} {:>6.0}% {:>14.2}",
            format!("{name}, {}", if key { "Noise" } else { "plain" }),
            giga(run.pages * PAGE as u64),
            giga(figures.wire_bytes),
            (run.pages * PAGE as u64) as f64 / figures.packed_bytes as f64,
            figures.raw_records as f64 / figures.records as f64 * 100.0,
            run.here.as_secs_f64() * 1e6 / run.pages as f64,
        );
    }

    /// Measures the main link alone, beside a bulk link that sends what it can, and beside one that is paced.
    fn round_trips(&self, name: &str, content: &[u8]) {
        let mut main = self.main_link(true);
        let mut ping = self.main_link(true);
        self.ping(&format!("{name}: alone"), &mut ping, || false);
        let mut rate = None;
        for pace in [None, Some(())] {
            let pace = pace.and(rate).map(|rate: u64| rate / 10 * 8);
            let (sender, waker) = Bench::bulk_link(&mut main, true, pace);
            let run = thread::scope(|scope| {
                let sending = scope.spawn(|| self.send(content, &sender, &waker));
                let how = pace.map_or("as fast as it can".to_owned(), |pace| {
                    format!("paced at {:.0} MB/s", pace as f64 / 1e6)
                });
                self.ping(&format!("{name}: bulk link {how}"), &mut ping, || {
                    !sending.is_finished()
                });
                sending.join().expect("a run")
            });
            rate = run.figures.rate;
        }
    }

    /// Measures round trips of 100 bytes, a thousand a second, while `busy` says so, or for the time.
    fn ping(&self, what: &str, link: &mut Link, busy: impl Fn() -> bool) {
        let begin = Instant::now();
        let mut samples = Vec::new();
        while begin.elapsed() < self.time || busy() {
            let sent = Instant::now();
            link.send(&[7; 100]).and_then(|()| link.flush()).expect("a link");
            next(link).expect("an answer");
            samples.push(sent.elapsed().as_secs_f64() * 1e6);
            thread::sleep(Duration::from_millis(1).saturating_sub(sent.elapsed()));
        }
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| samples[(samples.len() - 1) * percent / 100];
        println!("{what:<44} {:>7.0} {:>7.0} {:>7.0}", at(50), at(99), at(100));
    }
}
