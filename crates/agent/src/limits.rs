//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1); those of
//! what an agent thinks are in the crate `controller`.

use std::time::Duration;

use messages::time::Span;

/// Pauses before the measurements of this host's speed.
pub const SPEED_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(30), Duration::from_secs(300)];
/// A process of this host has this long to say how its VM is.
pub const STATUS_PATIENCE: Duration = Duration::from_millis(1_500);
/// A process that is to wait for a VM has this long to begin to.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at whether a process waits for a VM.
pub const LISTEN_LOOK: Duration = Duration::from_millis(10);
/// The body of a request may have so many bytes: a VM's settings.
pub const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Connections of people to the agent at once, and as many of other hosts; further ones wait.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections that lead through this agent to VMs' processes, at once; one more is refused.
pub const PASSAGES_MAX: usize = 32;
/// The same of people at VMs' consoles, who may stay for days.
pub const CONSOLES_MAX: usize = 64;
/// Bytes of the first line that a process says to somebody who wants to its console.
pub const ANSWER_LEN_MAX: usize = 4 << 10;
/// Bytes that such a connection holds in each direction.
pub const PASSAGE_BYTES: usize = 64 << 10;
/// The site's arbiter has this long for what a person asks of it.
pub const RELEASE_PATIENCE: Duration = Duration::from_secs(15);
/// A listener of `/v1/watch` that is so many messages behind gets a snapshot instead of them; so many are
/// kept for all listeners together.
pub const WATCH_BEHIND_MAX: usize = 64;
/// Listeners of `/v1/watch` at once; a further one is refused.
pub const WATCH_LISTENERS_MAX: usize = 64;
/// Listeners are told of ages and figures at most this often.
pub const FIGURES_EVERY: Span = Span::from_ms(1_000);
/// A listener to whom nothing was said for this long hears that the agent lives.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A token is good for at most so many seconds.
pub const TOKEN_VALID_S_MAX: u64 = 24 * 3_600;
/// An agent that has just started has this long to read the site's directory before it judges a host that
/// joins.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// A caller who is refused may have sent so many bytes that are read before the connection is closed, so that
/// the refusal is not lost.
pub const FAREWELL_BYTES_MAX: usize = 64 << 10;
/// Questions by which the time to another agent and back is measured.
pub const ROUND_TRIPS: usize = 5;
/// A port that is examined answers for so long.
pub const ECHO_LASTS: Duration = Duration::from_secs(4);
/// Threads that look for marks at the arbiter for other hosts at once; one more waits for its turn.
pub const LOOKS_MAX: usize = 4;
/// A host that joins has this long for all that it asks.
pub const JOINING_LASTS: Duration = Duration::from_secs(120);
/// The arbiter has this long to show a mark to another host, which waits a little longer.
pub const MARK_PATIENCE: Duration = Duration::from_millis(1_500);
/// Ports of a host that answer at once because they are examined.
pub const ECHOES_MAX: usize = 4;
/// Bytes of a datagram that such a port sends back at most.
pub const ECHO_BYTES_MAX: usize = 9_216;

const _: () = assert!(
    WATCH_LISTENERS_MAX < CONNECTIONS_MAX,
    "whoever asks finds a place, though all listen that may"
);
