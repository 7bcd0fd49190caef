//! Every bound of the crate, with what happens when it is reached. All files take theirs from here; nothing
//! may grow without one (L1 of docs/style.md). Assertions at the end keep the bounds consistent.

use messages::time::Span;

pub use messages::limits::*;

/// Steps between two digests unless the options say otherwise: a few tens of digests a second. Each hashes
/// what was written since the one before the last, which costs less than a hundredth of the guest's speed.
pub const DIGEST_EVERY_DEFAULT: u64 = 50_000_000;
/// For each time that a digest has hashed so many pages of memory, the next one comes an interval later. One
/// that may have to hash more ends later than it begins: no digest takes longer than this at once.
pub const DIGEST_PAGES: u64 = 1250;
/// Most intervals by which a digest is put off in that way.
pub const DIGEST_PAUSE_MAX: u64 = 3;

/// Shortest failure-detection timeout; a shorter one is refused.
pub const TIMEOUT_MIN: Span = Span::from_ms(100);
/// Failure-detection timeout unless configured.
pub const TIMEOUT_DEFAULT: Span = Span::from_ms(500);
/// Longest failure-detection timeout: a lease must end in foreseeable time. A longer one is refused.
pub const TIMEOUT_MAX: Span = Span::from_ms(60_000);
/// Highest epoch of a pair: there is always one after it to claim.
pub const EPOCH_MAX: u64 = 1 << 62;
/// The timeout, divided by this, is the longest time between two messages over the link.
pub const KEEPALIVES_PER_TIMEOUT: u64 = 4;
/// The timeout, divided by this, is the longest time between two heartbeats. So after an outage of seven
/// tenths of the timeout one still comes in time.
pub const HEARTBEATS_PER_TIMEOUT: u64 = 8;
/// A peer whose heartbeats come is suspected when the link has been silent for so long: TCP waits twice as
/// long after each lost packet, so a path that loses one of twenty is silent for seconds now and then.
pub const LINK_PATIENCE: Span = Span::from_ms(10_000);
/// A side whose network ports lead nowhere, or whose operator wants it to leave, asks the arbiter so many
/// timeouts later than it could.
pub const ISOLATED_TIMEOUTS: u64 = 2;
/// Log that waits for so long to get through the link slows the primary down.
pub const QUEUED_MIN: Span = Span::from_ms(200);
/// Heartbeats whose round trips are remembered: the least of them is what the path takes.
pub const BEATS_REMEMBERED: usize = 3;
/// Longest wait of a primary that leaves, for the requests that are at its disks and for room at the backup.
pub const LEAVE_PATIENCE: Span = Span::from_ms(5_000);
/// How long a primary that is to hand the VM over waits until no request is at a disk, the backup is close
/// and the arbiter answers (FT 3.3-d). The guest runs meanwhile. Then the primary stays what it is.
pub const HAND_OVER_PATIENCE: Span = Span::from_ms(2_000);
/// Lag of the backup up to which its primary stops to hand over: the guest stands until that is made up.
pub const HAND_OVER_LAG: Span = Span::from_ms(5);
/// How long a primary waits for its backup to be so close. Then [`LAG_TARGET`] is close enough.
pub const HAND_OVER_LAG_PATIENCE: Span = Span::from_ms(1_000);
/// The timeout, divided by this, is how much sooner than the timeout a lease ends: clocks may differ.
pub const LEASE_MARGIN_PART: u64 = 8;
/// Before the first message of a new peer, silence may last this many timeouts: the peer still starts.
pub const START_TIMEOUTS: u64 = 4;

/// Longest slice of guest execution that is aimed at.
pub const SLICE: Span = Span::from_us(1_000);
/// Steps of a slice before the speed is known.
pub const SLICE_STEPS_FIRST: u64 = 100_000;
/// Fewest steps of a slice, however slow the host seems.
pub const SLICE_STEPS_MIN: u64 = 1_000;
/// Most steps of a slice, however fast the host seems: a wrong guess must not outlast the timeout.
pub const SLICE_STEPS_MAX: u64 = 4_000_000;
/// The guest's clock is corrected at least this often while the guest runs.
pub const CLOCK_EVERY: Span = Span::from_us(1_000);

/// Log entries wait at most this long while the guest runs and no output waits for them.
pub const FLUSH_EVERY: Span = Span::from_us(1_000);
/// Log entries wait at most this long while the guest is idle: its few entries share a frame.
pub const FLUSH_EVERY_IDLE: Span = Span::from_ms(20);
/// An output's entry waits at most this long for company, while a frame before it is not acknowledged.
pub const FLUSH_COMPANY: Span = Span::from_us(200);

/// Most log the backup holds, in bytes and [`ENTRY_COST`]s (FT 3.2-c). The primary sends nothing that could
/// exceed it; what it cannot send gathers up to [`UNSENT_COST_MAX`]. A primary that exceeds it is refused.
pub const BUFFER_COST_MAX: u64 = 64 << 20;
/// Most log the primary keeps for lack of window, before it stops the guest.
pub const UNSENT_COST_MAX: u64 = 16 << 20;
/// Most bytes of outputs held; then the guest stops until an acknowledgement.
pub const HELD_BYTES_MAX: usize = 16 << 20;
/// What a held output counts beyond its bytes.
pub const HELD_COST: usize = 256;
/// Most bytes of outputs that a backup keeps for re-emission; then its replay stops until it hears that some
/// have left. A primary tells so every [`RELEASED_BYTES_TELL`] bytes.
pub const KEPT_BYTES_MAX: usize = 64 << 20;
/// Bytes of outputs after whose release the primary tells the backup at once.
pub const RELEASED_BYTES_TELL: usize = 1 << 20;
/// Most frames, console runs and the like that wait for the next slice; more are dropped and counted.
pub const INBOX_MAX: usize = 4096;
/// Most bytes of inputs that wait for the next slice; more are dropped and counted.
pub const INBOX_BYTES_MAX: usize = 8 << 20;
/// Most bytes of console input that wait until the guest's line has room; [`crate::Node::console_room`] asks
/// whoever brings more to wait. More are dropped and counted. They are in no log yet, so they die with their
/// host: hence few.
pub const TYPED_BYTES_MAX: usize = 16 << 10;
/// Console input is injected in pieces of at most so many bytes, each once the guest has room for all of it.
pub const TYPED_PIECE_BYTES: usize = 4 << 10;
/// Inputs injected in one slice; the rest waits for the next.
pub const INJECT_PER_SLICE: usize = 256;

/// Execution lag that [`crate::peer::pace`] aims to stay below (FT 3.2-e).
pub const LAG_TARGET: Span = Span::from_ms(50);
/// Lag at which the primary stops until the backup has caught up to [`LAG_TARGET`].
pub const LAG_MAX: Span = Span::from_ms(1_000);
/// How often the pace is reconsidered.
pub const PACE_EVERY: Span = Span::from_ms(20);
/// Slowest pace, in thousandths.
pub const PACE_MIN: u32 = 50;
/// Pace at which a backup that once lagged at the slowest pace counts as recovered.
pub const PACE_RECOVERED: u32 = 4 * PACE_MIN;
/// A backup that lags at the slowest pace, or keeps the guest standing, for this long is dropped.
pub const SLOW_DROP: Span = Span::from_ms(SLOW_SECONDS as u64 * 1_000);
/// The same in seconds.
pub const SLOW_SECONDS: usize = 10;
/// Whole seconds over which the mean of the pace is taken; what was before them is forgotten.
pub const SPEED_SECONDS: usize = 60;
/// Mean pace in percent below which a backup is dropped unless the options say otherwise.
pub const SPEED_MIN_DEFAULT: u32 = 50;
/// Highest such percentage; a higher one is refused.
pub const SPEED_MIN_MAX: u32 = 100;
/// Most samples of (step, time) from which lag is computed; beyond it, new log counts as older than it is.
pub const LAG_SAMPLES_MAX: usize = 4096;

/// Pages that are copied for a clone in a millisecond, as long as they may be written again. A page costs the
/// guest's thread a microsecond, the threads that pack and send it several, and the apprentice as many: so a
/// clone takes a fourteenth of a processor on either side from what else the hosts do.
pub const COPY_RATE: u64 = 6;
/// The same on a host with processors to spare: there a clone takes a tenth of the guest's thread alone.
pub const COPY_RATE_SPARE: u64 = 90;
/// The same after the cut, wherever: until the pages have left the apprentice falls behind.
pub const COPY_RATE_SEALING: u64 = 180;
/// Most pages that are copied at once while the guest runs.
pub const COPY_PAGES: u32 = 180;
/// Pages are saved up until so many can be copied at once: with them a record of the bulk link is full.
pub const COPY_PAGES_LEAST: u32 = 64;
/// Pages copied at a time while the guest stands for the clone.
pub const COPY_PAGES_STANDING: u32 = 512;
/// Longest time in which an apprentice that lacks no image of the VM must have shaken hands.
pub const GREETING_PATIENCE: Span = Span::from_ms(20_000);
/// Most rounds of a clone in which pages are copied before the cut.
pub const ROUNDS_MAX: u32 = 4;
/// A round that leaves more than this share of what was owed before it, in thousandths, is the last.
pub const ROUND_SHRINKS_PERMILLE: u64 = 700;
/// The cut comes once the bulk link sends all that is owed in this time.
pub const CUT_OWED: Span = Span::from_ms(1_000);
/// Most bytes of disk requests in the state at the cut; with more the cut waits for them, but no longer than
/// [`CUT_PATIENCE`].
pub const CUT_DISK_BYTES: usize = 8 << 20;
/// Longest wait for disk requests before the cut.
pub const CUT_PATIENCE: Span = Span::from_ms(100);
/// Most bytes of pages that are kept as they were at the cut while the guest runs on.
pub const FROZEN_BYTES_MAX: usize = 256 << 20;
/// Pages of that room which ordinary steps leave free, for what a device writes at once: with less the guest
/// stands, and its inputs wait.
pub const FROZEN_RESERVE: u32 = machine::limits::FROZEN_RESERVE as u32;
/// Slowest pace of the guest before it stands because hardly more pages can be kept, in thousandths.
pub const SEAL_PERMILLE_MIN: u32 = 250;
/// Most log that an apprentice holds while the state is on its way to it, in bytes and [`ENTRY_COST`]s.
pub const APPRENTICE_COST_MAX: u64 = 512 << 20;
/// Longest time for which the guest stands, in all, until [`STANDING_BYTES`] more of its pages have left.
pub const STANDING_PATIENCE: Span = Span::from_ms(15_000);
/// Bytes of pages that must leave in that time, since the guest waits for them: 4.5 MB a second.
pub const STANDING_BYTES: u64 = 64 << 20;
/// Longest time without room on the bulk link while something is to be sent over it.
pub const BULK_PATIENCE: Span = Span::from_ms(15_000);
/// Longest time from the end of the state to the word that the apprentice follows.
pub const FOLLOWING_PATIENCE: Span = Span::from_ms(120_000);
/// Longest time for which the log for an apprentice may wait for room there.
pub const LOG_PATIENCE: Span = Span::from_ms(5_000);
/// Lag at which an apprentice may become a member.
pub const LAG_ARM: Span = Span::from_ms(250);
/// Digests since the cut that must have been equal before an apprentice may become a member.
pub const DIGESTS_ARM: u64 = 2;
/// Wait before an arbiter that could not say whether the epoch is still the owner's is asked again.
pub const CHECK_RETRY: Span = Span::from_ms(1_000);
/// A question whether the epoch is still the owner's without an answer for so long counts as unanswered.
pub const CHECK_ANSWER: Span = Span::from_ms(5_000);
/// How often it is looked at whether an apprentice comes closer.
pub const CATCH_UP_EVERY: Span = Span::from_ms(5_000);
/// Thousandths by which the guest is slowed down each time it does not.
pub const CATCH_UP_PERMILLE_LESS: u32 = 100;
/// Slowest pace for the sake of an apprentice, in thousandths.
pub const CATCH_UP_PERMILLE_MIN: u32 = 500;
/// An apprentice that does not come closer at the slowest pace for so long is given up.
pub const CATCH_UP_PATIENCE: Span = Span::from_ms(30_000);
/// When an apprentice is given up that never comes closer: the guest is slowed to the slowest pace first.
pub const CATCH_UP_IN_VAIN: Span = Span(
    CATCH_UP_EVERY.0 * ((1000 - CATCH_UP_PERMILLE_MIN) / CATCH_UP_PERMILLE_LESS) as u64 + CATCH_UP_PATIENCE.0,
);
/// An apprentice that has not caught up by then is given up, however close it has come. One that comes closer
/// evenly, by a tenth of what it lacked in each [`CATCH_UP_PATIENCE`], lacks nothing after ten of them.
pub const CATCH_UP_LONGEST: Span = Span(CATCH_UP_IN_VAIN.0 + 9 * CATCH_UP_PATIENCE.0);
/// Pages hashed in one slice of a digest that has begun: less than a tenth of the slice's time. While the
/// guest has nothing to do, or a replay has come to the entry with the digest, one such portion follows the
/// other, and what comes meanwhile waits for one.
pub const HASH_PAGES: u32 = 180;

/// Longest wait for the answers of the disks before a snapshot.
pub const SNAPSHOT_QUIET_PATIENCE: Span = Span::from_ms(2_000);
/// Longest time for which the guest's requests wait until its disks are kept along with a snapshot.
pub const SNAPSHOT_HOOK_PATIENCE: Span = Span::from_ms(60_000);
/// Longest time without room for a page of a snapshot.
pub const SNAPSHOT_PATIENCE: Span = Span::from_ms(60_000);

/// A primary whose backup does not answer its dismissal asks the arbiter after one timeout; after so many,
/// the operator hears that neither has answered.
pub const DISMISS_TIMEOUTS: u64 = 2;

/// First wait before an unreachable arbiter is asked again.
pub const CLAIM_RETRY_FIRST: Span = Span::from_ms(50);
/// Longest wait before an unreachable arbiter is asked again; each wait is twice the one before.
pub const CLAIM_RETRY_MAX: Span = Span::from_ms(2_000);
/// A question without any answer for this long is asked again; the same owner gets the same answer.
pub const CLAIM_ANSWER: Span = Span::from_ms(5_000);

/// Longest wait for the next message of a handshake.
pub const HANDSHAKE_ANSWER: Span = Span::from_ms(10_000);
/// Longest wait for the peer to build its machine.
pub const HANDSHAKE_BUILD: Span = Span::from_ms(120_000);

// A frame, whatever its entries, fits an empty buffer, or the channel would stand still for ever. The
// cheapest entry has two bytes, and a frame is closed soon after FRAME_BYTES_CLOSE.
const _: () =
    assert!((FRAME_BYTES_CLOSE as u64 / 2) * ENTRY_COST + (FRAME_BYTES_MAX as u64) < BUFFER_COST_MAX);
const _: () = assert!(TYPED_PIECE_BYTES <= TYPED_BYTES_MAX && TYPED_PIECE_BYTES <= INPUT_BYTES_MAX);
const _: () = assert!(KEPT_BYTES_MAX > 2 * HELD_BYTES_MAX + RELEASED_BYTES_TELL);
const _: () = assert!(0 < COPY_PAGES_LEAST && COPY_PAGES_LEAST <= COPY_PAGES && SEAL_PERMILLE_MIN > 0);
const _: () = assert!(LAG_TARGET.0 < LAG_MAX.0);
const _: () = assert!(SPEED_MIN_DEFAULT <= SPEED_MIN_MAX && SLOW_SECONDS <= SPEED_SECONDS);
const _: () = assert!(TIMEOUT_MIN.0 <= TIMEOUT_DEFAULT.0 && TIMEOUT_DEFAULT.0 <= TIMEOUT_MAX.0);
const _: () = assert!(APPRENTICE_COST_MAX > BUFFER_COST_MAX && LAG_ARM.0 < LAG_MAX.0);
const _: () = assert!(CATCH_UP_PERMILLE_MIN.is_multiple_of(CATCH_UP_PERMILLE_LESS));
const _: () = assert!(LEASE_MARGIN_PART > 1 && KEEPALIVES_PER_TIMEOUT > 2);
