//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1).

use std::time::Duration;

use messages::time::Span;

/// The answer of another agent may have so many bytes.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Tokens by which hosts may join that are good at once.
pub const TOKENS_MAX: usize = 16;
/// Tokens that an agent remembers, so that it can say of one that it is used up or expired.
pub const TOKENS_KEPT: usize = 64;
/// Calls with a token that is not good are answered so many times in [`TOKEN_FAILURES_SPAN`].
pub const TOKEN_FAILURES_MAX: usize = 5;
/// The time in which failures with tokens are counted.
pub const TOKEN_FAILURES_SPAN: Span = Span::from_ms(60_000);
/// The agent that a host asks to join has this long for each answer: it may have to read a file server.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// Another host that says nothing is asked whether it is there after so long, and again.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);
/// One that has not answered so many times in a row is gone.
pub const PROBES: u32 = 3;
/// Another agent has this long to have a connection lead on to the process of a VM.
pub const PASSAGE_PATIENCE: Duration = Duration::from_secs(8);
