//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1).

use std::time::Duration;

use messages::time::Span;

/// The mind looks at everything at least this often.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pauses before the measurements of this host's speed.
pub const SPEED_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(30), Duration::from_secs(300)];
/// A process of this host has this long to say how its VM is.
pub const STATUS_PATIENCE: Duration = Duration::from_millis(1_500);
/// Another agent is asked for its report this often.
pub const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Another agent has this long to answer a question.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(2);
/// Another agent has this long to answer a request for a reservation: a process starts there meanwhile.
pub const RESERVATION_PATIENCE: Duration = Duration::from_secs(8);
/// A reservation that nobody uses ends after this.
pub const RESERVATION: Duration = Duration::from_secs(30);
/// A process that is to wait for a VM has this long to begin to.
pub const LISTEN_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at whether a process waits for a VM.
pub const LISTEN_LOOK: Duration = Duration::from_millis(10);
/// A watch of the store ends this often without news, to look whether the agent ends.
pub const STORE_WATCH: Duration = Duration::from_secs(2);
/// Pause before a store that is away is asked again.
pub const STORE_PAUSE: Duration = Duration::from_millis(500);
/// A store whose watch has said nothing at all for this long is away: a file server may be silent for ever.
pub const STORE_SILENT: Span = Span::from_ms(10_000);
/// An arbiter that has not answered for this long is away.
pub const ARBITER_SILENT: Span = Span::from_ms(15_000);
/// How old an answer of the arbiter may be by which a VM is started.
pub const OWNERSHIP_AGE: Span = Span::from_ms(2_000);
/// A change that the mind has asked for has this long to be made and seen before it asks again.
pub const WRITE_PATIENCE: Span = Span::from_ms(5_000);
/// An operation's progress is written down at most this often.
pub const PROGRESS_EVERY: Span = Span::from_ms(20_000);
/// The body of a request may have so many bytes: a VM's settings.
pub const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Connections to the agent at once; further ones wait.
pub const CONNECTIONS_MAX: usize = 256;
/// Happenings of a host's VMs that are kept for whoever asks.
pub const EVENTS_KEPT: usize = 4_096;
/// Bytes of a comment that somebody gives.
pub const COMMENT_BYTES_MAX: usize = 1_000;
/// Files of last words that are kept of each VM.
pub const LOGS_KEPT: usize = 8;
/// Bytes of the last words of a process that are read.
pub const LAST_WORDS_BYTES: u64 = 4 << 10;
/// A process that is tried writes its figures this often, in milliseconds.
pub const TRIAL_FIGURES_EVERY_MS: u64 = 100;
/// A listener of `/v1/watch` that is so many messages behind gets a snapshot instead of them; so many are
/// kept for all listeners together.
pub const WATCH_BEHIND_MAX: usize = 64;
/// Listeners of `/v1/watch` at once; a further one is refused.
pub const WATCH_LISTENERS_MAX: usize = 64;
/// Listeners are told of ages and figures at most this often.
pub const FIGURES_EVERY: Span = Span::from_ms(1_000);
/// A listener to whom nothing was said for this long hears that the agent lives.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// Happenings that wait to be told to listeners; with more all listeners begin anew.
pub const NEWS_MAX: usize = 1_024;
/// Happenings that another agent is told of in one report; the next one has further ones.
pub const REPORT_EVENTS_MAX: usize = 256;
/// Bytes of the file of happenings, after which a new one is begun; the one before is kept beside it.
pub const EVENTS_BYTES: u64 = 16 << 20;
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
/// Ports of a host that answer at once because they are examined.
pub const ECHOES_MAX: usize = 4;
/// Bytes of a datagram that such a port sends back at most.
pub const ECHO_BYTES_MAX: usize = 9_216;

const _: () = assert!(
    WATCH_LISTENERS_MAX < CONNECTIONS_MAX,
    "whoever asks finds a place, though all listen that may"
);
