//! What the model knows of a VM at one moment: processes, records, claims under way, links, and what the
//! world has seen.
//!
//! There is no time, and no message has a place of its own. A follower's log is a prefix of its leader's
//! while the link is up, so the entries under way are the rest of the leader's log; an acknowledgement under
//! way is what the follower has and the leader does not know yet. A link that breaks loses both.

use crate::set::{Id, Set};

/// How many processes there are.
pub const PROCESSES: usize = 3;

/// The most entries that a log of the model may get; the bounds of a search keep it shorter.
pub const LOG_MAX: usize = 8;

/// What stands in the log. Entries differ if their writers or the writers' epochs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The guest has produced an output.
    Output {
        /// Who wrote it.
        by: Id,
        /// In which epoch.
        epoch: u8,
    },
    /// `member` is a member of this epoch, which is `by`'s.
    Guarded {
        /// Who wrote it.
        by: Id,
        /// In which epoch.
        epoch: u8,
        /// Who is a member from here on.
        member: Id,
    },
}

impl Entry {
    /// The entry as one byte, which is never 0: a search compares and keeps millions of logs.
    fn byte(self) -> u8 {
        let (kind, by, epoch) = match self {
            Entry::Output { by, epoch } => (0, by, epoch),
            Entry::Guarded { by, epoch, member } => (member + 1, by, epoch),
        };
        assert!(
            epoch > 0 && epoch < 8 && by < 4 && kind < 8,
            "the bounds are too wide"
        );
        (kind << 5 | by << 3) as u8 | epoch
    }

    fn of(byte: u8) -> Option<Entry> {
        let (kind, by, epoch) = (usize::from(byte >> 5), usize::from(byte >> 3 & 3), byte & 7);
        match (kind, epoch) {
            (_, 0) => None,
            (0, _) => Some(Entry::Output { by, epoch }),
            (_, _) => Some(Entry::Guarded {
                by,
                epoch,
                member: kind - 1,
            }),
        }
    }
}

/// A process' log.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Log {
    entries: [u8; LOG_MAX],
}

impl Log {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|&&byte| byte != 0).count()
    }

    /// Has it no entry?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries, as followers acknowledge it.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.len() as u8
    }

    /// The entry at this place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Entry> {
        Entry::of(self.entries.get(at).copied()?)
    }

    /// Appends an entry.
    ///
    /// # Panics
    ///
    /// When it is full: the bounds of the search are too wide.
    pub fn push(&mut self, entry: Entry) {
        self.put(self.len(), entry);
    }

    /// The places of its outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, Entry)> {
        let is_output = |&(_, entry): &(usize, Entry)| matches!(entry, Entry::Output { .. });
        (0..LOG_MAX)
            .filter_map(|at| Some((at, self.get(at)?)))
            .filter(is_output)
    }

    /// Where the newest entry is that makes `member` a member; `None`: it has been one from the start.
    #[must_use]
    pub fn guarded(&self, member: Id) -> Option<usize> {
        let names = |entry| matches!(entry, Some(Entry::Guarded { member: named, .. }) if named == member);
        (0..LOG_MAX).rev().find(|&at| names(self.get(at)))
    }

    /// Is there an entry that makes `member` a member of this epoch?
    #[must_use]
    pub fn is_guarded_in(&self, member: Id, epoch: u8) -> bool {
        let newest = self.guarded(member).and_then(|at| self.get(at));
        matches!(newest, Some(Entry::Guarded { epoch: named, .. }) if named == epoch)
    }

    /// Is every entry of `shown`, which has holes, at its place in this log?
    #[must_use]
    pub fn covers(&self, shown: &Log) -> bool {
        let pairs = self.entries.iter().zip(&shown.entries);
        pairs
            .into_iter()
            .all(|(mine, shown)| *shown == 0 || mine == shown)
    }

    /// Puts an entry at its place, for the record of what was shown.
    pub fn put(&mut self, at: usize, entry: Entry) {
        self.entries[at] = entry.byte();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries((0..LOG_MAX).filter_map(|at| self.get(at)))
            .finish()
    }
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It waits for a VM.
    Idle,
    /// It follows a log and is no member.
    Apprentice,
    /// It follows a log and is a member.
    Backup,
    /// It has suspected whom it followed, or was told to take over, and asks the arbiter.
    Claiming,
    /// It runs the guest: Solo without members, Primary with some. It may be asking too.
    Live,
    /// It has stopped its guest and said so to a member.
    Handing,
    /// It has stopped by a rule.
    Halted,
    /// It has died.
    Crashed,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// What it is.
    pub role: Role,
    /// The epoch that it owns, or is a member of; 0: none.
    pub epoch: u8,
    /// Whose epoch that is.
    pub owner: Id,
    /// Its log: written if it is live, received if it follows.
    pub log: Log,
    /// Where its part of the log begins: it has the state of a guest that has produced what is before.
    pub cut: u8,
    /// Whom it follows, or followed.
    pub leader: Option<Id>,
    /// The time is over for which it had promised not to claim.
    pub promise_over: bool,
    /// Its leader has said that it shows nothing more, and (true) that it wants to be the next backup.
    pub handed: Option<bool>,
    /// It has said that it does not take the VM over, and the leader has not heard that yet.
    pub declines: bool,
    /// It has promised never to claim.
    pub dismissed: bool,
    /// It has been a member: nobody may be live who has not.
    pub was_member: bool,
    /// The epoch that it has asked for and has no answer to; 0: none.
    pub asked: u8,
    /// What a process with a flaw remembers of its last question. All others go by the arbiter's record.
    pub named: Set,
    /// Its members, if it is live: an output waits for all of them.
    pub members: Set,
    /// Processes that get its log and are no members.
    pub apprentices: Set,
    /// How many entries of its log each follower is known to have.
    pub acked: [u8; PROCESSES],
    /// Whose lease runs, as far as it knows.
    pub leases: Set,
    /// Whom it has asked to promise that it never claims.
    pub dismissing: Set,
    /// To whom it has handed the VM over, and whether it wants to be the next backup (else it has halted).
    pub hands_to: Option<(Id, bool)>,
    /// It has told its heir that it owns this epoch; 0: it has not.
    pub taken: u8,
}

impl Process {
    /// A process that waits for a VM.
    #[must_use]
    pub fn idle() -> Process {
        Process {
            role: Role::Idle,
            epoch: 0,
            owner: 0,
            log: Log::default(),
            cut: 0,
            leader: None,
            promise_over: false,
            handed: None,
            declines: false,
            dismissed: false,
            was_member: false,
            asked: 0,
            named: Set::default(),
            members: Set::default(),
            apprentices: Set::default(),
            acked: [0; PROCESSES],
            leases: Set::default(),
            dismissing: Set::default(),
            hands_to: None,
            taken: 0,
        }
    }

    /// Does it follow somebody's log, and answer?
    #[must_use]
    pub fn follows(&self) -> bool {
        matches!(self.role, Role::Apprentice | Role::Backup)
    }

    /// Has it ended?
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.role, Role::Halted | Role::Crashed)
    }

    /// Does it know that this follower has the entry at this place?
    #[must_use]
    pub fn knows(&self, follower: Id, at: usize) -> bool {
        usize::from(self.acked[follower]) > at
    }

    /// Is it known that this member has received the entry that made it one?
    #[must_use]
    pub fn is_proven(&self, member: Id) -> bool {
        self.members.has(member) && self.log.guarded(member).is_none_or(|at| self.knows(member, at))
    }
}

/// What the arbiter holds of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who has it.
    pub owner: Id,
    /// Who else is a member of it from its first moment.
    pub heirs: Set,
}

/// A claim on its way to the arbiter. It may arrive when its sender is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// The epoch that is claimed.
    pub epoch: u8,
    /// Who asks.
    pub by: Id,
    /// Who has the epoch before.
    pub after: Id,
    /// Who shall be a member from the first moment on.
    pub heirs: Set,
}

/// How often what no rule forbids may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A process dies, or a link breaks.
    pub failures: u8,
    /// The guest produces an output.
    pub outputs: u8,
    /// A process that waits begins to follow the owner.
    pub joins: u8,
    /// The owner asks to exclude a member that is well, or changes what it has asked.
    pub drops: u8,
    /// The operator wants the owner to dismiss a member.
    pub dismissals: u8,
    /// The operator wants the owner to hand over.
    pub hand_overs: u8,
}

/// Everything, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The processes P, B and A.
    pub processes: [Process; PROCESSES],
    /// The arbiter's records; epoch 1 is the first.
    pub records: Vec<Record>,
    /// The claims that have not reached the arbiter, sorted.
    pub claims: Vec<Claim>,
    /// The links that have broken, each as the set of its two ends, sorted.
    pub broken: Vec<Set>,
    /// The outputs that the world has seen, each at its place.
    pub shown: Log,
    /// What may still happen.
    pub left: Budget,
}

impl State {
    /// Is the link between the two up?
    #[must_use]
    pub fn is_linked(&self, one: Id, other: Id) -> bool {
        !self.broken.contains(&Set::of(one).with(other))
    }

    /// The arbiter's record of an epoch.
    #[must_use]
    pub fn record(&self, epoch: u8) -> Option<Record> {
        self.records.get(usize::from(epoch).checked_sub(1)?).copied()
    }

    /// The newest epoch of which there is a record.
    #[must_use]
    pub fn last(&self) -> u8 {
        u8::try_from(self.records.len()).unwrap_or(u8::MAX)
    }
}
