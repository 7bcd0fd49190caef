//! A client of a VM while it is tested: it connects to one of the VM's ports again and again, or asks on one
//! connection, and reckons for how long nobody answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Time between two connections.
const EVERY: Duration = Duration::from_millis(5);
/// A connection that is not taken for so long is given up, and another one tried; an answer that has not come
/// by then is waited for further, and counted as none.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the client has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Connections that it has tried, or answers that it has waited for.
    pub tried: u64,
    /// Those of them that were not taken, or did not come within a second.
    pub failed: u64,
    /// The longest time from one that was taken, or came, to the next one, in milliseconds.
    pub longest_gap_ms: f64,
}

/// A client that goes on until it is asked what it has seen.
pub struct Probe {
    ends: Arc<AtomicBool>,
    client: JoinHandle<Seen>,
}

impl Probe {
    /// Begins, once a first connection is taken, or a first line answered. `line`: what is sent again and
    /// again on one connection; `None`: one connection after the other is made, and nothing sent.
    ///
    /// # Errors
    /// Nobody takes it or answers, or this host gives no more threads.
    pub fn begin(to: SocketAddr, line: Option<&str>) -> std::io::Result<Probe> {
        let mut client = Client {
            to,
            line: line.map(|line| format!("{line}\r\n").into_bytes()),
            open: None,
        };
        client.ask()?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let client = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || probe(&mut || client.ask().is_ok(), &told))?;
        Ok(Probe { ends, client })
    }

    /// Ends, and tells what it has seen; `None`: nothing.
    pub fn end(self) -> Option<Seen> {
        self.ends.store(true, Ordering::Relaxed);
        self.client.join().ok()
    }
}

/// What the client does.
struct Client {
    to: SocketAddr,
    line: Option<Vec<u8>>,
    /// Its connection, and whether an answer is owed on it.
    open: Option<(TcpStream, bool)>,
}

impl Client {
    /// Makes a connection, or has a line answered.
    fn ask(&mut self) -> std::io::Result<()> {
        let Some(line) = &self.line else {
            return TcpStream::connect_timeout(&self.to, PATIENCE).map(drop);
        };
        let (mut stream, is_owed) = match self.open.take() {
            Some(open) => open,
            None => (TcpStream::connect_timeout(&self.to, PATIENCE)?, false),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        if !is_owed {
            stream.write_all(line)?;
        }
        let mut answer = [0; 4096];
        match stream.read(&mut answer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.open = Some((stream, false));
                Ok(())
            }
            Err(error) => {
                let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                self.open = is_late.then_some((stream, true));
                Err(error)
            }
        }
    }
}

/// Tries again and again, until `ends`. A gap that has not ended by then counts too.
fn probe(is_taken: &mut dyn FnMut() -> bool, ends: &AtomicBool) -> Seen {
    let (mut seen, mut last) = (Seen::default(), Instant::now());
    while !ends.load(Ordering::Relaxed) {
        let next = Instant::now() + EVERY;
        let taken = is_taken();
        seen.tried += 1;
        let gap_ms = last.elapsed().as_secs_f64() * 1e3;
        seen.longest_gap_ms = seen.longest_gap_ms.max(gap_ms);
        if taken {
            last = Instant::now();
        } else {
            seen.failed += 1;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_gap_lasts_from_one_connection_that_is_taken_to_the_next() {
        let (ends, mut tries) = (AtomicBool::new(false), 0);
        let mut is_taken = || {
            tries += 1;
            ends.store(tries == 6, Ordering::Relaxed);
            !(2..=4).contains(&tries)
        };
        let seen = probe(&mut is_taken, &ends);
        assert_eq!((seen.tried, seen.failed), (6, 3));
        assert!(seen.longest_gap_ms >= 4.0 * EVERY.as_secs_f64() * 1e3, "{seen:?}");
    }

    #[test]
    fn a_port_where_nobody_listens_is_not_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let probe = Probe::begin(address, None).unwrap();
        assert_eq!(probe.end().unwrap().failed, 0);
        drop(listener);
        assert!(Probe::begin(address, None).is_err());
    }

    #[test]
    fn a_line_is_answered_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = [0; 6];
            while stream.read_exact(&mut line).is_ok() {
                assert_eq!(&line, b"PING\r\n");
                stream.write_all(b"PONG").unwrap();
            }
        });
        let mut client = Client {
            to: address,
            line: Some(b"PING\r\n".to_vec()),
            open: None,
        };
        client.ask().unwrap();
        client.ask().unwrap();
        drop(client);
        server.join().unwrap();
    }
}
