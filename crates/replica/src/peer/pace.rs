//! `Pace`: how fast the primary may run, from how far the backup is behind (FT 3.2-e). The primary gives it
//! every acknowledgement, and asks before every slice whether the guest must rest.
//!
//! Failover takes as long as the backup needs to catch up, so lag must stay small. Where the backup is
//! slower, the primary runs as fast as the backup was seen to follow, a little faster or slower as the lag is
//! below or above half of [`limits::LAG_TARGET`]. A backup that takes too much of the guest's speed is too
//! slow, unless it is to be kept ([`OnSlow`]).
//!
//! It only ever says when the guest may run. What the guest computes never depends on it.

use machine::Step;

use crate::event::Slowness;
use crate::limits;
use crate::options::OnSlow;
use crate::peer::mean::Mean;
use crate::peer::rest::Rest;
use messages::message::Ack;
use messages::time::{Span, Time};

/// Smallest factor of a change, in thousandths: a backup that was held up for 10 ms catches up by itself.
const FOLLOWS_MIN: u64 = 900;
/// Largest factor of a change for what the backup has executed, in thousandths.
const FOLLOWS_MAX: u64 = 1250;
/// Thousandths by which the pace also falls for each [`limits::LAG_TARGET`] of lag beyond half of one.
const LAG_GAIN: u64 = 250;

/// The control loop: what it has measured, and how much of the time the guest may run.
#[derive(Debug)]
pub struct Pace {
    /// The lag in time, as the backup said last.
    lag: Span,
    /// The lag in steps, when the backup said so last.
    lag_steps: u64,
    /// How long log waited for other log to get through the link, the last time that was known.
    queued: Span,
    /// The pace: the share of its time in which the guest may run, in thousandths.
    permille: u32,
    /// When the pace was reconsidered last.
    reconsidered: Time,
    /// The primary's step and the backup's when the pace was reconsidered last.
    then: (Step, Step),
    /// Must the primary stand until the lag is down to [`limits::LAG_TARGET`]?
    stopped: bool,
    /// How long the guest rests after each slice.
    rest: Rest,
    /// Since when the backup is too slow even for the slowest pace; `None`: it is not, or has recovered.
    hopeless: Option<Time>,
    /// The mean of the pace.
    mean: Mean,
    /// What becomes of a backup that is too slow.
    on_slow: OnSlow,
}

impl Pace {
    /// A pace of full speed, for a backup of which nothing is known yet.
    #[must_use]
    pub fn new(now: Time, on_slow: OnSlow) -> Pace {
        Pace {
            lag: Span(0),
            lag_steps: 0,
            queued: Span(0),
            permille: 1000,
            reconsidered: now,
            then: (Step(0), Step(0)),
            stopped: false,
            rest: Rest::default(),
            hopeless: None,
            mean: Mean::new(now),
            on_slow,
        }
    }

    /// Takes an acknowledgement, while the log reaches to `step` (FT 3.2-d). `queued`: how long log waits to
    /// get through the link, if that is known anew. `round_trip`: how old the backup's news is.
    pub fn on_executed(&mut self, now: Time, step: Step, ack: &Ack, queued: Option<Span>, round_trip: Span) {
        let executed = ack.executed;
        self.lag = ack.behind;
        self.queued = queued.unwrap_or(self.queued);
        self.lag_steps = step.since(executed);
        if self.lag >= limits::LAG_MAX {
            self.stopped = true;
        } else if self.lag <= limits::LAG_TARGET {
            self.stopped = false;
        }
        // What a change of the pace does is seen a round trip later; until then another would be too much.
        if now.since(self.reconsidered) >= limits::PACE_EVERY.max(round_trip) {
            self.reconsidered = now;
            self.reconsider(step, executed);
            self.judge(now);
        }
    }

    /// Sets the pace anew, by the lag and by how much of what the primary ran the backup has executed since
    /// the last time. The primary is at `step` now, the backup at `executed`.
    fn reconsider(&mut self, step: Step, executed: Step) {
        let (ran, followed) = (step.since(self.then.0), executed.since(self.then.1));
        self.then = (step, executed);
        let target = limits::LAG_TARGET.0;
        // What the backup executed of what the primary ran. With little lag, it has followed as far as it
        // could. A link too slow for the log is as bad as a slow backup: outputs wait behind what is queued.
        let lag = self.lag.max(self.queued);
        let follows = if ran == 0 || lag.0 < target / 2 {
            1000
        } else {
            (followed.saturating_mul(1000) / ran).clamp(FOLLOWS_MIN, FOLLOWS_MAX)
        };
        let too_long = lag.0.saturating_mul(LAG_GAIN) / target;
        let room = (1000 + LAG_GAIN / 2).saturating_sub(too_long).max(FOLLOWS_MIN);
        let permille = u64::from(self.permille) * follows * room / 1_000_000;
        self.permille = u32::try_from(permille)
            .unwrap_or(1000)
            .clamp(limits::PACE_MIN, 1000);
    }

    /// Notes since when the backup is too slow for the slowest pace, or that it has recovered.
    fn judge(&mut self, now: Time) {
        if self.permille == limits::PACE_MIN && self.lag > limits::LAG_TARGET {
            self.hopeless = self.hopeless.or(Some(now));
        } else if self.permille >= limits::PACE_RECOVERED {
            // A pace in between is no recovery: a backup that is far too slow catches up for a moment
            // whenever the primary has stood long enough for it, and the guest would crawl for ever.
            self.hopeless = None;
        }
    }

    /// Notes that a slice begins now.
    pub fn on_slice(&mut self, now: Time) {
        self.rest.on_slice(now);
    }

    /// Takes the time, the end of the last slice: its length says how long the guest rests after it.
    /// `stands`: the guest has to stand now, whatever the pace is.
    pub fn look(&mut self, now: Time, stands: bool) {
        self.rest.look(now, self.permille);
        let is_let_run = !stands && !self.stopped;
        self.mean.pass(now, if is_let_run { self.permille } else { 0 });
    }

    /// Until when the guest must rest, to run at the present pace; `None`: it may run.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        self.rest.until()
    }

    /// Must the guest stand until the backup has caught up?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How slow a backup is that cannot follow even the slowest pace and is to be dropped for that. `stands`:
    /// it has kept the guest standing for [`limits::SLOW_DROP`].
    #[must_use]
    pub fn hopelessness(&self, now: Time, stands: bool) -> Option<Slowness> {
        let is_hopeless = stands
            || self
                .hopeless
                .is_some_and(|since| now.since(since) >= limits::SLOW_DROP);
        let is_dropped = is_hopeless && self.on_slow != OnSlow::Follow;
        is_dropped.then(|| self.mean.of_last(limits::SLOW_SECONDS))
    }

    /// How slow a backup is that is to be dropped for the mean of its pace, which is known after
    /// [`limits::SPEED_SECONDS`].
    #[must_use]
    pub fn slowness(&self) -> Option<Slowness> {
        let OnSlow::Drop(percent) = self.on_slow else {
            return None;
        };
        let mean = self.mean.of_last(limits::SPEED_SECONDS);
        let is_known = mean.over == Span::from_ms(limits::SPEED_SECONDS as u64 * 1_000);
        (is_known && mean.permille < percent.saturating_mul(10)).then_some(mean)
    }

    /// The lag in time, as the backup said last.
    #[must_use]
    pub fn lag(&self) -> Span {
        self.lag
    }

    /// The lag in steps, when the backup said so last.
    #[must_use]
    pub fn lag_steps(&self) -> u64 {
        self.lag_steps
    }

    /// What becomes of a backup that is too slow.
    #[must_use]
    pub fn on_slow(&self) -> OnSlow {
        self.on_slow
    }

    /// The pace in thousandths.
    #[must_use]
    pub fn permille(&self) -> u32 {
        self.permille
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::peer::lag::Lag;
    use vmlog::entry::Seq;

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    fn ack(executed: u64, behind: Span) -> Ack {
        Ack {
            received: Seq(0),
            executed: Step(executed),
            echo: Time(0),
            buffered: 0,
            behind,
        }
    }

    /// A second in which the backup says that it is `lag` milliseconds behind.
    fn second(pace: &mut Pace, from: u64, lag: u64) -> u64 {
        for now in from..from + 1000 {
            let executed = now.saturating_sub(lag) * 1000;
            let ack = ack(executed, Span::from_ms(lag));
            pace.on_executed(ms(now), Step(now * 1000), &ack, None, Span(0));
        }
        from + 1000
    }

    /// A primary that would run 3,000 steps in a millisecond and a backup that executes so many of them, at
    /// best.
    struct Race {
        pace: Pace,
        now: u64,
        sent: u64,
        /// What the backup has of the log, and what it has executed of it.
        known: u64,
        executed: u64,
        behind: Lag,
        /// Milliseconds that messages are under way in each direction.
        far: u64,
        /// Steps of log that get through the link in a millisecond, at best, and those that have.
        link: u64,
        passed: u64,
        /// Log that is queued or under way: when it was sent, when it has arrived if that is known, and its
        /// last step.
        log: VecDeque<(u64, u64)>,
        arriving: VecDeque<(u64, u64, u64)>,
        acks: VecDeque<(u64, u64, Span, Option<u64>)>,
    }

    impl Race {
        fn new(far: u64) -> Race {
            Race {
                pace: Pace::new(ms(0), OnSlow::default()),
                now: 0,
                sent: 0,
                known: 0,
                executed: 0,
                behind: Lag::default(),
                far,
                link: u64::MAX,
                passed: 0,
                log: VecDeque::new(),
                arriving: VecDeque::new(),
                acks: VecDeque::new(),
            }
        }

        /// Runs for so many milliseconds; returns the longest lag.
        fn run(&mut self, milliseconds: u64, backup: u64) -> Span {
            let mut longest = Span(0);
            for now in self.now..self.now + milliseconds {
                self.sent += u64::from(self.pace.permille()) * 3;
                self.log.push_back((now, self.sent));
                self.passed = self.sent.min(self.passed.saturating_add(self.link));
                while let Some((sent, step)) = self.log.pop_front_if(|(_, step)| *step <= self.passed) {
                    self.arriving.push_back((now + self.far, sent, step));
                }
                let mut newest = None;
                while let Some((_, sent, step)) = self.arriving.pop_front_if(|(at, ..)| *at <= now) {
                    self.behind.on_received(ms(now), Step(step));
                    self.known = step;
                    newest = Some(sent);
                }
                self.executed = self.known.min(self.executed + backup);
                let lag = self.behind.on_executed(ms(now), Step(self.executed));
                self.acks.push_back((now + self.far, self.executed, lag, newest));
                while let Some((_, executed, lag, newest)) = self.acks.pop_front_if(|(at, ..)| *at <= now) {
                    let bare = 2 * self.far;
                    let queued = newest.map(|sent| Span::from_ms(now - sent - bare));
                    let (ack, sent) = (ack(executed, lag), Step(self.sent));
                    self.pace
                        .on_executed(ms(now), sent, &ack, queued, Span::from_ms(bare));
                }
                longest = longest.max(self.pace.lag());
            }
            self.now += milliseconds;
            longest
        }
    }

    #[test]
    fn a_slower_backup_takes_speed_away_and_gives_it_back() {
        // FT 3.2-d, 3.2-e.
        for backup in [2700, 2000, 1500] {
            let mut race = Race::new(0);
            assert_eq!(race.run(500, 3000), Span(0));
            assert_eq!(race.pace.permille(), 1000);
            let longest = race.run(3000, backup);
            assert!(longest < Span::from_ms(100), "{backup}: {longest:?}");
            assert!(race.pace.lag() <= limits::LAG_TARGET);
            let pace = u64::from(race.pace.permille());
            assert!(pace.abs_diff(backup / 3) < 20, "{backup}: {pace}");
            assert_eq!(race.pace.lag_steps(), race.sent - race.executed);
            race.run(500, 4000);
            assert_eq!((race.pace.permille(), race.pace.lag()), (1000, Span(0)));
        }
    }

    #[test]
    fn a_long_way_to_the_backup_is_no_lag() {
        // FT 3.2-d. Round trips of 2, 20 and 80 ms.
        for far in [1, 10, 40] {
            let mut race = Race::new(far);
            let longest = race.run(20_000, 3000);
            assert!(longest < limits::LAG_TARGET, "{far}: {longest:?}");
            assert_eq!(race.pace.permille(), 1000, "{far}");
        }
    }

    #[test]
    fn a_slower_backup_far_away_is_followed_too() {
        for far in [10, 40] {
            let mut race = Race::new(far);
            race.run(10_000, 2000);
            let (from, began) = (race.executed, race.now);
            let longest = race.run(20_000, 2000);
            assert!(longest < limits::LAG_MAX, "{far}: {longest:?}");
            assert_eq!(race.pace.hopelessness(ms(race.now), false), None, "{far}");
            // The backup is hardly ever without work.
            let speed = (race.executed - from) / (race.now - began);
            assert!(speed > 1800, "{far}: {speed}");
        }
    }

    #[test]
    fn a_link_that_is_too_slow_for_the_log_slows_the_primary_instead_of_filling_up() {
        // FT 3.2-e. What is queued in the link holds outputs up as a slow backup does.
        for far in [1, 10] {
            let mut race = Race::new(far);
            race.run(500, 3000);
            race.link = 1500;
            race.run(3_000, 3000);
            for _ in 0..100 {
                race.run(20, 3000);
                let queued = (race.sent - race.passed) / race.link;
                assert!(queued < 150, "{far}: {queued} ms of log are queued");
            }
            assert_eq!(race.pace.hopelessness(ms(race.now), false), None);
            let pace = race.pace.permille();
            assert!((400..600).contains(&pace), "{far}: {pace}");
        }
    }

    #[test]
    fn a_slow_pace_is_kept_by_resting() {
        let mut pace = Pace::new(ms(0), OnSlow::default());
        pace.permille = 500;
        pace.on_slice(ms(10));
        pace.look(ms(11), false);
        assert_eq!(pace.rest(), Some(ms(12)));
        pace.look(ms(12), false);
        assert_eq!(pace.rest(), None);
    }

    #[test]
    fn a_second_of_lag_stops_the_primary_until_it_is_gone() {
        let mut pace = Pace::new(ms(0), OnSlow::default());
        pace.on_executed(ms(1001), Step(20), &ack(5, Span::from_ms(1001)), None, Span(0));
        assert!(pace.is_stopped());
        pace.on_executed(ms(1100), Step(20), &ack(10, Span::from_ms(50)), None, Span(0));
        assert!(!pace.is_stopped());
    }

    #[test]
    fn a_backup_that_cannot_follow_the_slowest_pace_is_hopeless() {
        let mut pace = Pace::new(ms(0), OnSlow::default());
        let mut now = 0;
        while pace.hopelessness(ms(now), false).is_none() {
            now = second(&mut pace, now, 300);
        }
        assert!((10_000..20_000).contains(&now), "{now}");
    }

    /// Lets so many milliseconds pass at a pace, in slices of one.
    fn spend(pace: &mut Pace, now: &mut u64, milliseconds: u64, permille: u32, stands: bool) {
        pace.permille = permille;
        for _ in 0..milliseconds {
            *now += 1;
            pace.look(ms(*now), stands);
        }
    }

    #[test]
    fn a_backup_is_too_slow_when_the_mean_of_a_minute_is_below_half_of_the_speed() {
        // FT 3.2-e, L1: the bounds to the millisecond and to the thousandth.
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::default()), 0);
        spend(&mut pace, &mut now, 59_999, 499, false);
        assert_eq!(pace.slowness(), None, "a minute is not over");
        spend(&mut pace, &mut now, 1, 499, false);
        let over = Span::from_ms(60_000);
        assert_eq!(pace.slowness(), Some(Slowness { permille: 499, over }));
        assert_eq!(pace.hopelessness(ms(now), false), None);
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::default()), 0);
        spend(&mut pace, &mut now, 120_000, 500, false);
        assert_eq!(pace.slowness(), None, "half of the speed is enough");
        spend(&mut pace, &mut now, 1_000, 499, false);
        assert!(pace.slowness().is_some());
        spend(&mut pace, &mut now, 1_000, 1000, false);
        assert_eq!(pace.slowness(), None, "it has recovered");
    }

    #[test]
    fn standing_counts_as_no_speed_and_a_short_slowness_is_forgiven() {
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::default()), 0);
        spend(&mut pace, &mut now, 60_000, 1000, false);
        spend(&mut pace, &mut now, 30_000, 1000, true);
        assert_eq!(pace.slowness(), None);
        spend(&mut pace, &mut now, 999, 1000, true);
        assert_eq!(pace.slowness(), None);
        spend(&mut pace, &mut now, 1, 1000, true);
        assert_eq!(pace.slowness().map(|slow| slow.permille), Some(29_000 / 60));
        spend(&mut pace, &mut now, 29_000, 1000, false);
        assert!(pace.slowness().is_some());
        spend(&mut pace, &mut now, 1_000 + 29_000, 1000, false);
        assert_eq!(pace.slowness(), None);
        // So does a lag at which the primary stops.
        pace.stopped = true;
        spend(&mut pace, &mut now, 31_000, 1000, false);
        assert!(pace.slowness().is_some());
    }

    #[test]
    fn a_backup_that_is_to_be_followed_is_never_too_slow() {
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::Follow), 0);
        while now < 100_000 {
            let from = now;
            now = second(&mut pace, now, 300);
            for at in from..now {
                pace.look(ms(at), true);
            }
            assert_eq!((pace.slowness(), pace.hopelessness(ms(now), true)), (None, None));
        }
        assert_eq!(pace.permille, limits::PACE_MIN);
    }

    #[test]
    fn without_a_least_speed_only_the_slowest_pace_counts() {
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::Drop(0)), 0);
        spend(&mut pace, &mut now, 100_000, limits::PACE_MIN, false);
        assert_eq!(pace.slowness(), None);
        let (slowest, over) = (limits::PACE_MIN, limits::SLOW_DROP);
        let expected = Slowness {
            permille: slowest,
            over,
        };
        assert_eq!(pace.hopelessness(ms(now), true), Some(expected));
        let (mut pace, mut now) = (Pace::new(ms(0), OnSlow::Drop(limits::SPEED_MIN_MAX)), 0);
        spend(&mut pace, &mut now, 59_999, 1000, false);
        spend(&mut pace, &mut now, 2, 999, false);
        assert!(pace.slowness().is_some(), "all of the speed is wanted");
    }
}
