//! The sockets of closed TCP connections, kept with their buffers for the next connections.
//!
//! `tcp` takes from here and gives back; nothing of a connection's content outlives it.

use super::limits;
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Duration as StackDuration;
use std::time::Duration;

/// Spare sockets with their buffers. Fresh memory for each connection would have to be filled with zeros, and
/// the allocator keeps memory that it gets back in such large pieces.
#[derive(Default)]
pub struct Sockets {
    spare: Vec<Socket<'static>>,
    in_use: usize,
}

impl Sockets {
    /// Number of buffers that exist, two for each socket.
    pub fn buffers(&self) -> usize {
        2 * (self.in_use + self.spare.len())
    }

    /// Keeps the closed socket of a connection if there is room. `None`: the connection had no socket left.
    pub fn give_back(&mut self, socket: Option<Socket<'static>>) {
        self.in_use -= 1;
        if self.spare.len() < limits::SPARE_SOCKETS_MAX {
            // The socket forgets its last connection when it is opened again.
            self.spare.extend(socket);
        }
    }

    /// A socket for a new connection.
    pub fn take(&mut self) -> Socket<'static> {
        self.in_use += 1;
        let mut socket = self.spare.pop().unwrap_or_else(|| {
            let buffer = || SocketBuffer::new(vec![0; limits::TCP_BUFFER_LEN]);
            Socket::new(buffer(), buffer())
        });
        socket.pause_synack(false);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(to_stack(limits::ACK_DELAY)));
        socket
    }
}

/// A duration in smoltcp's units.
pub fn to_stack(duration: Duration) -> StackDuration {
    // 64 bits of microseconds last half a million years.
    StackDuration::from_micros(duration.as_micros() as u64)
}
