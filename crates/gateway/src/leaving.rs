//! Host sockets that both sides have finished with, kept until the kernel has delivered what was given to it.
//!
//! The guest's bytes were acknowledged to the guest, and may still be on their way to a client that reads
//! slowly. The kernel delivers them as long as the client answers; but once nobody holds the socket it gives
//! up a client whose window stays closed for a few minutes, and it throws everything away at once if the
//! client has sent something that nobody read. So `splice` hands such a socket over to here, and `tcp` brings
//! its events. Nothing of a connection but its socket is kept.

use super::limits;
use mio::net::TcpStream;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// Reads of one socket in one turn; a client that sends more at once to a guest that is gone loses its socket
/// to the kernel.
const READS_MAX: usize = 64;

/// All such sockets, by the numbers of their connections.
#[derive(Debug, Default)]
pub struct Leaving {
    streams: BTreeMap<u64, TcpStream>,
}

impl Leaving {
    /// Keeps a socket, unless all is delivered already. If there are too many, the one of the oldest
    /// connection is left to the kernel.
    pub fn add(&mut self, id: u64, mut stream: TcpStream) {
        if has_left(&mut stream) {
            return;
        }
        if self.streams.len() >= limits::LEAVING_MAX {
            self.streams.pop_first();
        }
        self.streams.insert(id, stream);
    }

    /// Handles an event of a connection's socket. False: the socket is not here.
    pub fn on_event(&mut self, id: u64) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        if has_left(stream) {
            self.streams.remove(&id);
        }
        true
    }

    /// Number of sockets.
    pub fn len(&self) -> usize {
        self.streams.len()
    }
}

/// Whether nothing can come to or from the socket any more: both ends have been acknowledged, or the client
/// is gone. What the client sends is thrown away, since no guest is there to take it.
fn has_left(stream: &mut TcpStream) -> bool {
    let mut nobody_s = [0; 16 * 1024];
    for _ in 0..READS_MAX {
        match stream.read(&mut nobody_s) {
            // The kernel knows no peer of a connection that is over.
            Ok(0) => return stream.peer_addr().is_err(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return stream.peer_addr().is_err(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    true
}
