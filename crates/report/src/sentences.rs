//! The longer sentences of events, as an operator reads them: [`crate::Happening::sentence`] chooses.

use super::amount;
use super::words::{Course, OnPanic, RoleWord, SuspicionWord, VerdictWord, Wish};

/// Bytes of a disk's sector.
const SECTOR_LEN: u64 = 512;

/// The sentence that `whom`, at `peer`, is suspected, or leaves. `reason`: what this side knows more exactly
/// than `why` says.
pub fn suspected(
    whom: RoleWord,
    peer: &str,
    why: SuspicionWord,
    reason: Option<&str>,
    after_ms: f64,
) -> String {
    if why == SuspicionWord::Left {
        return format!("the primary {peer} leaves the VM to this side; the arbiter is asked for it");
    }
    let (whom, why) = (whom.as_str(), reason.unwrap_or(why.as_clause()));
    format!(
        "the {whom} {peer} is suspected {after_ms:.0} ms after its last sign of life: {why}; \
         the arbiter is asked who goes on"
    )
}

/// The sentence of an arbiter's verdict; `None`: [`crate::Happening::Waiting`] says that the arbiter is not
/// reached.
pub fn verdict(epoch: u64, verdict: VerdictWord) -> Option<String> {
    match verdict {
        VerdictWord::Won => Some(format!("the arbiter gives epoch {epoch} to this side")),
        VerdictWord::Lost => Some(format!("the arbiter has given epoch {epoch} to the other side")),
        VerdictWord::Unreachable => None,
    }
}

/// The sentence that the VM has a backup again, for which so many bytes were copied and the guest was cut.
pub fn protected(peer: &str, epoch: u64, took_ms: f64, cut_us: f64, bytes: u64) -> String {
    let (took_s, copied_mib, cut_ms) = (took_ms / 1e3, bytes >> 20, cut_us / 1e3);
    format!(
        "the VM has a backup at {peer}, epoch {epoch}, after {took_s:.1} s ({copied_mib} MiB copied, \
         the guest stood {cut_ms:.1} ms)"
    )
}

/// What is said of a guest whose kernel has written this `line` when it panicked.
pub fn panic(line: &str, course: OnPanic) -> String {
    let course = match course {
        OnPanic::Keep => {
            "the guest stays as it is; `--on-panic stop` would switch it off, `--on-panic reset` would reset \
             it"
        }
        OnPanic::Stop => "the guest is switched off as soon as the kernel has said why",
        OnPanic::Reset => "the guest is reset as soon as the kernel has said why",
    };
    format!("the guest's kernel has panicked: {line}; {course}")
}

/// The sentence of a disk whose storage has another size than before, both in sectors.
pub fn size(path: &str, before: u64, sectors: u64) -> String {
    let size = |sectors: u64| amount::bytes(sectors.saturating_mul(SECTOR_LEN));
    let (was, is) = (size(before), size(sectors));
    if sectors > before {
        return format!("the disk {path} has grown from {was} to {is}; the guest is told its new size");
    }
    format!(
        "the disk {path} has shrunk from {was} to {is}, and the guest is not told: reads behind the end fail \
         or wait; make the disk as large again with `truncate`"
    )
}

pub fn not_dismissed(peer: &str) -> String {
    format!(
        "the backup {peer} is not dismissed yet: neither it nor the arbiter answers; the VM keeps it until \
         one of them does"
    )
}

/// The sentence that the host of the primary at `peer` says that the primary's process has ended.
pub fn ended(peer: &str) -> String {
    format!("the primary's host says that the process has ended ({peer}): it shows nothing any more")
}

/// The sentence that nobody watches this process any more, or yet.
pub fn unwatched(reason: &str) -> String {
    format!(
        "nobody tells the backup any more if this process dies ({reason}); a client's pause would then be \
         the timeout, as when this host dies"
    )
}

/// What is said of an arbiter that does not answer, perhaps with the `reason` that the last question failed.
pub fn waiting(place: &str, asked: u64, waited_ms: f64, reason: Option<&str>) -> String {
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let times = match asked {
        1 => "once",
        _ => &format!("{asked} times"),
    };
    let waited_s = waited_ms / 1e3;
    format!(
        "the arbiter {place} does not answer; the guest stands (asked {times} in {waited_s:.0} s){reason}"
    )
}

/// What is said to an operator who asked for the end; `None`: the end itself says enough.
pub fn stop(by: Wish, role: RoleWord, course: Course) -> Option<&'static str> {
    Some(match (course, role) {
        (Course::Explain, RoleWord::Claiming) => {
            "the arbiter has not yet said whether this side goes on, and the other side may be gone; \
             stop it again to leave at once: the VM may then run nowhere"
        }
        (Course::Explain, _) => {
            "the guest cannot be asked to switch off, since its board has no power button: \
             switch it off from inside, or stop it again to pull the plug"
        }
        (Course::AskBack, _) => "switch the VM off on both sides? y/n",
        (Course::GoOn, _) => "the VM goes on",
        (Course::Leave, _) => "leaving the VM to the backup; stop it again to end without waiting",
        (Course::PowerOff, RoleWord::Primary) => "pulling the guest's plug, on both sides",
        (Course::PowerOff, _) => "pulling the guest's plug",
        // The backup's end has a sentence of its own.
        (Course::Quit, RoleWord::Backup) => return None,
        (Course::Quit, _) if by == Wish::Console => "ending at once",
        (Course::Quit, _) => "ending at once, as told again",
    })
}

pub fn live(epoch: u64, after_ms: f64) -> String {
    format!(
        "this side is live, epoch {epoch}, {after_ms:.0} ms after the primary's last sign of life; the VM \
         has no backup now"
    )
}

pub fn alone(peer: &str, reason: &str) -> String {
    format!("the backup {peer} is gone ({reason}); the VM goes on here without a backup")
}

pub fn falls_behind(peer: &str, speed_permille: u32, over_ms: f64) -> String {
    format!(
        "the backup {peer} replays at {}, which is too slow; it is dropped while the guest runs, once the \
         arbiter has excluded it",
        speed(speed_permille, over_ms)
    )
}

/// Why a backup was too slow, as a clause.
pub fn too_slow(speed_permille: u32, over_ms: f64) -> String {
    format!("it replayed at {}", speed(speed_permille, over_ms))
}

fn speed(permille: u32, over_ms: f64) -> String {
    format!(
        "{} % of the guest's speed for {:.0} s",
        permille / 10,
        over_ms / 1e3
    )
}

pub fn clone_failed(peer: &str, why: &str) -> String {
    format!("{peer} has not become the backup: {why}; the guest has not noticed")
}

pub fn dismissed(peer: &str, replaced_by: Option<&str>) -> String {
    match replaced_by {
        Some(other) => format!("the backup {peer} is dismissed; {other} has taken its place"),
        None => format!("the backup {peer} is dismissed; the VM goes on here without a backup"),
    }
}

pub fn taken(epoch: u64, peer: &str, after_ms: f64) -> String {
    format!(
        "this side is live, epoch {epoch}, {after_ms:.0} ms after {peer} handed the VM over; that side is \
         its backup now"
    )
}

pub fn handed_over(peer: &str, epoch: u64) -> String {
    format!("the VM is live at {peer}, epoch {epoch}; this side is its backup now")
}

pub fn not_handed_over(why: &str) -> String {
    format!("the VM is not handed over to its backup: {why}; nothing was changed")
}

pub fn protection_suspended(peer: &str) -> String {
    format!("protection by {peer} is suspended; `lockstep protection resume` has it be the backup again")
}

pub fn disk_well(path: &str, lasted_ms: f64) -> String {
    let seconds = lasted_ms / 1e3;
    format!("the disk {path} is well again after {seconds:.1} s; the guest's requests are done")
}

pub fn snapshot_taken(step: u64, bytes: u64) -> String {
    let mib = amount::grouped(bytes.div_ceil(1 << 20));
    format!("a snapshot of the guest was taken at step {step} ({mib} MiB)")
}

pub fn snapshot_failed(why: &str) -> String {
    format!("no snapshot of the guest was taken: {why}; the guest has not noticed")
}
