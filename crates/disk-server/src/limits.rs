//! Every bound of the crate, with what happens when it is reached (docs/style.md, L1).

use std::time::Duration;

/// Exports of a server; a configuration with more is refused.
pub const EXPORTS_MAX: usize = 256;
/// Connections at once; a further one is closed at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Requests of one connection that wait for the storage; beyond, no more is read from that client.
pub const WAITING_MAX: usize = 64;
/// Bytes of these requests, of which a longest one always has room.
pub const WAITING_BYTES_MAX: usize = 32 << 20;
/// Threads that do what a connection's own thread would have to wait for.
pub const WORKERS_MAX: usize = 16;
/// A client that has not entered an export answers each step of the handshake within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies are sent together up to so many bytes.
pub const REPLIES_LEN_MAX: usize = 256 << 10;
/// Bytes that are read from a client at once, if more is there than is wanted.
pub const READ_LEN: usize = 64 << 10;
/// Largest file of the server's own state, in bytes.
pub const STATE_LEN_MAX: u64 = 4096;
/// A caller with questions that asks none for so long is hung up on, and calls again for its next one.
pub const CONTROL_PATIENCE: Duration = Duration::from_secs(60);
/// Marks of one caller at once; a further one is refused.
pub const MARKS_MAX: usize = 8;
/// Largest configuration, in bytes.
pub const CONFIG_LEN_MAX: u64 = 1 << 20;
/// Zeroes written at once, in bytes, where the file system has no call that makes them.
pub const ZEROES_LEN: usize = 1 << 20;
/// A client that has died without a word is found out after this time.
pub const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Time that changes which were begun have at the server's end; then it ends without them.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// How often the server looks meanwhile whether they are done.
pub const CLOSE_LOOK_EVERY: Duration = Duration::from_millis(10);
