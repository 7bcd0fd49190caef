//! `Hanging`: what the mind remembers of a guest that may hang. What its probes, its timer and its kernel
//! tell comes together here, and is judged by `plan` (`plan::Answers`); what the next controller must know
//! goes into the VM's place. Nothing is done here: `probing` connects and tells.

use control::Status;
use messages::time::{Span, Time};
use plan::limits::STALE_LOCAL;
use plan::{Answers, Hang, Now, Sign, Wall};
use report::GuestWord;

use crate::HangFacts;
use crate::hang_records::{AnsweredRecord, ResetRecord};
use crate::limits::{TIMER_LATE_MS, WRITE_PATIENCE};
use crate::records::Place;

/// Where a guest is probed: a host, by name or number, and a TCP port.
pub(super) type Target = (String, u16);

/// What the mind remembers of a guest that may hang, while its live process is here.
#[derive(Debug, Default)]
pub(super) struct Hanging {
    /// What its signs have told.
    pub answers: Answers,
    /// Is its live process here?
    is_here: bool,
    /// Where it is probed at present; `None`: nowhere, or nothing could be told of it just now.
    pub target: Option<Target>,
    /// Where it was to be probed at the last look; `None`: nowhere.
    wanted: Option<Target>,
    /// When its last probe began; `None`: none did.
    pub probed: Option<Time>,
    /// Is a probe under way?
    pub is_probing: bool,
    /// What was told to tell that it is silent, and when; `None`: it was told to be well, or nothing was.
    pub told: Option<(Sign, Time)>,
    /// When its reset was noted that is still to be written down; `None`: none was.
    noted: Option<Wall>,
    /// The note of the reset whose order the process was given, until it has answered.
    pub ordered: Option<Wall>,
    /// The note of the reset whose order the process has taken.
    done: Option<Wall>,
}

impl Hanging {
    /// A look finds the VM's live process here, as it said so long ago; or it does not (`None`).
    pub fn look(
        &mut self,
        now: Now,
        live: Option<(&Status, Span)>,
        facts: &HangFacts,
        place: Option<&Place>,
    ) -> Hang {
        let noted = place.and_then(|place| place.reset.as_ref());
        let mut reset = noted.map(ResetRecord::reset);
        if let Some(reset) = &mut reset {
            // It may not be written down yet.
            reset.is_done |= self.done == Some(reset.at);
        }
        self.target = None;
        let Some((status, age)) = live else {
            let mut answers = std::mem::take(self).answers;
            answers.leave();
            self.answers = answers;
            return Hang { silence: None, reset };
        };
        if self.wanted != facts.probe {
            self.answers.probe_changes();
            self.wanted.clone_from(&facts.probe);
        }
        if !std::mem::replace(&mut self.is_here, true) {
            let noted = place.filter(|place| place.ended.is_none());
            let noted = noted.and_then(|place| place.answered.as_ref());
            let noted = noted.filter(|noted| Some(&noted.probe) == text(facts).as_ref());
            self.answers.go_on(noted.map(|noted| Wall(noted.at_wall_ns)));
        }
        let runs = matches!(status.guest, GuestWord::Running | GuestWord::Panicked);
        if !runs || status.paused_since_wall_ns.is_some() || age > STALE_LOCAL {
            self.answers.rest();
            return Hang { silence: None, reset };
        }
        self.target.clone_from(&facts.probe);
        let timer = (status.timer_late_ms >= TIMER_LATE_MS).then(|| {
            "its kernel has its interrupts off and does not take its timer's, which it wants".to_owned()
        });
        self.answers.hear(now, Sign::Timer, timer.map_or(Ok(()), Err));
        // A kernel that reboots by itself has not said all that it has to say.
        let panic = (facts.resets && status.panic_ended)
            .then(|| "its kernel has panicked, and stays as it is".to_owned());
        self.answers.hear(now, Sign::Panic, panic.map_or(Ok(()), Err));
        let silence = self.answers.silence(facts.after);
        Hang { silence, reset }
    }

    /// What the next controller must know, into what it reads.
    pub fn record(&self, me: &str, place: &mut Place) {
        let probe = self.wanted.as_ref().map(written);
        let answered = self.answers.answered().zip(probe);
        place.answered = answered.map(|(at, probe)| AnsweredRecord {
            probe,
            at_wall_ns: at.0,
        });
        let noted = self.noted.map_or(0, |noted| noted.0);
        let last = place.reset.as_ref().map_or(0, |reset| reset.at_wall_ns);
        if noted > last {
            place.reset = Some(ResetRecord {
                at_wall_ns: noted,
                by: me.to_owned(),
                done: false,
            });
        }
        if let Some(reset) = &mut place.reset
            && self.done == Some(Wall(reset.at_wall_ns))
        {
            reset.done = true;
        }
    }

    /// The guest is to be reset, which is written down first; again, if that was not seen in time.
    pub fn note(&mut self, now: Now) {
        let is_fresh = |noted: Wall| now.since_wall(noted) < WRITE_PATIENCE;
        if !self.noted.is_some_and(is_fresh) {
            self.noted = Some(now.wall);
        }
    }

    /// The process has taken the order that was noted, or has refused it.
    pub fn on_order(&mut self, is_taken: bool) {
        let ordered = self.ordered.take();
        self.done = ordered.filter(|_| is_taken).or(self.done);
    }

    /// A probe of this address has ended.
    pub fn on_probe(&mut self, now: Now, target: &Target, said: Result<(), String>) {
        self.is_probing = false;
        if self.target.as_ref() == Some(target) {
            self.answers.hear(now, Sign::Probe, said);
        }
    }
}

/// An address as people write it.
pub(super) fn written((host, port): &Target) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn text(facts: &HangFacts) -> Option<String> {
    facts.probe.as_ref().map(written)
}
