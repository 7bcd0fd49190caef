//! `Line`: one connection to an NBD server, from the first byte on.
//!
//! The handshake is led by one thread. Afterwards one thread reads replies, and any thread sends requests.

use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use block::nbd::{Call, Client, ClientError, Code, Event, Shape, Want};

use super::socket::{Socket, SocketError};
use crate::guard::guard;
use crate::limits::NBD_READ_LEN;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The network or the server is away.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no connection.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The server says something else than it should, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Line {
    socket: Arc<Socket>,
    client: Mutex<Client>,
    /// Held while a request is sent, so that requests stand behind each other; a buffer for their heads.
    sending: Mutex<Vec<u8>>,
}

/// The reading end of a socket.
#[derive(Debug)]
struct Reader(Arc<Socket>);

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(bytes)
    }
}

/// A request that is answered: its name, and what has become of it.
pub type Answered = (u64, Result<Vec<u8>, (Code, String)>);

/// Reads the replies of a line.
#[derive(Debug)]
pub struct Replies {
    line: Arc<Line>,
    reader: BufReader<Reader>,
    bytes: Vec<u8>,
}

impl Line {
    /// Leads the handshake on a connection, for as long as the server takes.
    ///
    /// # Errors
    /// The connection has ended, or the server refuses. `answer` then has what a fencing server has said of
    /// itself before.
    pub fn enter(
        socket: Socket,
        want: Want,
        answer: &mut Option<block::Answer>,
    ) -> Result<(Arc<Line>, Replies, Shape), LineError> {
        let socket = Arc::new(socket);
        let mut reader = BufReader::with_capacity(NBD_READ_LEN, Reader(Arc::clone(&socket)));
        let (mut client, mut bytes) = (Client::new(want), Vec::new());
        let shape = loop {
            socket.write_both(&client.output(), &[])?;
            read(&mut reader, client.wants(), &mut bytes)?;
            let taken = client.take(&mut bytes);
            *answer = client.answer();
            match taken? {
                Some(Event::Entered(shape)) => break shape,
                Some(Event::Done { .. }) | None => {}
            }
        };
        let line = Arc::new(Line {
            socket,
            client: Mutex::new(client),
            sending: Mutex::default(),
        });
        let replies = Replies {
            line: Arc::clone(&line),
            reader,
            bytes,
        };
        Ok((line, replies, shape))
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        guard(&self.client)
    }

    /// Sends a request, with the data of a write. `false`: the connection has ended, and so has the request.
    pub fn send(&self, call: Call, data: &[u8]) -> bool {
        let mut head = guard(&self.sending);
        head.clear();
        self.client().call(call, &mut head);
        let sent = self.socket.write_both(&head, data);
        if sent.is_err() {
            self.close();
        }
        sent.is_ok()
    }

    /// Says that no further request will come.
    pub fn say_goodbye(&self) {
        // Who sends at this moment may be held up by the server, and nobody waits for a goodbye.
        let Ok(mut head) = self.sending.try_lock() else {
            return;
        };
        head.clear();
        Client::goodbye(&mut head);
        // A server that does not hear it waits a little for this process to come back.
        let _ = self.socket.write_both(&head, &[]);
    }

    /// Ends the connection; whoever reads or writes comes back.
    pub fn close(&self) {
        self.socket.close();
    }
}

impl Replies {
    /// Waits for the next answer to a request.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn next(&mut self) -> Result<Answered, LineError> {
        loop {
            let wants = self.line.client().wants();
            read(&mut self.reader, wants, &mut self.bytes)?;
            let event = self.line.client().take(&mut self.bytes)?;
            if let Some(Event::Done { cookie, outcome }) = event {
                return Ok((cookie, outcome));
            }
        }
    }
}

/// Reads exactly so many bytes. Reading into the end of a vector spares making it zero first.
fn read(reader: &mut BufReader<Reader>, wants: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    bytes.reserve(wants);
    let got = reader.take(wants as u64).read_to_end(bytes)?;
    match got == wants {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server has closed the connection",
        )),
    }
}
