//! `Hanging`: what the mind remembers of a guest that may hang. What its probes, its timer and its kernel
//! tell comes together here, and is judged by `plan` (`plan::Answers`); what the next controller must know
//! goes into the VM's place. Nothing is done here: `probing` connects and tells.

use std::net::SocketAddr;

use control::Status;
use messages::time::{Span, Time};
use plan::limits::{RESET_NOTE_FRESH, STALE_LOCAL};
use plan::{Answers, Hang, Now, Sign, Silence, Wall};
use report::GuestWord;

use crate::HangFacts;
use crate::hang_records::{AnsweredRecord, ResetRecord};
use crate::limits::{STANDSTILL, TIMER_LATE_MS};
use crate::records::Place;

/// Where a guest is probed: an address and a TCP port.
pub(super) type Target = SocketAddr;

/// What is to be told of a guest's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The guest has become silent, or is so in another way than was told.
    Silent,
    /// The guest is silent no more.
    Back,
}

/// What the mind remembers of a guest that may hang, while its live process is here.
#[derive(Debug, Default)]
pub(super) struct Hanging {
    /// What its signs have told.
    pub answers: Answers,
    /// Is its live process here?
    is_here: bool,
    /// Has its process here not said how it is when that was asked last?
    pub is_unknown: bool,
    /// When it was looked at last; `None`: not since its live process is here.
    looked: Option<Time>,
    /// When its guest began to boot last, as far as this agent has seen; `None`: it has not.
    booted: Option<Time>,
    /// When it was seen first that its kernel has panicked and stays as it is; `None`: that is not so.
    panicked: Option<Time>,
    /// Where it is probed at present; `None`: nowhere, or nothing could be told of it just now.
    pub target: Option<Target>,
    /// Where it was to be probed at the last look; `None`: nowhere.
    wanted: Option<Target>,
    /// When its last probe began; `None`: none did.
    pub probed: Option<Time>,
    /// Is a probe under way?
    pub is_probing: bool,
    /// When the last probe began that told something of the guest; `None`: none has.
    heard: Option<Time>,
    /// What was told to tell that it is silent, and when; `None`: it was told to be well, or nothing was.
    told: Option<(Sign, Time)>,
    /// Has it booted since, or is it probed elsewhere, so that it is told anew if it is silent?
    is_outdated: bool,
    /// When its reset was noted that is still to be written down, or whose order is to be taken; `None`: none
    /// was.
    noted: Option<Wall>,
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
        let looked = self.looked.replace(now.time);
        if looked.is_some_and(|looked| now.time.since(looked) > STANDSTILL) {
            // Nobody has seen what the guest did meanwhile.
            self.answers.rest();
        }
        let Some((status, age)) = live else {
            if self.is_unknown {
                self.answers.rest();
            } else {
                self.leave();
            }
            return Hang { silence: None, reset };
        };
        let wanted = target(facts);
        if self.wanted != wanted {
            self.answers.probe_changes();
            (self.wanted, self.is_outdated) = (wanted, true);
        }
        if !std::mem::replace(&mut self.is_here, true) {
            let noted = place.filter(|place| place.ended.is_none());
            let noted = noted.and_then(|place| place.answered.as_ref());
            let probe = wanted.map(|wanted| wanted.to_string());
            let noted = noted.filter(|noted| Some(&noted.probe) == probe.as_ref());
            self.answers.go_on(noted.map(|noted| Wall(noted.at_wall_ns)));
        }
        let runs = matches!(status.guest, GuestWord::Running | GuestWord::Panicked);
        if !runs || status.paused_since_wall_ns.is_some() || age > STALE_LOCAL {
            self.answers.rest();
            return Hang { silence: None, reset };
        }
        if is_cut_off(status) {
            // Whoever does not answer then is the host, or a guest that waits for its disk.
            self.answers.rest_of(Sign::Probe);
        } else {
            self.target = wanted;
        }
        let timer = (status.timer_late_ms >= TIMER_LATE_MS).then(|| {
            "its kernel has its interrupts off and does not take its timer's, which it wants".to_owned()
        });
        self.answers.hear(now, Sign::Timer, timer.map_or(Ok(()), Err));
        // A kernel that reboots by itself has not said all that it has to say. And whoever quotes on the
        // console what another kernel has said answers after that.
        self.panicked = status.panic_ended.then(|| self.panicked.unwrap_or(now.time));
        let answered = self.answers.well_at(Sign::Probe);
        let is_panicked = self
            .panicked
            .is_some_and(|since| answered.is_none_or(|at| at <= since));
        let panic =
            (facts.resets && is_panicked).then(|| "its kernel has panicked, and stays as it is".to_owned());
        self.answers.hear(now, Sign::Panic, panic.map_or(Ok(()), Err));
        let silence = self.answers.silence(facts.after);
        Hang { silence, reset }
    }

    /// The guest's live process is not here any more. What was noted may still be written down, and a probe
    /// may be under way.
    fn leave(&mut self) {
        let mut before = std::mem::take(self);
        before.answers.leave();
        *self = Hanging {
            answers: before.answers,
            booted: before.booted,
            probed: before.probed,
            is_probing: before.is_probing,
            noted: before.noted,
            done: before.done,
            ..Hanging::default()
        };
    }

    /// The guest began to boot at this moment, in a new process or by a reset.
    pub fn boots(&mut self, at: Now) {
        self.answers.boots(at.wall);
        if self.booted.is_none_or(|booted| at.time > booted) {
            (self.booted, self.panicked, self.is_outdated) = (Some(at.time), None, true);
        }
    }

    /// What is to be told of this silence; `None`: nothing that was not told.
    pub fn news(&mut self, now: Time, silence: Option<&Silence>) -> Option<News> {
        match (silence, self.told) {
            (Some(silence), told)
                if self.is_outdated || told.is_none_or(|(sign, _)| sign != silence.sign) =>
            {
                (self.told, self.is_outdated) = (Some((silence.sign, now)), false);
                Some(News::Silent)
            }
            (None, Some((sign, at))) if self.answers.well_at(sign).is_some_and(|well| well > at) => {
                self.told = None;
                Some(News::Back)
            }
            _ => None,
        }
    }

    /// What the next controller must know, into what it reads.
    pub fn record(&self, me: &str, place: &mut Place) {
        let answered = self.answers.answered().zip(self.wanted);
        place.answered = answered.map(|(at, probe)| AnsweredRecord {
            probe: probe.to_string(),
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

    /// The guest is to be reset, which is written down first. A note stays the same for as long as its order
    /// may be given, however slow the store is: another one would be the number of another order.
    pub fn note(&mut self, now: Now) {
        let is_fresh = |noted: Wall| now.since_wall(noted) <= RESET_NOTE_FRESH;
        if !self.noted.is_some_and(is_fresh) {
            self.noted = Some(now.wall);
        }
    }

    /// The process has taken the order that was noted so: the guest boots.
    pub fn on_reset(&mut self, now: Now, noted: Wall) {
        (self.done, self.noted) = (Some(noted), None);
        self.boots(now);
    }

    /// A probe of this address has ended; `None`: it tells nothing of the guest. What it tells is of the time
    /// when it began.
    pub fn on_probe(&mut self, now: Now, target: Target, said: Option<Result<(), String>>) {
        self.is_probing = false;
        let Some((time, said)) = self.probed.zip(said) else {
            return;
        };
        if self.target != Some(target) || self.booted.is_some_and(|booted| time <= booted) {
            return;
        }
        let heard = self.heard.replace(time);
        if heard.is_none_or(|heard| time.since(heard) > STANDSTILL) {
            // Nobody has seen what the guest did meanwhile.
            self.answers.rest_of(Sign::Probe);
        }
        let wall = now.wall_of(time);
        self.answers.hear(Now { time, wall }, Sign::Probe, said);
    }
}

/// Where the settings want the guest to be probed; `None`: nowhere. No name is looked up here.
fn target(facts: &HangFacts) -> Option<Target> {
    let (host, port) = facts.probe.as_ref()?;
    Some(SocketAddr::new(host.parse().ok()?, *port))
}

/// Does the process say for certain that its host's network leads nowhere, or that a disk is away?
fn is_cut_off(status: &Status) -> bool {
    let health = status.health.as_ref();
    health.is_some_and(|health| health.net_down == Some(true) || !health.disks_away.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    use control::{DiskAway, Health};
    use report::{Reason, RoleWord, StateWord};

    const PROBE: &str = "10.0.0.9:80";

    fn at(seconds: u64) -> Now {
        let ns = seconds * 1_000_000_000;
        Now {
            time: Time(ns),
            wall: Wall(1_795_902_031_000_000_000 + ns),
        }
    }

    fn facts(probe: Option<&str>) -> HangFacts {
        HangFacts {
            probe: probe.map(|host| (host.to_owned(), 80)),
            after: Span::from_ms(5_000),
            resets: true,
        }
    }

    fn status() -> Status {
        let reason = Reason::new("unprotected", "nobody wants a backup");
        Status {
            role: Some(RoleWord::Solo),
            guest: GuestWord::Running,
            ..Status::only("web", 7, StateWord::Unprotected, reason)
        }
    }

    /// A guest with a probe that a test looks at and probes.
    struct Watched {
        hang: Hanging,
        facts: HangFacts,
        status: Status,
        place: Place,
    }

    impl Watched {
        /// One whose probe is answered in the first second.
        fn new() -> Watched {
            let mut watched = Watched {
                hang: Hanging::default(),
                facts: facts(Some("10.0.0.9")),
                status: status(),
                place: Place::default(),
            };
            watched.second(1, Some(Ok(())));
            watched
        }

        fn look(&mut self, second: u64) -> Option<Sign> {
            let live = self.status.is_live().then_some((&self.status, Span(0)));
            let hang = self.hang.look(at(second), live, &self.facts, Some(&self.place));
            hang.silence.map(|silence| silence.sign)
        }

        /// A look, a probe that begins with it and ends like this, and one more look.
        fn second(&mut self, second: u64, said: Option<Result<(), String>>) -> Option<Sign> {
            self.look(second);
            if let Some(target) = self.hang.target {
                self.hang.probed = Some(at(second).time);
                self.hang.on_probe(at(second), target, said);
            }
            self.look(second)
        }

        fn seconds(
            &mut self,
            seconds: std::ops::Range<u64>,
            said: &Option<Result<(), String>>,
        ) -> Option<Sign> {
            seconds
                .map(|second| self.second(second, said.clone()))
                .last()
                .flatten()
        }
    }

    fn silent() -> Option<Result<(), String>> {
        Some(Err("it refuses connections".into()))
    }

    #[test]
    fn a_guest_whose_host_is_cut_off_is_not_silent() {
        let cut_off = [
            Health {
                net_down: Some(true),
                ..Health::default()
            },
            Health {
                net_down: Some(false),
                disks_away: vec![DiskAway::default()],
                ..Health::default()
            },
        ];
        for health in cut_off {
            let mut watched = Watched::new();
            assert_eq!(watched.seconds(2..8, &silent()), Some(Sign::Probe));
            watched.status.health = Some(health);
            assert_eq!(watched.seconds(8..60, &silent()), None);
            assert_eq!(watched.hang.target, None, "nothing is connected to");
            // What is counted begins when it is well again.
            watched.status.health = Some(Health::default());
            assert_eq!(watched.seconds(60..65, &silent()), None);
            assert_eq!(watched.second(65, silent()), Some(Sign::Probe));
        }
    }

    #[test]
    fn a_probe_that_tells_nothing_is_no_silence_nor_are_two_failures_long_apart() {
        let mut watched = Watched::new();
        assert_eq!(watched.seconds(2..60, &None), None);
        watched.second(60, silent());
        assert_eq!(watched.seconds(61..80, &None), None);
        assert_eq!(watched.second(80, silent()), None, "who knows what was between");
        // The agent stood still.
        let mut watched = Watched::new();
        watched.seconds(2..6, &silent());
        assert_eq!(watched.second(30, silent()), None);
        assert_eq!(watched.seconds(31..36, &silent()), Some(Sign::Probe));
    }

    #[test]
    fn a_name_is_not_looked_up() {
        assert_eq!(target(&facts(Some("db.example"))), None);
        assert_eq!(target(&facts(Some("10.0.0.9"))), PROBE.parse().ok());
        let written = target(&facts(Some("fd00::9"))).map(|target| target.to_string());
        assert_eq!(written.as_deref(), Some("[fd00::9]:80"));
    }

    #[test]
    fn a_reset_is_ordered_under_one_number_however_slow_the_store_is() {
        let mut watched = Watched::new();
        watched.seconds(2..8, &silent());
        for second in 8..8 + 60 {
            watched.hang.note(at(second));
            let mut written = Place::default();
            watched.hang.record("a", &mut written);
            assert_eq!(written.reset.unwrap().at_wall_ns, at(8).wall.0, "{second}");
        }
        // What was noted outlives a moment in which the process is not live.
        watched.status.role = Some(RoleWord::Claiming);
        watched.look(68);
        watched.status.role = Some(RoleWord::Solo);
        watched.hang.note(at(68));
        watched.hang.record("a", &mut watched.place);
        assert_eq!(watched.place.reset.as_ref().unwrap().at_wall_ns, at(8).wall.0);
        watched.hang.on_reset(at(69), at(8).wall);
        watched.hang.record("a", &mut watched.place);
        let reset = watched.place.reset.clone().unwrap();
        assert_eq!((reset.at_wall_ns, reset.done), (at(8).wall.0, true));
        // Nothing of the time before counts any more, and nothing is noted any more.
        assert_eq!((watched.look(69), watched.hang.answers.answered()), (None, None));
        let mut empty = Place::default();
        watched.hang.record("a", &mut empty);
        assert_eq!(empty.reset, None);
        watched.hang.note(at(800));
        watched.hang.record("a", &mut watched.place);
        assert_eq!(watched.place.reset.unwrap().at_wall_ns, at(800).wall.0);
    }

    #[test]
    fn a_note_that_nobody_ordered_in_time_is_replaced() {
        let mut watched = Watched::new();
        watched.hang.note(at(8));
        watched.hang.note(at(8 + 61));
        watched.hang.record("a", &mut watched.place);
        assert_eq!(watched.place.reset.unwrap().at_wall_ns, at(69).wall.0);
    }

    #[test]
    fn a_guest_that_answers_after_a_panic_was_quoted_on_its_console_does_not_hang() {
        let mut watched = Watched::new();
        watched.status.panic_ended = true;
        assert_eq!(watched.second(2, None), None);
        assert_eq!(watched.seconds(3..5, &Some(Ok(()))), None);
        assert_eq!(watched.seconds(5..60, &None), None);
        // One that does not answer hangs.
        let mut watched = Watched::new();
        watched.status.panic_ended = true;
        assert_eq!(watched.seconds(2..9, &None), Some(Sign::Panic));
        // It has booted since, and panics once more before it was seen to be well.
        let mut again = Watched::new();
        again.status.panic_ended = true;
        again.second(2, None);
        again.second(3, Some(Ok(())));
        again.hang.boots(at(4));
        assert_eq!(again.seconds(5..12, &None), Some(Sign::Panic));
    }

    #[test]
    fn one_status_that_was_missed_is_not_the_end_of_what_is_known() {
        let mut watched = Watched::new();
        watched.seconds(2..4, &silent());
        let live = std::mem::replace(
            &mut watched.status,
            Status::only("web", 7, StateWord::Unknown, Reason::new("silent", "")),
        );
        watched.hang.is_unknown = true;
        assert_eq!(watched.look(4), None);
        (watched.status, watched.hang.is_unknown) = (live, false);
        assert!(watched.hang.answers.answered().is_some());
        // Silence is counted anew.
        assert_eq!(watched.seconds(5..10, &silent()), None);
        assert_eq!(watched.second(10, silent()), Some(Sign::Probe));
        // Where another process has the guest, nothing is known of it here.
        watched.status.role = Some(RoleWord::Backup);
        watched.look(11);
        assert_eq!(watched.hang.answers.answered(), None);
    }

    #[test]
    fn each_silence_is_told_once_and_anew_after_a_boot_or_by_another_sign() {
        let mut watched = Watched::new();
        let silence = |sign| Silence {
            sign,
            since: at(2).time,
            why: "it hangs".into(),
        };
        let (probe, timer) = (silence(Sign::Probe), silence(Sign::Timer));
        let news = |watched: &mut Watched, second, silence| watched.hang.news(at(second).time, silence);
        assert_eq!(news(&mut watched, 3, Some(&probe)), Some(News::Silent));
        assert_eq!(news(&mut watched, 4, Some(&probe)), None);
        assert_eq!(news(&mut watched, 5, Some(&timer)), Some(News::Silent));
        assert_eq!(news(&mut watched, 6, Some(&timer)), None);
        watched.hang.boots(at(7));
        assert_eq!(news(&mut watched, 8, None), None);
        assert_eq!(news(&mut watched, 9, Some(&timer)), Some(News::Silent));
        // The look finds its timer well.
        watched.look(10);
        assert_eq!(news(&mut watched, 10, None), Some(News::Back));
        assert_eq!(news(&mut watched, 11, Some(&probe)), Some(News::Silent));
        watched.facts = facts(Some("10.0.0.10"));
        watched.look(12);
        assert_eq!(news(&mut watched, 13, Some(&probe)), Some(News::Silent));
    }

    #[test]
    fn an_answer_is_of_the_time_when_its_probe_began() {
        let mut watched = Watched::new();
        let target = watched.hang.target.unwrap();
        watched.hang.probed = Some(at(2).time);
        watched.hang.boots(at(3));
        watched.hang.on_probe(at(4), target, Some(Ok(())));
        assert_eq!(
            watched.hang.answers.answered(),
            None,
            "the guest that answered is gone"
        );
        watched.hang.probed = Some(at(4).time);
        watched.hang.on_probe(at(6), target, Some(Ok(())));
        assert_eq!(watched.hang.answers.answered(), Some(at(4).wall));
    }
}
