//! `Status`: what a process says of its VM. The guest's thread makes it, `lockstep status` prints it as text
//! or as this very JSON object. Fields may be added; none changes its meaning (docs/control.md).

use replica::Metrics;
use report::{Figures, GuestWord, PhaseWord, Protection, Reason, RoleWord, StateWord, copied};
use serde::{Deserialize, Serialize};

use crate::health::Health;

/// The version of the format, in the field `api`.
pub const API: &str = "v1";
/// The version of this program, in the field `version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a process says of its VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this format: `v1`.
    pub api: String,
    /// Name of the VM.
    pub name: String,
    /// Number of the process; 0 if it is not known.
    pub pid: u32,
    /// Version of the program that the process runs; empty if it is not known, as of one of an older release.
    #[serde(default)]
    pub version: String,
    /// Name of the process's host.
    pub host: String,
    /// What the guest does.
    pub guest: GuestWord,
    /// When the guest was paused, in nanoseconds since 1970; null: its operator does not want it to stand.
    pub paused_since_wall_ns: Option<u64>,
    /// What the process is to the VM; null before it is anything.
    pub role: Option<RoleWord>,
    /// How the VM's protection stands.
    pub protection: Protection,
    /// The epoch of the VM at its arbiter; 0 without one.
    pub epoch: u64,
    /// That epoch when this process came to hold the guest; null: not known, as of a process of an older
    /// release.
    pub first_epoch: Option<u64>,
    /// Address of the other half of the pair; null: there never was one.
    pub peer: Option<String>,
    /// Where the arbiter is, as VM.toml names it; null: the VM has none.
    pub arbiter: Option<String>,
    /// The clone that is under way; null: there is none.
    pub clone: Option<Cloning>,
    /// Is a backup about to go, dismissed or replaced? Until it has gone none can be asked for.
    #[serde(default)]
    pub is_dismissing: bool,
    /// Is the VM being handed over, or has it just come here, so that it cannot be handed over again yet?
    #[serde(default)]
    pub is_swapping: bool,
    /// Is a snapshot being taken? There is no clone and no hand-over meanwhile.
    #[serde(default)]
    pub has_snapshot: bool,
    /// How the process is off on its host; null before there is a guest, and in a process of an older
    /// release.
    pub health: Option<Health>,
    /// For how long a timer interrupt of the guest has been due that the guest wants and does not take, since
    /// its kernel has interrupts off, in milliseconds of the guest's time; 0: none waits, or it is not known.
    #[serde(default)]
    pub timer_late_ms: u64,
    /// Has the guest's kernel panicked and said all that it has to say, so that it stays as it is?
    #[serde(default)]
    pub panic_ended: bool,
    /// Counts and measurements, as in `--events`; null before there is a guest.
    pub figures: Option<Box<Figures>>,
    /// When this was seen.
    pub observed: Observed,
}

/// A clone that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloning {
    /// Address of the process that is to be the backup.
    #[serde(default)]
    pub peer: String,
    /// How far it is.
    pub phase: PhaseWord,
    /// Bytes of memory that were copied, each as often as it was.
    pub copied_bytes: u64,
    /// Those and the bytes that are still to be copied, as far as is known: more are written meanwhile.
    pub total_bytes: u64,
}

/// When a status was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// How old it was when it was sent, in milliseconds.
    pub age_ms: u64,
}

impl Status {
    /// The status of a process that runs no guest yet, or of which nothing more is known.
    #[must_use]
    pub fn only(name: &str, pid: u32, state: StateWord, reason: Reason) -> Status {
        let guest = match state {
            StateWord::Unknown => GuestWord::Unknown,
            StateWord::Off => GuestWord::Off,
            _ => GuestWord::Waiting,
        };
        Status {
            api: API.into(),
            name: name.into(),
            pid,
            version: String::new(),
            host: os::identity::host_name(),
            guest,
            paused_since_wall_ns: None,
            role: None,
            protection: Protection::only(state, reason),
            epoch: 0,
            first_epoch: None,
            peer: None,
            arbiter: None,
            clone: None,
            is_dismissing: false,
            is_swapping: false,
            has_snapshot: false,
            health: None,
            timer_late_ms: 0,
            panic_ended: false,
            figures: None,
            observed: Observed {
                wall_ns: os::sys::clock::wall_ns(),
                age_ms: 0,
            },
        }
    }

    /// Is it this process that shows the guest to the world?
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.role, Some(RoleWord::Solo | RoleWord::Primary))
    }

    /// Is all as it should be with the VM's protection, as far as somebody has asked for it?
    #[must_use]
    pub fn is_as_wanted(&self) -> bool {
        use StateWord::{Off, Protected, Suspended, Unprotected};
        matches!(self.protection.state, Protected | Suspended | Unprotected | Off)
    }
}

impl Cloning {
    /// The clone of which a node tells, to the process `coming`, which is so far; `None`: none is under way.
    #[must_use]
    pub fn of(coming: Option<(&str, PhaseWord)>, metrics: &Metrics) -> Option<Cloning> {
        let (peer, phase) = coming?;
        // While the other process is called, nothing is copied.
        let bytes = metrics.clone.map(|clone| copied(clone.pages, clone.owed.into()));
        let (copied_bytes, total_bytes) = bytes.unwrap_or_default();
        Some(Cloning {
            peer: peer.to_owned(),
            phase,
            copied_bytes,
            total_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_an_older_release_is_read_as_one_that_does_not_tell() {
        let reason = Reason::new("waiting", "it waits for a VM");
        let told = Status {
            first_epoch: Some(3),
            is_dismissing: true,
            is_swapping: true,
            has_snapshot: true,
            ..Status::only("shop", 7, StateWord::Starting, reason)
        };
        let mut object = serde_json::to_value(&told).unwrap();
        assert_eq!(serde_json::from_value::<Status>(object.clone()).unwrap(), told);
        for field in [
            "version",
            "first_epoch",
            "is_dismissing",
            "is_swapping",
            "has_snapshot",
        ] {
            assert!(object.as_object_mut().unwrap().remove(field).is_some(), "{field}");
        }
        let older = serde_json::from_value::<Status>(object).unwrap();
        assert_eq!(older.first_epoch, None);
        assert!(!older.is_dismissing && !older.is_swapping && !older.has_snapshot);
    }
}
