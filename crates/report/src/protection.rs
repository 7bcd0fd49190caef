//! `Protection`: how a VM's protection stands, in one word, with a sentence for everything that is not as it
//! should be. `lockstep status` shows it; programs read it as JSON (docs/control.md).
//!
//! The reporter has a [`Guarding`], which hears of every happening and nothing else: so whatever changes the
//! state has been told as an event too, and the words are the same for all who ask. Nothing here decides what
//! a replica does.

use std::collections::BTreeMap;

use machine::PAGE;
use replica::Metrics;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::happening::Happening;
use super::health::AspectWord;
use super::sentences;
use super::words::{PhaseWord, RoleWord, VerdictWord};

/// A backup that is further behind than this, in milliseconds, is said to be behind.
const BEHIND_MS: f64 = 250.0;
/// A primary that may run at less than this share of its speed, in thousandths, is said to be throttled.
const THROTTLED_PERMILLE: u32 = 800;

/// How a VM's protection stands, in a word.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateWord {
    /// A backup follows the guest, and can take it over.
    Protected,
    /// A process is on its way to be the backup, or a pair is being made.
    Starting,
    /// The VM has lost its backup or has none though one was wanted, and nothing is under way.
    NeedsBackup,
    /// The VM's operator wants no backup for now. Only an agent says this, who keeps that wish: a process
    /// says `unprotected`, with the reason `suspended`.
    Suspended,
    /// Nobody has asked for a backup.
    Unprotected,
    /// The guest is off, or this process runs it no more.
    Off,
    /// The guest stands until the arbiter has decided.
    Standing,
    /// Nothing is known of the process at present.
    Unknown,
}

impl StateWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StateWord::Protected => "protected",
            StateWord::Starting => "starting",
            StateWord::NeedsBackup => "needs-backup",
            StateWord::Suspended => "suspended",
            StateWord::Unprotected => "unprotected",
            StateWord::Off => "off",
            StateWord::Standing => "standing",
            StateWord::Unknown => "unknown",
        }
    }
}

/// What the guest does, in a word.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestWord {
    /// It runs.
    Running,
    /// There is none yet: the process waits for the other side.
    Waiting,
    /// It stands until the arbiter has decided.
    Standing,
    /// It stands, as its operator wants.
    Paused,
    /// Its kernel has panicked.
    Panicked,
    /// It is off, or runs here no more.
    Off,
    /// Nothing is known of it at present.
    Unknown,
}

impl GuestWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GuestWord::Running => "running",
            GuestWord::Waiting => "waiting",
            GuestWord::Standing => "standing",
            GuestWord::Paused => "paused",
            GuestWord::Panicked => "panicked",
            GuestWord::Off => "off",
            GuestWord::Unknown => "unknown",
        }
    }
}

/// Something that is not as it should be, though the VM goes on.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagWord {
    /// The backup is more than a quarter of a second behind.
    Behind,
    /// The primary may run at less than four fifths of its speed, so that the backup can follow.
    Throttled,
    /// A disk is ill.
    DiskTrouble,
    /// The guest's kernel has panicked.
    Panicked,
    /// The guest stands, as its operator wants.
    Paused,
    /// The arbiter does not answer.
    ArbiterAway,
    /// Outputs wait long for the backup. Only an agent says this and what follows.
    SlowOutputs,
    /// The two halves reach each other by one way only.
    OnePath,
    /// No host is left that could take a backup after a failure.
    NoSpareHost,
    /// A write that is under way may land on a disk after a takeover.
    Unfenced,
    /// What the halves say to each other is not encrypted.
    Insecure,
    /// The two halves are of different builds.
    Skewed,
    /// The guest hangs: it does not answer, or takes no interrupts.
    GuestSilent,
}

impl FlagWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FlagWord::Behind => "behind",
            FlagWord::Throttled => "throttled",
            FlagWord::DiskTrouble => "disk-trouble",
            FlagWord::Panicked => "panicked",
            FlagWord::Paused => "paused",
            FlagWord::ArbiterAway => "arbiter-away",
            FlagWord::SlowOutputs => "slow-outputs",
            FlagWord::OnePath => "one-path",
            FlagWord::NoSpareHost => "no-spare-host",
            FlagWord::Unfenced => "unfenced",
            FlagWord::Insecure => "insecure",
            FlagWord::Skewed => "skewed",
            FlagWord::GuestSilent => "guest-silent",
        }
    }
}

/// Why something is not as it should be.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The reason in a word, for programs.
    pub code: String,
    /// The reason in a sentence, for people.
    pub sentence: String,
}

impl Reason {
    /// A reason with this code.
    #[must_use]
    pub fn new(code: &str, sentence: impl Into<String>) -> Reason {
        Reason {
            code: code.to_owned(),
            sentence: sentence.into(),
        }
    }
}

/// How a VM's protection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The state in a word.
    pub state: StateWord,
    /// How far a process is on its way to be the backup; null where none is.
    pub phase: Option<PhaseWord>,
    /// What is not as it should be, though the VM goes on. A flag of a newer release is left out when it is
    /// read; its reason stays.
    #[serde(deserialize_with = "known")]
    pub flags: Vec<FlagWord>,
    /// Why the state is not `protected`, and why each flag is there.
    pub reasons: Vec<Reason>,
    /// When the state became what it is, in nanoseconds since 1970; 0 if that is not known.
    pub since_wall_ns: u64,
}

impl Protection {
    /// The state of a process of which only this reason is known.
    #[must_use]
    pub fn only(state: StateWord, reason: Reason) -> Protection {
        Protection {
            state,
            phase: None,
            flags: Vec::new(),
            reasons: vec![reason],
            since_wall_ns: 0,
        }
    }
}

/// Reads the flags whose words are known here.
fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FlagWord>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Known(FlagWord),
        Other(IgnoredAny),
    }
    let flags = Vec::<Flag>::deserialize(from)?.into_iter();
    let known = flags.filter_map(|flag| match flag {
        Flag::Known(word) => Some(word),
        Flag::Other(_) => None,
    });
    Ok(known.collect())
}

/// How the protection of a VM has gone until now, by what has happened in this process.
#[derive(Debug, Default)]
pub struct Guarding {
    /// The role that this process has.
    role: RoleWord,
    /// The peer's address, and why it is suspected; `None`: it is not, or there is none.
    suspected: Option<(String, String)>,
    /// Why the VM has no backup any more; `None`: it has one, or never had.
    lost: Option<Reason>,
    /// The backup that was dismissed last; `None`: none was since the last backup.
    dismissed: Option<String>,
    /// Where the backup is called that the operator wants again later; `None`: no protection is suspended.
    suspended: Option<String>,
    /// Since when the guest stands as its operator wants, in nanoseconds since 1970; `None`: it does not.
    paused: Option<u64>,
    /// The process on its way to be the backup, and how far it is; `None`: there is none.
    coming: Option<(String, PhaseWord)>,
    /// The last process that has not become the backup, and why; `None`: there was none since the last
    /// backup.
    failed: Option<(String, String)>,
    /// The sentence of an arbiter that the guest waits for; `None`: it waits for none.
    waiting: Option<String>,
    /// The sentence of an arbiter that does not answer though nothing waits for it; `None`: it answers.
    arbiter_away: Option<String>,
    /// What is wrong with each ill disk, by its number.
    troubles: BTreeMap<u8, String>,
    /// What the guest's kernel has said of its panic.
    panic: Option<String>,
    /// How this process has ended, as a sentence.
    ended: Option<String>,
    /// When the state became what it is, in nanoseconds since 1970.
    since_wall_ns: u64,
}

impl Guarding {
    /// Hears of a happening, at this time in nanoseconds since 1970.
    pub fn hear(&mut self, happening: &Happening, wall_ns: u64) {
        let before = self.state();
        self.take(happening);
        match happening {
            // It is told again where the guest goes on.
            Happening::Paused => self.paused = self.paused.or(Some(wall_ns)),
            Happening::Resumed => self.paused = None,
            _ => {}
        }
        if self.since_wall_ns == 0 || before != self.state() {
            self.since_wall_ns = wall_ns;
        }
    }

    fn take(&mut self, happening: &Happening) {
        match happening {
            Happening::Role { role, .. } => {
                self.role = *role;
                if *role != RoleWord::Claiming {
                    self.waiting = None;
                }
                if matches!(role, RoleWord::Primary | RoleWord::Backup) {
                    (self.lost, self.failed, self.suspected) = (None, None, None);
                    self.suspended = None;
                }
            }
            Happening::Suspected { peer, .. } => {
                let sentence = happening.sentence().unwrap_or_default();
                self.suspected = Some((peer.clone(), sentence));
            }
            Happening::Alone { .. } => {
                let sentence = happening.sentence().unwrap_or_default();
                self.lost = Some(Reason::new("backup-lost", sentence));
            }
            Happening::GoLive {
                was: RoleWord::Backup,
                ..
            } => {
                let peer = self.suspected.as_ref().map_or("the primary", |(peer, _)| peer);
                let sentence =
                    format!("this side has taken the VM over from {peer}, and nobody follows it yet");
                self.lost = Some(Reason::new("took-over", sentence));
            }
            Happening::Cloning { peer, phase } => {
                self.coming = Some((peer.clone(), *phase));
                self.suspended = None;
            }
            Happening::Suspended { peer } => self.suspended = Some(peer.clone()),
            Happening::Dismissed {
                peer,
                replaced_by: None,
            } => {
                (self.lost, self.failed) = (None, None);
                self.dismissed = Some(peer.clone());
            }
            Happening::CloneFailed { peer, why } => {
                if self.coming.take().is_none() {
                    // Nobody was sent away, but a call has failed: a backup is wanted again.
                    self.suspended = None;
                }
                self.failed = Some((peer.clone(), why.clone()));
            }
            Happening::Protected { .. } => {
                (self.coming, self.failed, self.lost) = (None, None, None);
                self.dismissed = None;
            }
            Happening::Waiting { .. } => self.waiting = happening.sentence(),
            Happening::Verdict { verdict, .. } if *verdict != VerdictWord::Unreachable => self.waiting = None,
            Happening::Health(change) if change.what == AspectWord::Arbiter => {
                self.arbiter_away = (!change.well).then(|| change.sentence.clone());
            }
            Happening::DiskTrouble { disk, sentence, .. } => {
                self.troubles.insert(*disk, sentence.clone());
            }
            Happening::DiskWell { disk, .. } => {
                self.troubles.remove(disk);
            }
            Happening::GuestPanic { line, .. } => self.panic = Some(line.clone()),
            Happening::Reset { .. } => self.panic = None,
            Happening::Halt(ending) => self.ended = Some(ending.sentence.clone()),
            _ => {}
        }
    }

    /// Since when the guest stands as its operator wants, in nanoseconds since 1970; `None`: it does not.
    #[must_use]
    pub fn paused_since(&self) -> Option<u64> {
        self.paused
    }

    /// Address of the process on its way to be the backup, and how far it is; `None`: there is none.
    #[must_use]
    pub fn coming(&self) -> Option<(&str, PhaseWord)> {
        self.coming.as_ref().map(|(peer, phase)| (peer.as_str(), *phase))
    }

    /// What the guest does.
    #[must_use]
    pub fn guest(&self) -> GuestWord {
        match self.role {
            _ if self.ended.is_some() => GuestWord::Off,
            RoleWord::Halted => GuestWord::Off,
            RoleWord::Claiming | RoleWord::Handing => GuestWord::Standing,
            RoleWord::Apprentice => GuestWord::Waiting,
            _ if self.paused.is_some() => GuestWord::Paused,
            _ if self.panic.is_some() => GuestWord::Panicked,
            RoleWord::Solo | RoleWord::Primary | RoleWord::Backup => GuestWord::Running,
        }
    }

    /// The state in a word.
    fn state(&self) -> StateWord {
        match self.role {
            _ if self.ended.is_some() => StateWord::Off,
            RoleWord::Halted => StateWord::Off,
            RoleWord::Claiming | RoleWord::Handing => StateWord::Standing,
            RoleWord::Primary | RoleWord::Backup => StateWord::Protected,
            RoleWord::Apprentice => StateWord::Starting,
            RoleWord::Solo if self.coming.is_some() => StateWord::Starting,
            RoleWord::Solo if self.suspended.is_some() => StateWord::Unprotected,
            RoleWord::Solo if self.lost.is_some() || self.failed.is_some() => StateWord::NeedsBackup,
            RoleWord::Solo => StateWord::Unprotected,
        }
    }

    /// How the protection stands, with what the node has measured.
    #[must_use]
    pub fn protection(&self, metrics: &Metrics) -> Protection {
        let mut told = Protection {
            state: self.state(),
            phase: self.coming.as_ref().map(|(_, phase)| *phase),
            flags: Vec::new(),
            reasons: self.why(),
            since_wall_ns: self.since_wall_ns,
        };
        let mut flag = |word, code: &str, sentence: String| {
            told.flags.push(word);
            told.reasons.push(Reason::new(code, sentence));
        };
        let lag_ms = super::figures::ms(metrics.lag);
        let is_paired = matches!(self.role, RoleWord::Primary | RoleWord::Backup);
        if is_paired && lag_ms > BEHIND_MS {
            let sentence =
                format!("the backup is {lag_ms:.0} ms behind; a takeover would last so much longer");
            flag(FlagWord::Behind, "behind", sentence);
        }
        if self.role == RoleWord::Primary && (1..THROTTLED_PERMILLE).contains(&metrics.speed_permille) {
            let sentence = format!(
                "the guest runs at {} % of its speed, so that the backup can follow",
                metrics.speed_permille / 10
            );
            flag(FlagWord::Throttled, "throttled", sentence);
        }
        for sentence in self.troubles.values() {
            flag(FlagWord::DiskTrouble, "disk-away", sentence.clone());
        }
        if let Some(line) = &self.panic {
            let sentence = format!("the guest's kernel has panicked: {line}");
            flag(FlagWord::Panicked, "panicked", sentence);
        }
        if self.paused.is_some() {
            let sentence = "the guest stands, as its operator wants; `lockstep resume` has it run on";
            flag(FlagWord::Paused, "paused", sentence.into());
        }
        if let Some(sentence) = self.waiting.as_ref().or(self.arbiter_away.as_ref()) {
            flag(FlagWord::ArbiterAway, "arbiter-away", sentence.clone());
        }
        told
    }

    /// Why the state is not `protected`.
    fn why(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match self.state() {
            StateWord::Off => {
                let sentence = self.ended.clone();
                let sentence = sentence.unwrap_or_else(|| "this process runs the guest no more".into());
                reasons.push(Reason::new("off", sentence));
            }
            StateWord::Standing if self.role == RoleWord::Handing => {
                let sentence = "this side has handed the VM over to its backup, and waits until that is live";
                reasons.push(Reason::new("handing-over", sentence));
            }
            StateWord::Standing => {
                let sentence = self.suspected.as_ref().map(|(_, sentence)| sentence.clone());
                let sentence = sentence.unwrap_or_else(|| "the arbiter is asked who goes on".into());
                reasons.push(Reason::new("suspected", sentence));
            }
            StateWord::Starting => reasons.push(match &self.coming {
                Some((peer, phase)) => Reason::new(phase.as_str(), phase.sentence(peer)),
                None => Reason::new(
                    "copying",
                    "this process gets the guest's state, to become its backup",
                ),
            }),
            StateWord::Unprotected => reasons.push(match (&self.suspended, &self.dismissed) {
                (Some(peer), _) => Reason::new("suspended", sentences::protection_suspended(peer)),
                (None, Some(peer)) => Reason::new(
                    "dismissed",
                    format!("its backup {peer} was dismissed; if this host dies, so does the guest"),
                ),
                (None, None) => Reason::new(
                    "user",
                    "the VM was started to run alone; if this host dies, so does the guest",
                ),
            }),
            StateWord::NeedsBackup => {
                reasons.extend(self.lost.clone());
                if let Some((peer, why)) = &self.failed {
                    let sentence = format!("{peer} has not become the backup: {why}");
                    reasons.push(Reason::new("clone-failed", sentence));
                }
            }
            StateWord::Protected | StateWord::Suspended | StateWord::Unknown => {}
        }
        reasons
    }
}

/// How much of a guest's memory a clone has copied, in bytes, of how many, as far as is known: what is
/// written again while it is copied is copied again.
#[must_use]
pub fn copied(pages: u64, owed: u64) -> (u64, u64) {
    let bytes = |pages: u64| pages.saturating_mul(PAGE as u64);
    (bytes(pages), bytes(pages.saturating_add(owed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Course, HaltCode, OnPanic, SuspicionWord};

    /// A role, as the reporter tells it.
    fn role(role: RoleWord) -> Happening {
        Happening::Role {
            role,
            epoch: 1,
            suspicion: None,
            detection_ms: 0.0,
            go_live_ms: 0.0,
        }
    }

    fn suspected(whom: RoleWord) -> Happening {
        Happening::Suspected {
            whom,
            peer: "10.0.0.2:7800".into(),
            why: SuspicionWord::Silence,
            reason: None,
            after_ms: 500.0,
        }
    }

    fn alone() -> Happening {
        Happening::Alone {
            epoch: 2,
            peer: "10.0.0.2:7800".into(),
            why: SuspicionWord::Silence,
            reason: "it is silent".into(),
        }
    }

    fn cloning(phase: PhaseWord) -> Happening {
        let peer = "10.0.0.3:7800".into();
        Happening::Cloning { peer, phase }
    }

    fn failed() -> Happening {
        Happening::CloneFailed {
            peer: "10.0.0.3:7800".into(),
            why: "the link to it broke".into(),
        }
    }

    fn protected() -> Happening {
        Happening::Protected {
            peer: "10.0.0.3:7800".into(),
            epoch: 2,
            took_ms: 1.0,
            cut_us: 1.0,
            stood_ms: 0.0,
            rounds: 1,
            touched_pages: 1,
            owed_pages: 1,
            pages: 1,
            bytes: 1,
        }
    }

    /// What is told after these happenings, the last of them at 1 ns after 1970 for each that was before.
    fn after(happenings: &[Happening]) -> Protection {
        let mut guarding = Guarding::default();
        for (happening, wall_ns) in happenings.iter().zip(1..) {
            guarding.hear(happening, wall_ns);
        }
        guarding.protection(&Metrics::default())
    }

    fn codes(told: &Protection) -> Vec<&str> {
        told.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    #[test]
    fn every_state_but_protected_says_why() {
        use RoleWord::{Apprentice, Backup, Claiming, Halted, Handing, Primary, Solo};
        let claiming = [role(Primary), role(Claiming), suspected(Backup)];
        let lost = [&claiming[..], &[role(Solo), alone()]].concat();
        let takeover = [role(Backup), role(Claiming), suspected(Primary), role(Solo)];
        let went_live = Happening::GoLive {
            epoch: 2,
            was: Backup,
            after_ms: 500.0,
        };
        let comes = [&lost[..], &[cloning(PhaseWord::Copying)]].concat();
        let cases = [
            (vec![role(Solo)], StateWord::Unprotected, vec!["user"]),
            (vec![role(Primary)], StateWord::Protected, vec![]),
            (vec![role(Backup)], StateWord::Protected, vec![]),
            (vec![role(Apprentice)], StateWord::Starting, vec!["copying"]),
            (claiming.to_vec(), StateWord::Standing, vec!["suspected"]),
            (
                vec![role(Primary), role(Handing)],
                StateWord::Standing,
                vec!["handing-over"],
            ),
            (lost.clone(), StateWord::NeedsBackup, vec!["backup-lost"]),
            (
                [&takeover[..], &[went_live]].concat(),
                StateWord::NeedsBackup,
                vec!["took-over"],
            ),
            (comes.clone(), StateWord::Starting, vec!["copying"]),
            (
                [&comes[..], &[failed()]].concat(),
                StateWord::NeedsBackup,
                vec!["backup-lost", "clone-failed"],
            ),
            (
                [&comes[..], &[protected(), role(Primary)]].concat(),
                StateWord::Protected,
                vec![],
            ),
            (vec![role(Primary), role(Halted)], StateWord::Off, vec!["off"]),
        ];
        for (happenings, state, expected) in cases {
            let told = after(&happenings);
            assert_eq!((told.state, codes(&told)), (state, expected), "{happenings:?}");
            assert!(
                told.reasons.iter().all(|reason| reason.sentence.len() > 20),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_vm_that_was_started_alone_needs_a_backup_once_one_was_wanted() {
        let told = after(&[role(RoleWord::Solo), cloning(PhaseWord::Arming), failed()]);
        assert_eq!(told.state, StateWord::NeedsBackup);
        assert_eq!(
            told.reasons[0].sentence,
            "10.0.0.3:7800 has not become the backup: the link to it broke"
        );
        assert_eq!(told.phase, None);
    }

    #[test]
    fn a_suspended_protection_is_wanted_again_and_no_fault() {
        let suspended = Happening::Suspended {
            peer: "10.0.0.3:7800".into(),
        };
        let dismissed = Happening::Dismissed {
            peer: "10.0.0.3:7800".into(),
            replaced_by: None,
        };
        let solo = role(RoleWord::Solo);
        let pair = vec![
            role(RoleWord::Primary),
            suspended.clone(),
            dismissed,
            solo.clone(),
        ];
        // So is one of a VM that has lost its backup, or whose backup is lost while it is dismissed.
        let lost = vec![solo.clone(), alone(), suspended.clone()];
        let meanwhile = vec![role(RoleWord::Primary), suspended, solo, alone()];
        for happenings in [&pair, &lost, &meanwhile] {
            let told = after(happenings);
            assert_eq!(
                (told.state, codes(&told)),
                (StateWord::Unprotected, vec!["suspended"])
            );
            assert!(told.reasons[0].sentence.contains("10.0.0.3:7800 is suspended"));
        }
        // It is resumed, and that comes to nothing, sooner or later.
        for resumed in [vec![failed()], vec![cloning(PhaseWord::Connecting), failed()]] {
            let told = after(&[&pair[..], &resumed].concat());
            assert_eq!(told.state, StateWord::NeedsBackup);
        }
        let sent_away = [cloning(PhaseWord::Copying), lost[2].clone(), failed()];
        let told = after(&[&lost[..2], &sent_away].concat());
        assert_eq!(codes(&told), ["suspended"]);
    }

    #[test]
    fn a_guest_is_paused_from_the_first_news_of_it_until_it_runs_again() {
        let mut guarding = Guarding::default();
        let news = [
            (role(RoleWord::Backup), None),
            (Happening::Paused, Some(2)),
            (role(RoleWord::Solo), Some(2)),
            (Happening::Paused, Some(2)),
            (Happening::Resumed, None),
            (Happening::Paused, Some(6)),
        ];
        for ((happening, since), wall_ns) in news.into_iter().zip(1..) {
            guarding.hear(&happening, wall_ns);
            assert_eq!(guarding.paused_since(), since, "{happening:?}");
            let told = guarding.protection(&Metrics::default());
            assert_eq!(told.flags.contains(&FlagWord::Paused), since.is_some());
            assert_eq!(guarding.guest() == GuestWord::Paused, since.is_some());
        }
    }

    #[test]
    fn a_flag_of_a_newer_release_is_left_out() {
        let reason = Reason::new("haunted", "the guest is haunted");
        let mut told = Protection::only(StateWord::Protected, reason);
        told.flags = vec![FlagWord::Behind];
        let mut object = serde_json::to_value(&told).unwrap();
        assert_eq!(
            serde_json::from_value::<Protection>(object.clone()).unwrap(),
            told
        );
        object["flags"] = serde_json::json!(["haunted", "behind"]);
        assert_eq!(serde_json::from_value::<Protection>(object).unwrap(), told);
    }

    #[test]
    fn a_state_is_as_old_as_its_last_change() {
        let stop = Happening::Stop {
            by: crate::Wish::Signal,
            role: RoleWord::Solo,
            course: Course::Explain,
        };
        let since = |happenings: &[Happening]| after(happenings).since_wall_ns;
        assert_eq!(since(&[role(RoleWord::Solo), stop.clone(), stop.clone()]), 1);
        assert_eq!(
            since(&[role(RoleWord::Solo), stop.clone(), role(RoleWord::Primary), stop]),
            3
        );
    }

    #[test]
    fn what_is_not_as_it_should_be_is_a_flag_with_a_sentence_until_it_is_over() {
        let mut guarding = Guarding::default();
        let mut metrics = Metrics {
            speed_permille: 1000,
            ..Metrics::default()
        };
        let trouble = Happening::DiskTrouble {
            disk: 0,
            path: "a".into(),
            what: "b".into(),
            sentence: "the disk a is ill".into(),
            since_ns: 0,
            waits: true,
        };
        let panic = Happening::GuestPanic {
            line: "Kernel panic".into(),
            step: 1,
            course: OnPanic::Keep,
        };
        for happening in [role(RoleWord::Primary), trouble, panic] {
            guarding.hear(&happening, 1);
        }
        (metrics.lag, metrics.speed_permille) = (replica::Span::from_ms(300), 700);
        let told = guarding.protection(&metrics);
        use FlagWord::{Behind, DiskTrouble, Panicked, Throttled};
        assert_eq!(told.flags, [Behind, Throttled, DiskTrouble, Panicked]);
        assert_eq!(codes(&told), ["behind", "throttled", "disk-away", "panicked"]);
        assert_eq!(
            (told.state, guarding.guest()),
            (StateWord::Protected, GuestWord::Panicked)
        );
        let well = Happening::DiskWell {
            disk: 0,
            path: "a".into(),
            lasted_ms: 1.0,
        };
        for happening in [
            well,
            Happening::Reset {
                by: crate::Wish::Panic,
            },
        ] {
            guarding.hear(&happening, 2);
        }
        (metrics.lag, metrics.speed_permille) = (replica::Span(0), 1000);
        assert_eq!(guarding.protection(&metrics).flags, []);
        let ending = crate::Ending {
            code: HaltCode::Off,
            sentence: "the guest is off".into(),
            ..crate::Ending::default()
        };
        guarding.hear(&Happening::Halt(ending), 3);
        let told = guarding.protection(&metrics);
        assert_eq!((told.state, guarding.guest()), (StateWord::Off, GuestWord::Off));
        assert_eq!(told.reasons[0].sentence, "the guest is off");
    }

    #[test]
    fn an_arbiter_that_is_away_is_a_flag_though_nothing_waits_for_it() {
        let mut guarding = Guarding::default();
        guarding.hear(&role(RoleWord::Backup), 1);
        let mut change = Change {
            what: AspectWord::Arbiter,
            well: false,
            sentence: "it is away".into(),
            since_ns: 1,
            lasted_ms: 0.0,
        };
        guarding.hear(&Happening::Health(change.clone()), 2);
        let told = guarding.protection(&Metrics::default());
        assert_eq!(
            (&told.flags[..], told.state),
            (&[FlagWord::ArbiterAway][..], StateWord::Protected)
        );
        assert_eq!(told.reasons, [Reason::new("arbiter-away", "it is away")]);
        change.well = true;
        guarding.hear(&Happening::Health(change), 3);
        assert_eq!(guarding.protection(&Metrics::default()).flags, []);
    }
}
