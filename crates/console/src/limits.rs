//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

/// Bytes waiting for a console's reader, beside as many that are being written. Past this the guest's output
/// is dropped, and a line in the console tells where and how much.
pub const CONSOLE_BACKLOG_MAX: usize = 4 << 20;
/// A console's client that does not read for so long, though there is something to read, is sent away. A
/// client that was only stopped for a minute or two is not.
pub const CONSOLE_PATIENCE: Duration = Duration::from_secs(300);
/// A console that could not take a client tries again after this time.
pub const CONSOLE_RETRY: Duration = Duration::from_millis(100);
/// Bytes of a console's file, of which one older one of the same length is kept.
pub const CONSOLE_FILE_LEN_MAX: u64 = 64 << 20;
/// Bytes of console input that are read at once.
pub const CONSOLE_INPUT_LEN: usize = 1 << 10;
/// Chunks of console input, of at most [`CONSOLE_INPUT_LEN`] bytes each, that wait for the guest. Past this
/// the reader waits, and so does the typist. They die with their host, hence few.
pub const CONSOLE_INPUT_CHUNKS: usize = 8;
/// Chunks that are taken from a console with the escape key beside [`CONSOLE_INPUT_CHUNKS`], so that a key is
/// found behind a paste that the guest does not take: 4 MiB of a paste. Past this the typist waits.
pub const CONSOLE_AHEAD_CHUNKS: usize = 4096;
const _: () = assert!(CONSOLE_INPUT_LEN <= replica::limits::TYPED_BYTES_MAX);
