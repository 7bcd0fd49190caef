//! Every bound of the crate, with its meaning. All files take theirs from here (docs/style.md L1).
//!
//! Times are spans of the agent's clock, sizes are bytes, shares are thousandths. Nothing here is read from a
//! configuration: what a site may choose stands in `Need`, `Desired` and `Site`.

use messages::time::Span;

/// A status from a process on this agent's own host is old after this.
pub const STALE_LOCAL: Span = Span::from_ms(3_000);
/// News from another host is old after this.
pub const STALE_REMOTE: Span = Span::from_ms(5_000);

/// Memory that a VM's process needs beside its guest's (docs/performance.md).
pub const PROCESS_BYTES: u64 = 196 << 20;
/// Memory that a new backup needs for what is under way.
pub const BUFFER_BYTES: u64 = 64 << 20;
/// A host keeps this share of its memory free, in thousandths.
pub const RESERVE_PERMILLE: u64 = 100;
/// A host below this share of the owner's speed, in thousandths, is taken only if there is no other.
pub const SPEED_GOOD_PERMILLE: u64 = 800;
/// A host whose speed differs from the owner's by no more than this, in thousandths of the owner's, counts as
/// equally fast: two measurements of one host differ as much.
pub const SPEED_ALIKE_PERMILLE: u64 = 100;
/// A host below this share of the owner's speed, in thousandths, is taken only if somebody allows it: the
/// VM's process would dismiss such a backup for being too slow.
pub const SPEED_LEAST_PERMILLE: u64 = 500;

/// Longest wait after a first failure with a host.
pub const BACKOFF_FIRST: Span = Span::from_ms(1_000);
/// Longest wait after any number of failures with a host.
pub const BACKOFF_MAX: Span = Span::from_ms(300_000);
/// For how long a host is shunned the first time.
pub const SHUN_FIRST: Span = Span::from_ms(300_000);
/// For how long a host is shunned at most.
pub const SHUN_MAX: Span = Span::from_ms(6 * 3_600_000);
/// What a host has done is forgotten after this.
pub const FORGET_AFTER: Span = Span::from_ms(24 * 3_600_000);
/// Most (VM, host) pairs whose failures are remembered; with more, the one that failed longest ago is
/// forgotten.
pub const REMEMBERED_MAX: usize = 4_096;

/// A target agent has this long to answer a request for a reservation.
pub const ASK_PATIENCE: Span = Span::from_ms(10_000);
/// A process that was started has this long until it answers.
pub const START_PATIENCE: Span = Span::from_ms(60_000);
/// An order to a process has this long until its status shows that it is carried out.
pub const ORDER_PATIENCE: Span = Span::from_ms(10_000);
/// An order that was refused is given again no sooner than this, and after each further refusal no sooner
/// than twice as long after it.
pub const REFUSED_REST: Span = Span::from_ms(1_000);
/// An order that was refused is given again after this, however often it was refused.
pub const REFUSED_REST_MAX: Span = Span::from_ms(30_000);
/// Failed hand-overs and refused orders count together if no more than this lies between two of them.
pub const FAILURES_FORGOTTEN: Span = Span::from_ms(600_000);
/// An operation that makes no progress ends as failed after this.
pub const OPERATION_MAX: Span = Span::from_ms(600_000);
/// An operation ends as failed after this, whatever progress it makes.
pub const OPERATION_LONGEST: Span = Span::from_ms(6 * 3_600_000);
/// An operation ends as failed after so many failures in a row of the same step.
pub const TRIES_MAX: u32 = 3;
/// A test of a VM's protection that is not decided within this has failed, so that nothing waits for it.
pub const DECIDE_PATIENCE: Span = Span::from_ms(15_000);
/// A VM that died is started cold no sooner than this, so that a member, which has the memory, wins.
pub const COLD_WAIT: Span = Span::from_ms(120_000);

/// A member must be the healthier one for this long before the VM is handed over to it.
pub const HEALTH_STEADY: Span = Span::from_ms(2_000);
/// At most one hand-over that nobody asked for in this time.
pub const SWAP_EVERY: Span = Span::from_ms(600_000);
/// No VM is handed back in this time, unless somebody asks for it, to a host that failed.
pub const NO_WAY_BACK: Span = Span::from_ms(3_600_000);

/// A guest that hangs is reset at most once in this time, unless somebody asks for it.
pub const RESET_EVERY: Span = Span::from_ms(600_000);
/// An order to reset a guest that hangs is given no later than this after it was noted.
pub const RESET_NOTE_FRESH: Span = Span::from_ms(60_000);

/// A delay of outputs above this, 99th of a hundred, is said to be slow.
pub const SLOW_OUTPUTS: Span = Span::from_ms(20);
