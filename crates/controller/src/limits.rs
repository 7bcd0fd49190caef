//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1).

use std::time::Duration;

use messages::time::Span;

/// The mind looks at everything at least this often.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Another agent is asked for its report this often.
pub const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Another agent has this long to answer a question.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(2);
/// Another agent has this long to answer a request for a reservation: a process starts there meanwhile.
pub const RESERVATION_PATIENCE: Duration = Duration::from_secs(8);
/// A reservation that nobody uses ends after this.
pub const RESERVATION: Duration = Duration::from_secs(30);
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
/// A process that is to be killed for a test has this long to be seen dead before that is tried again.
pub const KILL_PATIENCE: Span = Span::from_ms(8_000);
/// An operation's progress is written down at most this often.
pub const PROGRESS_EVERY: Span = Span::from_ms(20_000);
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
/// Happenings that wait to be told to listeners; with more all listeners begin anew.
pub const NEWS_MAX: usize = 1_024;
/// Happenings that another agent is told of in one report; the next one has further ones.
pub const REPORT_EVENTS_MAX: usize = 256;
/// Bytes of the file of happenings, after which a new one is begun; the one before is kept beside it.
pub const EVENTS_BYTES: u64 = 16 << 20;
/// A change of a VM's sides that was noted less than so many nanoseconds ago is that of the test under way.
pub const SWAP_NOTED_NS: u64 = 60_000_000_000;
/// A guest is probed this often.
pub const PROBE_EVERY: Span = Span::from_ms(2_000);
/// Two looks at a guest, or two probes of it, with more than this between them do not count together: who
/// knows what the guest did meanwhile.
pub const STANDSTILL: Span = Span::from_ms(10_000);
/// A guest has this long to answer a probe.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// Guests that are probed at once.
pub const PROBES_MAX: usize = 64;
/// A guest's timer interrupt that waits for longer than this, in milliseconds of the guest's time, is not
/// just about to be taken.
pub const TIMER_LATE_MS: u64 = 1_000;
