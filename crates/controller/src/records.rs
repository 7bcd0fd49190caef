//! What an agent writes into the site's store, so that every other agent finds it: which hosts there are,
//! what people want of each VM, where each VM is, and what somebody has begun.
//!
//! The keys are `hosts/HOST`, `drain/HOST`, `vms/NAME/spec`, `vms/NAME/place` and `vms/NAME/operation`; each
//! value is JSON. Fields may be added: an older agent keeps what it does not know (`rest`).

use std::net::{IpAddr, SocketAddr};

use messages::time::Span;
use messages::vm_name::VmName;
use plan::{Asked, Cause, End, Ended, HostName, Kind, Power, Protected, Swap, Wall};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hang_records::{AnsweredRecord, ResetRecord};

/// Fields that a newer agent has written.
pub type Rest = serde_json::Map<String, serde_json::Value>;

/// `hosts/HOST`: a host of the site, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCard {
    /// Where the other agents reach its agent.
    pub agent: SocketAddr,
    /// The address at which processes of VMs on other hosts reach those of this host.
    pub address: IpAddr,
    /// Fields that a newer agent has written.
    #[serde(flatten)]
    pub rest: Rest,
}

/// `drain/HOST`: the host is to be emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// Who wants that, since when, and why.
    #[serde(flatten)]
    pub asked: AskedRecord,
}

/// That somebody has asked for something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRecord {
    /// Name of the person.
    pub by: String,
    /// When it was asked for, in nanoseconds since 1970.
    pub at_wall_ns: u64,
    /// Why, in that person's words; empty: nothing was said.
    #[serde(default)]
    pub comment: String,
}

impl From<&AskedRecord> for Asked {
    fn from(record: &AskedRecord) -> Asked {
        Asked {
            by: record.by.clone(),
            at: Wall(record.at_wall_ns),
            comment: record.comment.clone(),
        }
    }
}

/// Whether a guest shall run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PowerWord {
    /// It shall run.
    On,
    /// It shall stand.
    Paused,
    /// It shall be off.
    Off,
}

/// Whether a VM shall have a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectionWord {
    /// It shall.
    On,
    /// It shall not for now, and shall again later.
    Suspended,
    /// It shall not.
    Off,
}

impl From<ProtectionWord> for Protected {
    fn from(word: ProtectionWord) -> Protected {
        match word {
            ProtectionWord::On => Protected::On,
            ProtectionWord::Suspended => Protected::Suspended,
            ProtectionWord::Off => Protected::Off,
        }
    }
}

/// `vms/NAME/spec`: what a VM is made of, and what people want of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Counts the changes of the VM's settings, from 1.
    pub generation: u64,
    /// The text of its `VM.toml`, with whole paths.
    pub toml: String,
    /// Who has created it.
    pub created: AskedRecord,
    /// Whether its guest shall run.
    pub power: PowerWord,
    /// With `off`: is its plug pulled, instead of asking the guest?
    #[serde(default)]
    pub hard: bool,
    /// Who has asked for that.
    pub power_asked: AskedRecord,
    /// Whether it shall have a backup.
    pub protection: ProtectionWord,
    /// Who has asked for that; null: its settings say so.
    #[serde(default)]
    pub protection_asked: Option<AskedRecord>,
    /// The host on which it is to be started; null: it was never to be started.
    #[serde(default)]
    pub home: Option<String>,
    /// Fields that a newer agent has written.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Spec {
    /// Whether the guest shall run.
    #[must_use]
    pub fn power(&self) -> Power {
        match self.power {
            PowerWord::On => Power::On,
            PowerWord::Paused => Power::Paused,
            PowerWord::Off => Power::Off { hard: self.hard },
        }
    }
}

/// How a VM's last process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndWord {
    /// The guest switched itself off.
    SwitchedOff,
    /// A person stopped it.
    Stopped,
    /// The process died: nobody wanted that.
    Died,
}

/// That a VM has no process any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRecord {
    /// How that came about.
    pub how: EndWord,
    /// Who stopped it; empty where nobody did.
    #[serde(default)]
    pub by: String,
    /// When it did, in nanoseconds since 1970.
    pub at_wall_ns: u64,
}

/// How a VM has no process that was never started.
#[must_use]
pub fn never_started() -> Ended {
    Ended {
        how: End::Never,
        at: Wall(0),
        age: Span(0),
    }
}

impl EndedRecord {
    /// The same for the planner. It was read just now.
    #[must_use]
    pub fn ended(&self) -> Ended {
        Ended {
            how: match self.how {
                EndWord::SwitchedOff => End::SwitchedOff,
                EndWord::Stopped => End::Stopped { by: self.by.clone() },
                EndWord::Died => End::Died,
            },
            at: Wall(self.at_wall_ns),
            age: Span(0),
        }
    }
}

/// Why a VM came to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseWord {
    /// Its owner was worse off than its member.
    Health,
    /// Its owner was gone.
    Failure,
    /// Somebody wanted it.
    Wanted,
}

impl From<Cause> for CauseWord {
    fn from(cause: Cause) -> CauseWord {
        match cause {
            Cause::Health => CauseWord::Health,
            Cause::Failure => CauseWord::Failure,
            Cause::Wanted => CauseWord::Wanted,
        }
    }
}

/// One change of a VM's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapRecord {
    /// When it was, in nanoseconds since 1970.
    pub at_wall_ns: u64,
    /// The host of the owner before.
    pub from: String,
    /// The host of the owner since then.
    pub to: String,
    /// Why it was.
    pub cause: CauseWord,
}

impl SwapRecord {
    /// The same for the planner.
    #[must_use]
    pub fn swap(&self) -> Swap {
        Swap {
            at: Wall(self.at_wall_ns),
            from: HostName::new(self.from.clone()),
            to: HostName::new(self.to.clone()),
            cause: match self.cause {
                CauseWord::Health => Cause::Health,
                CauseWord::Failure => Cause::Failure,
                CauseWord::Wanted => Cause::Wanted,
            },
        }
    }
}

/// `vms/NAME/place`: where a VM is. Its controller writes it, the agent of the owner's host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The owner's host.
    pub owner: String,
    /// The host of the backup; null: there is none.
    #[serde(default)]
    pub member: Option<String>,
    /// The owner's epoch. No controller of an earlier epoch writes over this.
    pub epoch: u64,
    /// Changes of its owner within the last hour.
    #[serde(default)]
    pub swaps: Vec<SwapRecord>,
    /// That it has no process any more; null: it has one, as far as is known.
    #[serde(default)]
    pub ended: Option<EndedRecord>,
    /// That its guest has answered a probe since it began to boot; null: it has not, or is not probed.
    #[serde(default)]
    pub answered: Option<AnsweredRecord>,
    /// When its guest was reset last since it hung; null: never.
    #[serde(default)]
    pub reset: Option<ResetRecord>,
    /// Fields that a newer agent has written.
    #[serde(flatten)]
    pub rest: Rest,
}

/// An epoch that no process exceeds.
fn no_epoch() -> u64 {
    u64::MAX
}

/// What somebody has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KindRecord {
    /// The VM's two sides change their roles.
    Failover {
        /// The owner's host when it began.
        from: String,
        /// The VM's epoch then; the greatest number where an agent of an older release has begun it.
        #[serde(default = "no_epoch")]
        epoch: u64,
    },
    /// The VM runs on another host.
    Move {
        /// That host.
        to: String,
    },
    /// The VM has another backup.
    MoveBackup {
        /// The host of the backup when it began.
        from: Option<String>,
        /// The host that is to have it; null: whichever suits the VM best.
        to: Option<String>,
    },
    /// The owner's process is killed, as if its host had died.
    TestFailover {
        /// The owner's host when it began.
        from: String,
        /// The VM's epoch then.
        epoch: u64,
    },
    /// The backup's process is killed, as if its host had died.
    TestBackup {
        /// The host of the backup when it began.
        host: String,
        /// The VM's epoch then.
        epoch: u64,
    },
    /// The guest's reset button is pressed.
    Reset,
    /// The VM has a backup.
    Protect {
        /// The host that is to have it; null: whichever suits the VM best.
        to: Option<String>,
    },
    /// The guest runs.
    Start,
    /// The guest is off.
    Stop,
    /// The VM has no backup.
    Unprotect,
}

impl KindRecord {
    /// The same for the planner.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let host = |name: &String| HostName::new(name.clone());
        match self {
            KindRecord::Failover { from, epoch } => Kind::Failover {
                from: host(from),
                epoch: *epoch,
            },
            KindRecord::Move { to } => Kind::Move { to: host(to) },
            KindRecord::MoveBackup { from, to } => Kind::MoveBackup {
                from: from.as_ref().map(host),
                to: to.as_ref().map(host),
            },
            KindRecord::TestFailover { from, epoch } => Kind::TestFailover {
                from: host(from),
                epoch: *epoch,
            },
            KindRecord::TestBackup { host: at, epoch } => Kind::TestBackup {
                host: host(at),
                epoch: *epoch,
            },
            KindRecord::Reset => Kind::Reset,
            KindRecord::Protect { to } => Kind::Protect {
                to: to.as_ref().map(host),
            },
            KindRecord::Start => Kind::Start,
            KindRecord::Stop => Kind::Stop,
            KindRecord::Unprotect => Kind::Unprotect,
        }
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It goes on.
    Running,
    /// What was wanted is so.
    Done,
    /// It is not, and is not tried any more.
    Failed,
    /// Somebody has cancelled it.
    Cancelled,
}

/// `vms/NAME/operation`: the last thing that somebody has begun with a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its number: that of the request that has begun it, 32 hexadecimal digits.
    pub id: String,
    /// The VM.
    pub vm: String,
    /// What is to be done.
    #[serde(flatten)]
    pub kind: KindRecord,
    /// Who has begun it, when, and why.
    pub asked: AskedRecord,
    /// How far it is.
    pub state: OperationState,
    /// When it was last seen to make progress, in nanoseconds since 1970.
    pub progress_wall_ns: u64,
    /// Has the process confirmed the order for a step that leaves no trace? Of a test: is it decided?
    #[serde(default)]
    pub confirmed: bool,
    /// Why it has failed.
    #[serde(default)]
    pub reasons: Vec<report::Reason>,
    /// When it ended, in nanoseconds since 1970; 0: it goes on.
    #[serde(default)]
    pub ended_wall_ns: u64,
}

impl OperationRecord {
    /// Is it a test whose kill is decided, so that nobody can end it any more?
    #[must_use]
    pub fn is_decided(&self) -> bool {
        let is_test = matches!(
            self.kind,
            KindRecord::TestFailover { .. } | KindRecord::TestBackup { .. }
        );
        is_test && self.confirmed
    }

    /// The same for the planner; `None`: it has ended.
    #[must_use]
    pub fn operation(&self) -> Option<plan::Operation> {
        (self.state == OperationState::Running).then(|| plan::Operation {
            kind: self.kind.kind(),
            since: Wall(self.asked.at_wall_ns),
            progress: Wall(self.progress_wall_ns),
            is_confirmed: self.confirmed,
        })
    }
}

/// The three keys of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmKey {
    /// What it is made of and what is wanted.
    Spec,
    /// Where it is.
    Place,
    /// What somebody has begun.
    Operation,
}

impl VmKey {
    /// The last part of the key.
    #[must_use]
    pub fn part(self) -> &'static str {
        match self {
            VmKey::Spec => "spec",
            VmKey::Place => "place",
            VmKey::Operation => "operation",
        }
    }

    /// The key of this VM.
    #[must_use]
    pub fn of(self, vm: &VmName) -> store::Key {
        match self {
            VmKey::Spec => store::Key::spec(vm),
            VmKey::Place => store::Key::place(vm),
            VmKey::Operation => store::Key::operation(vm),
        }
    }
}

impl KindRecord {
    /// Does it come to nothing once nobody wants the VM to have a backup?
    #[must_use]
    pub fn needs_backup(&self) -> bool {
        match self {
            KindRecord::Failover { .. }
            | KindRecord::Move { .. }
            | KindRecord::MoveBackup { .. }
            | KindRecord::TestFailover { .. }
            | KindRecord::TestBackup { .. }
            | KindRecord::Protect { .. } => true,
            KindRecord::Reset | KindRecord::Start | KindRecord::Stop | KindRecord::Unprotect => false,
        }
    }

    /// The verb of the command line.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            KindRecord::Failover { .. } => "failover",
            KindRecord::Move { .. } => "move",
            KindRecord::MoveBackup { .. } => "move-backup",
            KindRecord::TestFailover { .. } => "test failover",
            KindRecord::TestBackup { .. } => "test backup",
            KindRecord::Reset => "reset",
            KindRecord::Protect { .. } => "protect",
            KindRecord::Start => "start",
            KindRecord::Stop => "stop",
            KindRecord::Unprotect => "unprotect",
        }
    }
}
