//! Every bound of the crate, with what happens when it is reached (docs/style.md, L1).

/// Longest data of an option in bytes, of a client or in a server's answer; a longer one ends the connection.
pub const OPTION_LEN_MAX: usize = 8 << 10;
/// Options that a client may send before it enters an export; one more ends the connection.
pub const OPTIONS_MAX: u32 = 64;
/// Longest name of an export in bytes. The protocol allows 4096; a longer name is refused as unknown.
pub const NAME_LEN_MAX: usize = 256;
const _: () = assert!(NAME_LEN_MAX < OPTION_LEN_MAX);
/// Queries in one option for metadata contexts; one more makes the option invalid.
pub const QUERIES_MAX: u32 = 8;
/// Longest read or write in bytes: a server tells it as its maximum, a longer request fails, and data of a
/// longer write end the connection. It is the maximum that clients use which ask for none (proto.md, "Block
/// size constraints").
pub const PAYLOAD_LEN_MAX: u32 = 32 << 20;
/// Longest text for people in an answer, in bytes; the rest of a longer one is left out.
pub const TEXT_LEN_MAX: usize = 512;
/// Extents in one answer to a question for block status; a client asks again for what is behind them.
pub const EXTENTS_MAX: usize = 1024;
/// Requests that a client has at a server at once, on one connection; it sends no further one.
pub const REQUESTS_MAX: usize = 128;
/// A writer whose connection was lost without a goodbye may come back for so long; until then nobody without
/// an epoch of its own takes its place.
pub const RETURN_GRACE_MS: u64 = 10_000;
/// A program that knows nothing of epochs may write only when no writer has been there for so long.
pub const STOCK_GRACE_MS: u64 = 60_000;
/// Longest name of a VM in bytes in what a client says of itself.
pub const VM_LEN_MAX: usize = 64;
/// Longest value of an arbiter's cell in bytes; a longer one is none of ours.
pub const CELL_LEN_MAX: usize = 16 << 10;
/// Longest body of a question to a server or of its reply, in bytes; a longer one ends the connection.
pub const CONTROL_LEN_MAX: usize = 32 << 10;
const _: () = assert!(CELL_LEN_MAX + VM_LEN_MAX + 64 <= CONTROL_LEN_MAX);
/// Names of VMs in one reply; further ones are left out.
pub const VMS_MAX: usize = 400;
const _: () = assert!(VMS_MAX * (VM_LEN_MAX + 4) + 64 <= CONTROL_LEN_MAX);
