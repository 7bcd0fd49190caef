//! Host sockets that are of no more use to a guest, kept until the kernel has delivered what was given to it.
//!
//! The guest's bytes were acknowledged to the guest, and may still be on their way to a client that reads
//! slowly. The kernel delivers them as long as the client answers; but once nobody holds the socket it gives
//! up a client whose window stays closed for a few minutes, and it throws everything away at once if the
//! client has sent something that nobody read, or if the socket is closed with a reset. So `splice` hands
//! such a socket over to here, and `tcp` brings its events. Nothing of a connection but its socket is kept.

use super::limits;
use mio::net::TcpStream;
use os::sys::socket::unacknowledged;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Reads of one socket in one turn; a client that sends more at once to a guest that is gone loses its socket
/// to the kernel.
const READS_MAX: usize = 64;

/// A host socket that is to end.
#[derive(Debug)]
pub struct Leaver {
    pub stream: TcpStream,
    /// Whether the stream has not come to its end, so that the client is to be reset after its last byte.
    pub resets: bool,
}

/// All such sockets, by the numbers of their connections.
#[derive(Debug, Default)]
pub struct Leaving {
    leavers: BTreeMap<u64, Leaver>,
    /// When to look whether all has been delivered to clients that are to be reset.
    look_at: Option<Instant>,
}

impl Leaving {
    /// Keeps a socket, unless all is delivered already. If there are too many, the one of the oldest
    /// connection is left to the kernel.
    pub fn add(&mut self, id: u64, mut leaver: Leaver, now: Instant) {
        if leaver.has_left() {
            return;
        }
        if self.leavers.len() >= limits::LEAVING_MAX {
            self.leavers.pop_first();
        }
        if leaver.resets {
            self.look_at.get_or_insert(now + limits::LEAVING_LOOK_EVERY);
        }
        self.leavers.insert(id, leaver);
    }

    /// Handles an event of a connection's socket. False: the socket is not here.
    pub fn on_event(&mut self, id: u64) -> bool {
        let Some(leaver) = self.leavers.get_mut(&id) else {
            return false;
        };
        if leaver.has_left() {
            self.leavers.remove(&id);
        }
        true
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Resets clients that have got all.
    pub fn on_deadline(&mut self, now: Instant) {
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.leavers
            .retain(|_, leaver| !leaver.resets || !leaver.has_left());
        let is_left = self.leavers.values().any(|leaver| leaver.resets);
        self.look_at = is_left.then_some(now + limits::LEAVING_LOOK_EVERY);
    }

    /// Number of sockets.
    pub fn len(&self) -> usize {
        self.leavers.len()
    }
}

impl Leaver {
    /// Whether the socket can be closed: the client has got all and is to be reset, or both ends of the
    /// stream have been acknowledged, or the client is gone. What the client sends is thrown away, since no
    /// guest is there to take it.
    fn has_left(&mut self) -> bool {
        if self.resets && unacknowledged(&self.stream).unwrap_or(0) == 0 {
            return true;
        }
        let mut nobody_s = [0; 16 * 1024];
        for _ in 0..READS_MAX {
            match self.stream.read(&mut nobody_s) {
                Ok(1..) => {}
                // The kernel knows no peer of a connection that is over.
                Ok(0) => return self.stream.peer_addr().is_err(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.stream.peer_addr().is_err();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        true
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        if self.resets {
            // Closing a socket that does not linger sends a reset instead of a FIN.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}
