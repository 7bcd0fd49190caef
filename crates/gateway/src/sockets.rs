//! The sockets of TCP connections, with their buffers, to be used again.

use super::limits;
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Duration as StackDuration;
use std::time::Duration;

/// Sockets with their buffers, to be used again: fresh memory for each connection would have to be filled
/// with zeros, and what the allocator gets back in such pieces it keeps.
#[derive(Default)]
pub struct Sockets {
    spare: Vec<Socket<'static>>,
    in_use: usize,
}

impl Sockets {
    /// Buffers that exist, two for each socket.
    pub fn buffers(&self) -> usize {
        2 * (self.in_use + self.spare.len())
    }

    /// Keeps a connection's socket, which is closed, if there is room; `None`: the connection had none left.
    pub fn give_back(&mut self, socket: Option<Socket<'static>>) {
        self.in_use -= 1;
        if self.spare.len() < limits::SPARE_SOCKETS_MAX {
            // What it was is forgotten when it is opened again.
            self.spare.extend(socket);
        }
    }

    /// One for a new connection.
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

/// A duration as smoltcp counts it.
pub fn to_stack(duration: Duration) -> StackDuration {
    // 64 bits of microseconds last half a million years.
    StackDuration::from_micros(duration.as_micros() as u64)
}
