//! What becomes of a request: which errors the guest sees, and which it waits for (docs/disks.md has the
//! table).
//!
//! A disk that is away, full or ill for a while is no reason to tell a guest that its disk is broken: its
//! file system would turn read-only for good. So the request waits and is tried again. What must never happen
//! is a flush that succeeds though something it covers is lost: once a flush has failed where a cache may
//! have dropped its content, no later flush succeeds.

use std::io;

use machine::{DiskOperation, DiskStatus};
use rustix::io::Errno;

use super::{Access, Disk, LockError, SECTOR_LEN};
use crate::guard::guard;
use crate::limits::{DISK_AWAY_AFTER, DISK_REQUEST_LEN_MAX};
use os::error;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The guest gets this answer.
    Answer(DiskStatus, Vec<u8>),
    /// The guest gets a failure, and people hear of the ailment.
    Failed(Ailment),
    /// The request is to be tried again; until then the guest waits.
    Wait(Ailment),
    /// The request is neither tried again nor answered: the guest waits for this process to be replaced.
    Stand(Ailment),
    /// This process must not write any more.
    Fenced(LockError),
}

/// What is wrong with a disk, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailment {
    /// What is wrong, to go on after the disk's name.
    pub what: String,
    /// What is wrong, what happens now and what to do, as a sentence.
    pub sentence: String,
}

/// Does a request. Blocks for as long as the storage does.
pub fn carry_out(disk: &Disk, operation: &DiskOperation) -> Outcome {
    let Some((offset, length)) = range(operation) else {
        return Outcome::Answer(DiskStatus::Failed, Vec::new());
    };
    if offset + length > disk.backend.capacity() {
        // The guest may know of a size that the other side has seen and this one has not looked at yet.
        if let Err(error) = disk.measure() {
            return failed(disk, "measured", &error, disk.access == Access::Pair);
        }
        if offset + length > disk.backend.capacity() {
            return behind_the_end(disk);
        }
    }
    if matches!(operation, DiskOperation::Read { .. }) {
        let mut data = vec![0; length as usize];
        return match with_reopening(disk, || disk.backend.read(offset, &mut data)) {
            Ok(()) => Outcome::Answer(DiskStatus::Ok, data),
            Err(error) => failed(disk, "read", &error, disk.access == Access::Pair),
        };
    }
    if disk.read_only {
        // A read-only disk has nothing that a flush could make durable.
        let status = match operation {
            DiskOperation::Flush => DiskStatus::Ok,
            _ => DiskStatus::Failed,
        };
        return Outcome::Answer(status, Vec::new());
    }
    if let Err(error) = disk.may_write() {
        return match error.is_passing() {
            true => Outcome::Wait(lock_ailment(disk, &error)),
            false => Outcome::Fenced(error),
        };
    }
    let done = with_reopening(disk, || match operation {
        DiskOperation::Write { data, .. } => disk.backend.write(offset, data),
        DiskOperation::Discard { .. } => disk.backend.discard(offset, length),
        DiskOperation::WriteZeroes { unmap, .. } => disk.backend.write_zeroes(offset, length, *unmap),
        DiskOperation::Flush | DiskOperation::Read { .. } => Ok(()),
    });
    if let Err(error) = done {
        return failed(disk, "written", &error, true);
    }
    // The file system makes a hole and writes it down when it likes. For a pair the hole must be there for
    // the other host before the guest is told.
    let holes = matches!(
        operation,
        DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. }
    );
    if *operation == DiskOperation::Flush || (holes && disk.access == Access::Pair) {
        return flush(disk);
    }
    Outcome::Answer(DiskStatus::Ok, Vec::new())
}

/// Makes durable what is finished; once that has failed for good, no flush says so again.
fn flush(disk: &Disk) -> Outcome {
    let mut lost = guard(&disk.flush_lost);
    if lost.is_none() {
        match with_reopening(disk, || disk.backend.flush()) {
            Ok(()) => return Outcome::Answer(DiskStatus::Ok, Vec::new()),
            // With such storage nothing waits in a cache that could have dropped it.
            Err(error) if disk.backend.settles() || disk.backend.is_away(&error) => {
                return failed(disk, "flushed", &error, true);
            }
            Err(error) if lost_lock(disk).is_some() => return failed(disk, "flushed", &error, true),
            Err(error) => *lost = Some(error.to_string()),
        }
    }
    let what = format!("cannot be flushed: {}", lost.as_deref().unwrap_or_default());
    drop(lost);
    let path = disk.path.display();
    let begin = format!(
        "the disk {path} {what}; what the guest wrote since the last flush may be lost, so it is never told \
         that it is safe"
    );
    let look = "look at the storage, then start the VM again";
    if disk.access == Access::Solo {
        let sentence = format!("{begin}: all its flushes fail from now on; {look}");
        return Outcome::Failed(Ailment { what, sentence });
    }
    let advice = takeover_advice(disk).unwrap_or_else(|| look.to_owned());
    let sentence = format!("{begin}: the guest stands for good; {advice}");
    Outcome::Stand(Ailment { what, sentence })
}

/// Does `act`; if a disk server has come back as another one, opens the disk by its name and does it once
/// more.
fn with_reopening(disk: &Disk, mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let Err(error) = act() else { return Ok(()) };
    let gone = matches!(
        Errno::from_io_error(&error),
        Some(Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::CONNABORTED)
    );
    // With writes that are not durable yet, only the old file would tell of their loss.
    if gone && disk.access == Access::Pair && disk.backend.settles() && disk.reopen().is_ok() {
        return act();
    }
    Err(error)
}

/// Why this process is not the disk's writer any more; `None`: it still is, or that is not known.
fn lost_lock(disk: &Disk) -> Option<LockError> {
    let confirmed = if disk.read_only { Ok(()) } else { disk.may_write() };
    confirmed.err().filter(|lost| !lost.is_passing())
}

/// The outcome of an I/O error; `waits`: the guest is not to see the error.
fn failed(disk: &Disk, verb: &str, error: &io::Error, waits: bool) -> Outcome {
    if let Some(lost) = lost_lock(disk) {
        return Outcome::Fenced(lost);
    }
    let waits = waits || disk.backend.is_away(error);
    let path = disk.path.display();
    let what = format!("cannot be {verb}: {error}");
    if is_full(error) {
        let sentence = format!("no space left for the disk {path}: the guest's write waits; free some space");
        return Outcome::Wait(Ailment { what, sentence });
    }
    if !waits {
        let sentence = format!("the disk {path} {what}; the guest is told that its read failed");
        return Outcome::Failed(Ailment { what, sentence });
    }
    let sentence = waiting(disk, &format!("the disk {path} {what}"));
    Outcome::Wait(Ailment { what, sentence })
}

/// The outcome of a request that does not lie within the storage. The device lets the guest reach no further
/// than the size that the guest knows; so the storage of this side is smaller than that of the other side
/// was.
fn behind_the_end(disk: &Disk) -> Outcome {
    if disk.access == Access::Solo {
        return Outcome::Answer(DiskStatus::Failed, Vec::new());
    }
    let has = disk.backend.capacity();
    let what = format!("has {has} bytes, and the guest asks for what is behind them");
    let sentence = format!(
        "the disk {} {what}; the guest waits, and it is tried again each second; {}",
        disk.path.display(),
        short_advice(disk)
    );
    Outcome::Wait(Ailment { what, sentence })
}

/// The ailment of a disk whose storage has fewer sectors than the guest knows.
pub fn short_ailment(disk: &Disk, has: u64, guest: u64) -> Ailment {
    let (has, guest) = (has.saturating_mul(SECTOR_LEN), guest.saturating_mul(SECTOR_LEN));
    let what = format!("has {has} bytes on this host, and the guest knows it with {guest}");
    let sentence = format!(
        "the disk {} {what}: after a takeover the guest would wait for what is missing; {}",
        disk.path.display(),
        short_advice(disk)
    );
    Ailment { what, sentence }
}

/// The ailment of a disk that has not answered for so long that people should know.
pub fn silent_ailment(disk: &Disk, is_live: bool) -> Ailment {
    let what = format!("has not answered for {} s", DISK_AWAY_AFTER.0 / 1_000_000_000);
    let begin = format!("the disk {} {what}", disk.path.display());
    let sentence = match (is_live, takeover_advice(disk)) {
        (true, Some(advice)) => format!("{begin}; the guest waits; {advice}"),
        (true, None) => format!("{begin}; the guest waits; look at its storage"),
        (false, _) => format!("{begin} on this host; after a takeover the guest would wait for it"),
    };
    Ailment { what, sentence }
}

/// The ailment of a disk that a side which is not live cannot read.
pub fn probe_ailment(disk: &Disk, error: &io::Error) -> Ailment {
    let what = format!("cannot be read: {error}");
    let sentence = format!(
        "the disk {} {what}; after a takeover the guest would wait for it; look at this host's way to its \
         storage",
        disk.path.display()
    );
    Ailment { what, sentence }
}

/// What an operator can do about storage that is smaller than the guest knows it. A file is never enlarged
/// here: what the primary's has behind the end are not zeroes.
fn short_advice(disk: &Disk) -> &'static str {
    if disk.read_only {
        "copy the primary's file over this one (`cp`, which writes into the file that is open)"
    } else {
        "look why this host does not see the whole file"
    }
}

/// The ailment of a lock that may be well later.
pub fn lock_ailment(disk: &Disk, error: &LockError) -> Ailment {
    let what = error::chain(error);
    let sentence = waiting(disk, &what);
    Ailment { what, sentence }
}

/// The ailment of a disk that cannot be opened anew.
pub fn reopen_ailment(disk: &Disk, error: &io::Error) -> Ailment {
    let what = format!("cannot be opened again: {error}");
    let sentence = waiting(disk, &format!("the disk {} {what}", disk.path.display()));
    Ailment { what, sentence }
}

fn waiting(disk: &Disk, what: &str) -> String {
    let advice = takeover_advice(disk).map_or(String::new(), |advice| format!("; {advice}"));
    format!("{what}; the guest waits, and it is tried again each second{advice}")
}

/// What an operator can do about a disk as long as there is a backup.
fn takeover_advice(disk: &Disk) -> Option<String> {
    let pid = std::process::id();
    (!disk.is_alone()).then(|| {
        format!(
            "if the backup's way to the disk is well, kill this primary (`kill -9 {pid}`): the backup takes \
             over and nothing is lost"
        )
    })
}

/// Where a request begins and how long it is, in bytes; `None`: it is no request for a disk of any size.
fn range(operation: &DiskOperation) -> Option<(u64, u64)> {
    let (sector, length) = match operation {
        DiskOperation::Read { bytes, .. } if *bytes > DISK_REQUEST_LEN_MAX => return None,
        DiskOperation::Read { sector, bytes } => (*sector, u64::from(*bytes)),
        DiskOperation::Write { sector, data } => (*sector, data.len() as u64),
        DiskOperation::Flush => (0, 0),
        DiskOperation::Discard { sector, sectors } | DiskOperation::WriteZeroes { sector, sectors, .. } => {
            (*sector, u64::from(*sectors) * SECTOR_LEN)
        }
    };
    let offset = sector.checked_mul(SECTOR_LEN)?;
    offset.checked_add(length)?;
    Some((offset, length))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
