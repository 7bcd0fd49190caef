//! `ServerCells`: cells that a disk server keeps. It answers a claim only when the fence around the VM's
//! disks has been raised to the claim's epoch, and no write of an older one is under way (FT 2.3-e).
//!
//! Each question may be asked again when its answer is lost, as the server finds a cell that an earlier
//! attempt has written as written by this very value. So a connection that has ended is made anew once, and
//! what then does not succeed is an error.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use block::control::{self, HEAD_LEN, Question, Reply, WANT_CONTROL};
use link::{Security, Tunnel};
use replica::{Epoch, VmName};

use crate::ArbiterError;
use crate::cells::{Cell, Cells, Created};
use crate::limits::{SERVER_CONNECT_PATIENCE, SERVER_PATIENCE_MIN};
use crate::record::Process;
use crate::server_place::ServerPlace;
use crate::test_and_set::TestAndSet;

/// An arbiter in a disk server.
pub type ServerArbiter = TestAndSet<ServerCells>;

/// Cells in a disk server.
#[derive(Debug)]
pub struct ServerCells {
    place: ServerPlace,
    addresses: Vec<SocketAddr>,
    security: Security,
    tunnel: Option<Tunnel>,
}

impl ServerArbiter {
    /// Uses a server for claims of `process`, after having seen that it can. The server's name is looked up
    /// and the key is read now, and never again.
    ///
    /// # Errors
    /// The key cannot be used, or the server cannot be reached or cannot write.
    pub fn open(place: &ServerPlace, process: Process) -> Result<ServerArbiter, ArbiterError> {
        Ok(TestAndSet::over(ServerCells::open(place)?, process))
    }
}

impl ServerCells {
    /// Uses a server, after having seen that it can, as [`ServerArbiter::open`].
    ///
    /// # Errors
    /// As [`ServerArbiter::open`].
    pub fn open(place: &ServerPlace) -> Result<ServerCells, ArbiterError> {
        let server = |source| ArbiterError::Server {
            place: place.to_string(),
            source,
        };
        let security = place
            .security()
            .map_err(|error| server(io::Error::other(error)))?;
        let addresses: Vec<SocketAddr> = place.address().to_socket_addrs().map_err(server)?.collect();
        let mut cells = ServerCells {
            place: place.clone(),
            addresses,
            security,
            tunnel: None,
        };
        // At the start nobody waits for a server that is not there.
        let end = Instant::now() + place.deadline();
        match cells.ask_once(&Question::Refresh, end).map_err(server)? {
            Reply::Done => Ok(cells),
            other => Err(cells.odd(&other)),
        }
    }

    /// The VMs that have an identity here, in the order of their names.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn vms(&mut self) -> Result<Vec<VmName>, ArbiterError> {
        match self.ask(&Question::Vms)? {
            Reply::Vms(names) => Ok(names.iter().filter_map(|name| VmName::new(name).ok()).collect()),
            other => Err(self.odd(&other)),
        }
    }

    /// Leaves a mark, which goes with these cells, and gives its name.
    pub(crate) fn leave_mark(&mut self) -> Result<String, ArbiterError> {
        match self.ask(&Question::LeaveMark)? {
            Reply::Mark(name) => Ok(name),
            other => Err(self.odd(&other)),
        }
    }

    /// Is the mark of this name there?
    pub(crate) fn sees(&mut self, mark: &str) -> Result<bool, ArbiterError> {
        match self.ask(&Question::Sees { mark: mark.into() })? {
            Reply::Done => Ok(true),
            Reply::Value(None) => Ok(false),
            other => Err(self.odd(&other)),
        }
    }

    fn unusable(&self, source: io::Error) -> ArbiterError {
        ArbiterError::Server {
            place: self.place.to_string(),
            source,
        }
    }

    /// The error for an answer to another question, or for the sentence of a failure.
    fn odd(&self, reply: &Reply) -> ArbiterError {
        let text = match reply {
            Reply::Failed(text) => text.clone(),
            _ => "it answers another question".into(),
        };
        self.unusable(io::Error::other(text))
    }

    /// Asks, once more if the connection that there was has ended: the server may have been started anew.
    fn ask(&mut self, question: &Question) -> Result<Reply, ArbiterError> {
        let end = Instant::now() + self.place.deadline();
        let had_one = self.tunnel.is_some();
        let mut reply = self.ask_once(question, end);
        if reply.is_err() && had_one && Instant::now() < end {
            reply = self.ask_once(question, end);
        }
        reply.map_err(|source| self.unusable(source))
    }

    /// Asks on the connection that there is, or on a new one. A connection on which something went wrong is
    /// not used again.
    fn ask_once(&mut self, question: &Question, end: Instant) -> io::Result<Reply> {
        let left = end.saturating_duration_since(Instant::now());
        // No time at all would mean to wait for ever.
        let left = left.max(SERVER_PATIENCE_MIN);
        let tunnel = match self.tunnel.take() {
            Some(tunnel) => tunnel,
            None => self.call(left)?,
        };
        tunnel.stream().set_read_timeout(Some(left))?;
        (&tunnel).write_all(&question.message())?;
        let mut head = [0; HEAD_LEN];
        (&tunnel).read_exact(&mut head)?;
        let mut body = vec![0; control::body_len(head).map_err(io::Error::other)?];
        (&tunnel).read_exact(&mut body)?;
        let reply = Reply::parse(&body).map_err(io::Error::other)?;
        self.tunnel = Some(tunnel);
        Ok(reply)
    }

    fn call(&self, left: Duration) -> io::Result<Tunnel> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, left.min(SERVER_CONNECT_PATIENCE)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(left))?;
                    stream.set_write_timeout(Some(left))?;
                    let tunnel = Tunnel::call(stream, &self.security).map_err(io::Error::other)?;
                    (&tunnel).write_all(&[WANT_CONTROL])?;
                    return Ok(tunnel);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn cell_of(cell: Cell) -> control::Cell {
    match cell {
        Cell::Id => control::Cell::Id,
        Cell::Claim(epoch) => control::Cell::Claim(epoch.0),
        Cell::End(epoch) => control::Cell::End(epoch.0),
    }
}

impl Cells for ServerCells {
    fn create(&mut self, vm: &VmName, cell: Cell, value: &[u8]) -> Result<Created, ArbiterError> {
        let question = Question::Create {
            vm: vm.to_string(),
            cell: cell_of(cell),
            value: value.to_vec(),
        };
        match self.ask(&question)? {
            Reply::Now => Ok(Created::Now),
            Reply::Before(found) => Ok(Created::Before(found)),
            other => Err(self.odd(&other)),
        }
    }

    fn read(&mut self, vm: &VmName, cell: Cell) -> Result<Option<Vec<u8>>, ArbiterError> {
        let question = Question::Read {
            vm: vm.to_string(),
            cell: cell_of(cell),
        };
        match self.ask(&question)? {
            Reply::Value(found) => Ok(found),
            other => Err(self.odd(&other)),
        }
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        match self.ask(&Question::Last { vm: vm.to_string() })? {
            Reply::Last(found) => Ok(found.map(Epoch)),
            other => Err(self.odd(&other)),
        }
    }

    fn refresh(&mut self) -> Result<(), ArbiterError> {
        match self.ask(&Question::Refresh)? {
            Reply::Done => Ok(()),
            other => Err(self.odd(&other)),
        }
    }

    fn collect(&mut self, vm: &VmName) {
        // Failing does no harm.
        if let Err(error) = self.ask(&Question::Collect { vm: vm.to_string() }) {
            tracing::debug!("old claims stay: {}", os::error::chain(&error));
        }
    }

    fn place(&self) -> String {
        format!("the arbiter {}", self.place.at())
    }

    fn flag(&self) -> String {
        format!("--arbiter {}", self.place)
    }

    fn damaged(&self, vm: &VmName, cell: Cell) -> ArbiterError {
        let name = match cell {
            Cell::Id => format!("{vm}.id"),
            Cell::Claim(epoch) => format!("{vm}.{:020}.claim", epoch.0),
            Cell::End(epoch) => format!("{vm}.{:020}.end", epoch.0),
        };
        ArbiterError::Damaged {
            what: format!("{name} among the claims of {}", self.place.at()),
        }
    }
}
