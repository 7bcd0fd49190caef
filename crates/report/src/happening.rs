//! `Happening`: what is told when it happens, as a line for programs and, where an operator must know, as a
//! sentence.
//!
//! World and reporter make happenings, and the reporter writes them. docs/events.md lists every event with
//! its fields; a test keeps the two together. To add one: a variant here, an arm in `sentence`, a section
//! there.
//!
//! The names of events and fields are a stable format: one may be added, none changed.

use replica::Span;
use serde::{Deserialize, Serialize};

use super::ending::Ending;
use super::figures::{Figures, ms};
use super::health::Change;
use super::sentences;
use super::words::{Course, OnPanic, PhaseWord, RoleWord, SuspicionWord, VerdictWord, Wish};
use os::sys::clock;

/// Something that happened. In a line of the file the variant's name is the field `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    /// The replica changed its role. The first line of each process says its first role.
    Role {
        /// The role that it has from now on.
        role: RoleWord,
        /// The epoch of the pair, or of the claim that was won; 0 for a VM that runs alone.
        epoch: u64,
        /// Why the peer is not trusted any more; null while it is, or if there is none.
        suspicion: Option<SuspicionWord>,
        /// Milliseconds from the peer's last sign of life to the suspicion; 0 without one.
        detection_ms: f64,
        /// Milliseconds from the suspicion to being live; 0 before that.
        go_live_ms: f64,
    },
    /// The peer is not trusted any more. Nothing of the guest is shown until the arbiter has decided.
    Suspected {
        /// The role of the peer.
        whom: RoleWord,
        /// Address of the peer.
        peer: String,
        /// Kind of trouble that ended the trust in the peer.
        why: SuspicionWord,
        /// How the link ended, if that is the trouble.
        reason: Option<String>,
        /// Milliseconds since the peer's last sign of life.
        after_ms: f64,
    },
    /// The arbiter was asked, for the first time in this epoch.
    Claim {
        /// The epoch that is claimed.
        epoch: u64,
    },
    /// The arbiter has answered, otherwise than before.
    Verdict {
        /// The epoch that was claimed.
        epoch: u64,
        /// The arbiter's answer.
        verdict: VerdictWord,
        /// Why the arbiter could not be reached, or who was first, if that is known.
        reason: Option<String>,
    },
    /// The arbiter has not decided, and the guest stands. Told at once, and again now and then.
    Waiting {
        /// The epoch that is claimed.
        epoch: u64,
        /// Where the arbiter is that is waited for.
        place: String,
        /// How many times the arbiter was asked.
        asked: u64,
        /// Milliseconds since the arbiter was asked first.
        waited_ms: f64,
        /// What stands in the way, if that is known.
        reason: Option<String>,
    },
    /// A process of its own will tell the backup at once when this process has ended.
    Watched {
        /// Number of that process.
        watcher: u32,
    },
    /// Nobody tells the backup any more when this process has ended.
    Unwatched {
        /// What became of whoever did, or why nobody could.
        reason: String,
    },
    /// The host of a dead primary says that its process has ended: its lease need not be waited for.
    PeerEnded {
        /// Address of the primary.
        peer: String,
        /// Milliseconds since the suspicion; 0 if this is the suspicion.
        after_ms: f64,
    },
    /// This side is alone and live: outputs leave from here on.
    GoLive {
        /// The epoch under which this side is live.
        epoch: u64,
        /// What this side was before.
        was: RoleWord,
        /// Milliseconds since the peer's last sign of life.
        after_ms: f64,
    },
    /// A primary goes on without its backup.
    Alone {
        /// The epoch under which the VM goes on.
        epoch: u64,
        /// The address of the backup that is gone.
        peer: String,
        /// Why the backup counts as gone.
        why: SuspicionWord,
        /// The same as a clause, which also says how slow a backup was that was too slow.
        reason: String,
    },
    /// The backup leaves the guest too little of its speed. It is dropped while the guest runs, once the
    /// arbiter has excluded it.
    FallsBehind {
        /// Address of the backup.
        peer: String,
        /// The share of its time in which the guest could run, in thousandths, on the mean.
        speed_permille: u32,
        /// For how long, in milliseconds.
        over_ms: f64,
    },
    /// A process is on its way to be the VM's backup, and has come so far.
    Cloning {
        /// Address of the process.
        peer: String,
        /// How far it has come.
        phase: PhaseWord,
    },
    /// A process that was on its way to be the backup will not become it. The guest has not noticed.
    CloneFailed {
        /// Address of the process.
        peer: String,
        /// Why, as a clause.
        why: String,
    },
    /// A backup is none any more, as the operator wanted: it cannot take over from here on.
    Dismissed {
        /// The address of the backup.
        peer: String,
        /// The address of the one that has taken its place; null: the VM has no backup any more.
        replaced_by: Option<String>,
    },
    /// The backup was to be dismissed, but neither it nor the arbiter answers: the VM keeps it for now.
    NotDismissed {
        /// The address of the backup.
        peer: String,
    },
    /// This side is live in the place of the other one, which has handed the VM over and is the backup now.
    Taken {
        /// The epoch under which this side is live.
        epoch: u64,
        /// Address of the other side.
        peer: String,
        /// Milliseconds since the other side stopped the guest, as far as this side has noticed.
        after_ms: f64,
    },
    /// The other side is live from here on, and this one is its backup, as the operator wanted.
    HandedOver {
        /// Address of the other side.
        peer: String,
        /// The epoch under which that is live.
        epoch: u64,
    },
    /// The VM was to be handed over to its backup, and stays here.
    NotHandedOver {
        /// Why, as a clause.
        why: String,
    },
    /// The VM shall have no backup until its operator wants that one again.
    Suspended {
        /// Where that backup is called then.
        peer: String,
    },
    /// The guest stands from here on, as its operator wants.
    Paused,
    /// The guest runs again, as its operator wants.
    Resumed,
    /// The VM has a backup from here on.
    Protected {
        /// Address of the backup.
        peer: String,
        /// The epoch of the pair.
        epoch: u64,
        /// Milliseconds from the beginning of the clone.
        took_ms: f64,
        /// Microseconds for which the guest stood at the cut.
        cut_us: f64,
        /// Milliseconds for which the guest stood after the cut, since hardly more pages could be kept.
        stood_ms: f64,
        /// Rounds in which pages were copied before the cut.
        rounds: u32,
        /// Pages of memory that the guest had ever written when the first round began.
        touched_pages: u32,
        /// Pages that were owed at the cut.
        owed_pages: u32,
        /// Pages of memory that were sent, each as often as it was.
        pages: u64,
        /// Bytes of those that were not zero, and of the rest of the state.
        bytes: u64,
    },
    /// Whoever wanted a snapshot of the guest has all of it.
    SnapshotTaken {
        /// The guest's step at which it was taken.
        step: u64,
        /// Bytes of the file.
        bytes: u64,
        /// Milliseconds from the order to the last byte.
        took_ms: f64,
        /// Milliseconds for which the guest stood since hardly more pages could be kept for it.
        stood_ms: f64,
    },
    /// A snapshot of the guest comes to nothing. The guest has not noticed.
    SnapshotFailed {
        /// Why, as a clause.
        why: String,
    },
    /// This process is the writer of the disks.
    DiskWriter,
    /// A disk does not do what it is asked, and the guest waits. Told once for each thing that is wrong with
    /// the disk, until it is well again.
    DiskTrouble {
        /// Number of the disk, from 0.
        disk: u8,
        /// Path of the disk.
        path: String,
        /// What is wrong, as words that follow the disk's name in a sentence.
        what: String,
        /// What is wrong as a sentence, with what happens now and what to do.
        sentence: String,
        /// When the first request met it, on the clock of `time_ns`.
        since_ns: u64,
        /// Does a request wait for the disk, or would one after a takeover? False: the guest was told that
        /// its request failed.
        #[serde(default)]
        waits: bool,
    },
    /// All requests that had to wait for a disk are done.
    DiskWell {
        /// Number of the disk, from 0.
        disk: u8,
        /// Path of the disk.
        path: String,
        /// Milliseconds for which the first of these requests waited.
        lasted_ms: f64,
    },
    /// The storage of a disk has another size than before. A larger one is given to the guest; a guest loses
    /// no sectors, so a smaller one is only told.
    DiskSize {
        /// Number of the disk, from 0.
        disk: u8,
        /// Path of the disk.
        path: String,
        /// Whole sectors of 512 bytes that the storage has now.
        sectors: u64,
        /// Whole sectors that it had before.
        before: u64,
    },
    /// This side is off otherwise than before.
    Health(Change),
    /// The link to the peer is gone.
    LinkLost {
        /// How the link ended, as a sentence.
        reason: String,
    },
    /// The operator asked for the end.
    Stop {
        /// By which way the operator asked.
        by: Wish,
        /// The role of this replica at that time.
        role: RoleWord,
        /// What is done about it.
        course: Course,
    },
    /// The operator pressed the guest's reset button.
    Reset {
        /// By which way the operator asked.
        by: Wish,
    },
    /// The guest's kernel has written to its console that it has panicked.
    GuestPanic {
        /// The line that the kernel wrote.
        line: String,
        /// The guest's step when this was seen.
        step: u64,
        /// What is done about it, once the kernel has said all it has to say.
        course: OnPanic,
    },
    /// Lines before this one could not be written.
    LinesLost {
        /// Number of lines that were lost since the last line that was written.
        lines: u64,
    },
    /// The replica has ended.
    Halt(Ending),
    /// Figures, as often as asked for and at the end.
    Figures(Box<Figures>),
}

/// A line of the file of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written, in nanoseconds of CLOCK_BOOTTIME: comparable between processes of one host.
    pub time_ns: u64,
    /// When it was written, in nanoseconds since 1970: for people.
    pub wall_ns: u64,
    /// The VM's name.
    pub vm: String,
    /// Number of the process that writes the line.
    pub pid: u32,
    /// What has happened.
    #[serde(flatten)]
    pub happening: Happening,
}

impl Line {
    /// The line of what happens now to `vm` in this process, with its line feed.
    pub(super) fn text_of(vm: &str, happening: Happening) -> Vec<u8> {
        let line = Line {
            time_ns: clock::now().0,
            wall_ns: clock::wall_ns(),
            vm: vm.to_owned(),
            pid: std::process::id(),
            happening,
        };
        // A line is made of words, numbers and texts: there is nothing in it that JSON could not say.
        (serde_json::to_string(&line).unwrap_or_default() + "\n").into_bytes()
    }
}

impl Happening {
    /// The happening that whoever wanted a snapshot has all of it, `bytes` of a file, after it `took` so long
    /// and the guest `stood` for so long.
    #[must_use]
    pub fn snapshot_taken(step: u64, bytes: u64, took: Span, stood: Span) -> Happening {
        Happening::SnapshotTaken {
            step,
            bytes,
            took_ms: ms(took),
            stood_ms: ms(stood),
        }
    }

    /// What an operator must know of it, in a sentence without a full stop; `None`: nothing.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        Some(match self {
            Happening::Suspected {
                whom,
                peer,
                why,
                reason,
                after_ms,
            } => sentences::suspected(*whom, peer, *why, reason.as_deref(), *after_ms),
            Happening::Waiting {
                place,
                asked,
                waited_ms,
                reason,
                ..
            } => sentences::waiting(place, *asked, *waited_ms, reason.as_deref()),
            Happening::Verdict { epoch, verdict, .. } => sentences::verdict(*epoch, *verdict)?,
            Happening::PeerEnded { peer, .. } => sentences::ended(peer),
            Happening::Unwatched { reason } => sentences::unwatched(reason),
            Happening::GoLive { epoch, was, after_ms } if *was == RoleWord::Backup => {
                sentences::live(*epoch, *after_ms)
            }
            Happening::Paused => "the guest is paused, as told; `lockstep resume` has it run on".into(),
            Happening::Resumed => "the guest runs, as told".into(),
            Happening::DiskTrouble { sentence, .. } => sentence.clone(),
            Happening::DiskWell { path, lasted_ms, .. } => sentences::disk_well(path, *lasted_ms),
            Happening::DiskSize {
                path,
                sectors,
                before,
                ..
            } => sentences::size(path, *before, *sectors),
            Happening::Health(change) => change.sentence.clone(),
            Happening::Stop { by, role, course } => sentences::stop(*by, *role, *course)?.to_owned(),
            Happening::Reset { .. } => "the guest's reset button is pressed, as told".into(),
            Happening::GuestPanic { line, course, .. } => sentences::panic(line, *course),
            Happening::Halt(ending) => ending.sentence.clone(),
            Happening::SnapshotTaken { step, bytes, .. } => sentences::snapshot_taken(*step, *bytes),
            Happening::SnapshotFailed { why } => sentences::snapshot_failed(why),
            Happening::Alone { .. }
            | Happening::FallsBehind { .. }
            | Happening::CloneFailed { .. }
            | Happening::Dismissed { .. }
            | Happening::NotDismissed { .. }
            | Happening::Taken { .. }
            | Happening::HandedOver { .. }
            | Happening::NotHandedOver { .. }
            | Happening::Suspended { .. }
            | Happening::Protected { .. } => return self.sentence_of_protection(),
            Happening::Role { .. }
            | Happening::Cloning { .. }
            | Happening::Claim { .. }
            | Happening::Watched { .. }
            | Happening::GoLive { .. }
            | Happening::DiskWriter
            | Happening::LinkLost { .. }
            | Happening::LinesLost { .. }
            | Happening::Figures(_) => return None,
        })
    }

    /// The same for what becomes of the VM's backup.
    fn sentence_of_protection(&self) -> Option<String> {
        Some(match self {
            Happening::Alone { peer, reason, .. } => sentences::alone(peer, reason),
            Happening::FallsBehind {
                peer,
                speed_permille,
                over_ms,
            } => sentences::falls_behind(peer, *speed_permille, *over_ms),
            Happening::CloneFailed { peer, why } => sentences::clone_failed(peer, why),
            Happening::Dismissed { peer, replaced_by } => sentences::dismissed(peer, replaced_by.as_deref()),
            Happening::NotDismissed { peer } => sentences::not_dismissed(peer),
            Happening::Taken {
                epoch,
                peer,
                after_ms,
            } => sentences::taken(*epoch, peer, *after_ms),
            Happening::HandedOver { peer, epoch } => sentences::handed_over(peer, *epoch),
            Happening::NotHandedOver { why } => sentences::not_handed_over(why),
            Happening::Suspended { peer } => sentences::protection_suspended(peer),
            Happening::Protected {
                peer,
                epoch,
                took_ms,
                cut_us,
                bytes,
                ..
            } => sentences::protected(peer, *epoch, *took_ms, *cut_us, *bytes),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AspectWord, Ender, HaltCode};

    const DOCUMENT: &str = include_str!("../../../docs/events.md");

    /// One of each, with every field.
    fn samples() -> Vec<Happening> {
        let mut all = replica_samples();
        all.extend(disk_samples());
        all.extend(clone_samples());
        all.extend(watcher_samples());
        all.push(health_sample());
        all
    }

    /// How a side is off.
    fn health_sample() -> Happening {
        Happening::Health(Change {
            what: AspectWord::Network,
            well: false,
            sentence: "the network of this side leads nowhere: the gateway does not answer".into(),
            since_ns: 5,
            lasted_ms: 0.0,
        })
    }

    /// Those of watchers and deaths.
    fn watcher_samples() -> Vec<Happening> {
        vec![
            Happening::Watched { watcher: 4712 },
            Happening::Unwatched {
                reason: "its watcher has ended: signal: 9 (SIGKILL)".into(),
            },
            Happening::PeerEnded {
                peer: "10.0.0.1:40000".into(),
                after_ms: 0.5,
            },
        ]
    }

    /// Those of a replica and its operator.
    fn replica_samples() -> Vec<Happening> {
        vec![
            Happening::Role {
                role: RoleWord::Solo,
                epoch: 2,
                suspicion: Some(SuspicionWord::Silence),
                detection_ms: 500.5,
                go_live_ms: 2.25,
            },
            Happening::Suspected {
                whom: RoleWord::Primary,
                peer: "10.0.0.1:40000".into(),
                why: SuspicionWord::LinkLost,
                reason: Some("10.0.0.1:40000 closed the link".into()),
                after_ms: 3.0,
            },
            Happening::Claim { epoch: 2 },
            Happening::Verdict {
                epoch: 2,
                verdict: VerdictWord::Won,
                reason: Some("nobody was first".into()),
            },
            Happening::Waiting {
                epoch: 2,
                place: "/shared/arbiter".into(),
                asked: 14,
                waited_ms: 9000.0,
                reason: None,
            },
            Happening::GoLive {
                epoch: 2,
                was: RoleWord::Backup,
                after_ms: 502.75,
            },
            Happening::Alone {
                epoch: 2,
                peer: "10.0.0.2:7800".into(),
                why: SuspicionWord::LinkLost,
                reason: "the link is closed".into(),
            },
            Happening::LinkLost {
                reason: "10.0.0.1:40000 closed the link".into(),
            },
            Happening::Stop {
                by: Wish::Signal,
                role: RoleWord::Solo,
                course: Course::Explain,
            },
            Happening::GuestPanic {
                line: "Kernel panic - not syncing: no init found".into(),
                step: 9,
                course: OnPanic::Stop,
            },
            Happening::LinesLost { lines: 7 },
            Happening::Reset { by: Wish::Control },
            Happening::Halt(Ending {
                code: HaltCode::Diverged,
                sentence: "this side parted from the log".into(),
                step: 5,
                up_s: 12.5,
                console: "stdio".into(),
                by: Some(Ender::Guest),
                at: Some(5),
                part: Some("hart 0".into()),
                epoch: Some(3),
                guest_code: Some(1),
            }),
            Happening::Figures(Box::default()),
        ]
    }

    /// Those of disks.
    fn disk_samples() -> [Happening; 6] {
        [
            Happening::SnapshotTaken {
                step: 77,
                bytes: 210_000_000,
                took_ms: 2500.5,
                stood_ms: 0.0,
            },
            Happening::SnapshotFailed {
                why: "a disk does not answer".into(),
            },
            Happening::DiskWriter,
            Happening::DiskTrouble {
                disk: 0,
                path: "/shared/shop.raw".into(),
                what: "gives an error".into(),
                sentence: "the disk /shared/shop.raw gives an error; the guest waits".into(),
                since_ns: 5,
                waits: true,
            },
            Happening::DiskWell {
                disk: 0,
                path: "/shared/shop.raw".into(),
                lasted_ms: 2500.0,
            },
            Happening::DiskSize {
                disk: 0,
                path: "/shared/shop.raw".into(),
                sectors: 8_388_608,
                before: 4_194_304,
            },
        ]
    }

    fn clone_samples() -> [Happening; 12] {
        [
            Happening::FallsBehind {
                peer: "10.0.0.2:7800".into(),
                speed_permille: 238,
                over_ms: 60_000.0,
            },
            Happening::Taken {
                epoch: 9,
                peer: "10.0.0.2:7800".into(),
                after_ms: 3.0,
            },
            Happening::HandedOver {
                peer: "10.0.0.3:7800".into(),
                epoch: 9,
            },
            Happening::NotHandedOver {
                why: "a disk does not answer".into(),
            },
            Happening::Suspended {
                peer: "10.0.0.3:7800".into(),
            },
            Happening::Paused,
            Happening::Resumed,
            Happening::Dismissed {
                peer: "10.0.0.3:7800".into(),
                replaced_by: Some("10.0.0.4:7800".into()),
            },
            Happening::NotDismissed {
                peer: "10.0.0.3:7800".into(),
            },
            Happening::Cloning {
                peer: "10.0.0.3:7800".into(),
                phase: PhaseWord::CatchingUp,
            },
            Happening::CloneFailed {
                peer: "10.0.0.3:7800".into(),
                why: "the link to it broke".into(),
            },
            Happening::Protected {
                peer: "10.0.0.3:7800".into(),
                epoch: 8,
                took_ms: 4200.0,
                cut_us: 1800.0,
                stood_ms: 12.5,
                rounds: 2,
                touched_pages: 60_000,
                owed_pages: 900,
                pages: 70_000,
                bytes: 210_000_000,
            },
        ]
    }

    /// The place of an event's kind among all kinds. Whoever adds a kind adds it here, and then to the
    /// samples.
    fn kind(happening: &Happening) -> usize {
        match happening {
            Happening::Role { .. } => 0,
            Happening::Suspected { .. } => 1,
            Happening::Claim { .. } => 2,
            Happening::Verdict { .. } => 3,
            Happening::Waiting { .. } => 4,
            Happening::GoLive { .. } => 5,
            Happening::Alone { .. } => 6,
            Happening::DiskWriter => 7,
            Happening::DiskTrouble { .. } => 8,
            Happening::DiskWell { .. } => 9,
            Happening::LinkLost { .. } => 10,
            Happening::Stop { .. } => 11,
            Happening::GuestPanic { .. } => 12,
            Happening::LinesLost { .. } => 13,
            Happening::Halt(_) => 14,
            Happening::Figures(_) => 15,
            Happening::DiskSize { .. } => 16,
            Happening::Cloning { .. } => 17,
            Happening::CloneFailed { .. } => 18,
            Happening::Protected { .. } => 19,
            Happening::Watched { .. } => 20,
            Happening::Unwatched { .. } => 21,
            Happening::PeerEnded { .. } => 22,
            Happening::Reset { .. } => 23,
            Happening::Dismissed { .. } => 24,
            Happening::NotDismissed { .. } => 25,
            Happening::Taken { .. } => 26,
            Happening::HandedOver { .. } => 27,
            Happening::NotHandedOver { .. } => 28,
            Happening::FallsBehind { .. } => 29,
            Happening::Suspended { .. } => 30,
            Happening::Paused => 31,
            Happening::Resumed => 32,
            Happening::SnapshotTaken { .. } => 33,
            Happening::SnapshotFailed { .. } => 34,
            Happening::Health(_) => 35,
        }
    }

    #[test]
    fn there_is_a_sample_of_every_kind_of_event() {
        let mut kinds: Vec<usize> = samples().iter().map(kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, (0..36).collect::<Vec<_>>());
        assert_eq!(DOCUMENT.matches("\n### ").count(), 36, "each has a section");
    }

    #[test]
    fn every_event_can_be_read_back_and_is_documented_with_its_fields() {
        for happening in samples() {
            let line = Line {
                time_ns: 1,
                wall_ns: 2,
                vm: "shop".into(),
                pid: 3,
                happening,
            };
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            let name = object["event"].as_str().unwrap();
            let heading = format!("\n### {name}\n");
            let (_, section) = DOCUMENT.split_once(&heading).expect(name);
            let section = section.split("\n### ").next().unwrap();
            for field in object.keys() {
                let place = match field.as_str() {
                    "event" | "time_ns" | "wall_ns" | "vm" | "pid" => DOCUMENT,
                    _ => section,
                };
                assert!(place.contains(&format!("`{field}`")), "{name} has `{field}`");
            }
        }
    }

    #[test]
    fn operators_read_who_is_gone_since_when_and_what_runs_now() {
        let sentences: Vec<String> = samples().iter().filter_map(Happening::sentence).collect();
        let expected = [
            "the primary 10.0.0.1:40000 is suspected 3 ms after its last sign of life: \
             10.0.0.1:40000 closed the link; the arbiter is asked who goes on",
            "the arbiter gives epoch 2 to this side",
            "the arbiter /shared/arbiter does not answer; the guest stands (asked 14 times in 9 s)",
            "this side is live, epoch 2, 503 ms after the primary's last sign of life; \
             the VM has no backup now",
            "the backup 10.0.0.2:7800 is gone (the link is closed); the VM goes on here without a backup",
            "the guest cannot be asked to switch off, since its board has no power button: \
             switch it off from inside, or stop it again to pull the plug",
            "the guest's kernel has panicked: Kernel panic - not syncing: no init found; \
             the guest is switched off as soon as the kernel has said why",
            "the guest's reset button is pressed, as told",
            "this side parted from the log",
            "a snapshot of the guest was taken at step 77 (201 MiB)",
            "no snapshot of the guest was taken: a disk does not answer; the guest has not noticed",
            "the disk /shared/shop.raw gives an error; the guest waits",
            "the disk /shared/shop.raw is well again after 2.5 s; the guest's requests are done",
            "the disk /shared/shop.raw has grown from 2 GiB to 4 GiB; the guest is told its new size",
            "the backup 10.0.0.2:7800 replays at 23 % of the guest's speed for 60 s, which is too slow; it \
             is dropped while the guest runs, once the arbiter has excluded it",
            "this side is live, epoch 9, 3 ms after 10.0.0.2:7800 handed the VM over; that side is \
                 its backup now",
            "the VM is live at 10.0.0.3:7800, epoch 9; this side is its backup now",
            "the VM is not handed over to its backup: a disk does not answer; nothing was changed",
            "protection by 10.0.0.3:7800 is suspended; `lockstep protection resume` has it be the backup \
             again",
            "the guest is paused, as told; `lockstep resume` has it run on",
            "the guest runs, as told",
            "the backup 10.0.0.3:7800 is dismissed; 10.0.0.4:7800 has taken its place",
            "the backup 10.0.0.3:7800 is not dismissed yet: neither it nor the arbiter answers; the VM keeps \
             it until one of them does",
            "10.0.0.3:7800 has not become the backup: the link to it broke; the guest has not noticed",
            "the VM has a backup at 10.0.0.3:7800, epoch 8, after 4.2 s (200 MiB copied, \
             the guest stood 1.8 ms)",
            "nobody tells the backup any more if this process dies (its watcher has ended: signal: 9 \
             (SIGKILL)); a client's pause would then be the timeout, as when this host dies",
            "the primary's host says that the process has ended (10.0.0.1:40000): it shows nothing any more",
            "the network of this side leads nowhere: the gateway does not answer",
        ];
        assert_eq!(sentences, expected);
    }
}
