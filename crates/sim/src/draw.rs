//! Draws the options of a world from its seed.
//!
//! Swarm: each kind of fault is switched on or off by itself and has an intensity of its own, so that every
//! combination occurs and no fault hides behind another one. A draw must never be added between others, nor
//! taken away: each seed would be another world. What is new is drawn apart, from a stream of its own.

use machine::Control;
use replica::{Notice, Phase, Span, Time};
use toy::hash::mix;

use toy::random::Random;
use toy_outside::{
    cache::{Access, CacheOptions},
    names::{HostId, ProcessId},
    network::LinkOptions,
};

use crate::{
    faults::{Armed, Death, Fault, InClone, Part, Trigger},
    founder::FounderOptions,
    host::Drift,
    keeper::KeeperOptions,
    options::{Options, ms, us},
};

impl Options {
    /// The world of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Options {
        let random = &mut Random::new(seed);
        let on = |random: &mut Random| random.permille(400);
        let timeout = ms(random.between(100, 400));
        let mut options = Options {
            timeout,
            digest_every: random.span(Span(10_000), Span(5_000_000)).0,
            patience: random.span(ms(20), ms(500)),
            think: random.span(us(100), ms(50)),
            typing: on(random).then(|| random.span(ms(1), ms(200))),
            unsafe_for: random.span(ms(50), ms(2000)),
            replies: random.between(1, 5),
            record: random.permille(500),
            power_off: random.permille(700),
            calm: false,
            ..Options::calm(seed)
        };
        options.link.latency = (random.span(us(10), us(300)), random.span(us(300), ms(10)));
        options.storage.latency = (random.span(us(10), us(300)), random.span(us(300), ms(400)));
        options.arbiter.latency = (random.span(us(50), us(300)), random.span(us(300), ms(100)));
        options.heartbeats.latency = (us(20), random.span(us(30), ms(50)));
        options.frames.latency = (us(20), random.span(us(30), ms(10)));
        for host in &mut options.hosts {
            if on(random) {
                host.clock = Drift {
                    offset: random.span(ms(1), ms(10_000_000)),
                    ppm: random.between(0, 20_000) as i64 - 10_000,
                };
            }
            if on(random) {
                host.speed = random.between(5, 200);
            }
        }
        if on(random) {
            // A busy guest writes about a megabyte of log a second.
            options.link.bytes_per_ms = random.span(Span(200), Span(50_000)).0;
        }
        for datagrams in [&mut options.heartbeats, &mut options.frames] {
            if on(random) {
                datagrams.loss_permille = random.below(400);
                datagrams.twice_permille = random.below(200);
            }
        }
        options.arbiter.lost_permille = if on(random) { random.below(600) } else { 0 };
        options.storage.fail_permille = if on(random) { random.below(100) } else { 0 };
        options.stray_permille = if on(random) { random.below(500) } else { 0 };
        options.cut_permille = if on(random) { random.below(600) } else { 0 };
        options.draw_faults(random);
        // These are drawn apart, so that all else of a seed stays what it was.
        options.arbiter.apart = Random::new(seed ^ 0xa9a7).permille(100);
        options.notice =
            Random::new(mix(seed, 0xdead)).pick(&[Notice::TimeoutOnly, Notice::Settled, Notice::Unsettled]);
        options.draw_cache_faults();
        options.draw_pauses(0x9a05, 150);
        options.draw_snapshots(0x5a95, 100);
        if Random::new(mix(seed, 0x11fe)).permille(LIVES_PERMILLE) {
            options.draw_lives();
        }
        options.draw_whether_agents();
        if Random::new(mix(seed, 0xf09e)).permille(FORMING_PERMILLE) {
            options.draw_forming();
        }
        options
    }

    /// A world of a seed in which the guest is protected again after each failover, whatever else happens.
    #[must_use]
    pub fn draw_life(seed: u64) -> Options {
        let mut options = Options::draw(seed);
        if options.keeper.is_none() {
            options.draw_lives();
        }
        options
    }

    /// A world of a seed that begins without a pair, whatever else happens.
    #[must_use]
    pub fn draw_formed(seed: u64) -> Options {
        let mut options = Options::draw(seed);
        if options.founder.is_none() {
            options.draw_forming();
        }
        options
    }

    /// Draws a founder, and what goes wrong while the first pair is formed.
    fn draw_forming(&mut self) {
        let random = &mut Random::new(mix(self.seed, 0x000f_09ed));
        self.founder = Some(FounderOptions {
            every: random.span(us(500), ms(50)),
            pause: random.span(ms(1), ms(200)),
            patience: random.span(ms(100), ms(20_000)),
            starts: random.between(2, 12),
            mistakes_permille: random.pick(&[0, 0, 20, 100]),
        });
        let long = Span(3 * self.timeout.0);
        for _ in 0..random.below(6) {
            let number = random.pick(&[0, 0, 0, 1, 1, 1, 2, 3]);
            let who = ProcessId::nth(number);
            let span = random.span(ms(1), long);
            let fault = match random.below(10) {
                0 | 1 => Fault::Crash(who, random.pick(&[Death::Process, Death::Host])),
                2 => Fault::Stall(who, span),
                3 => Fault::Cut(random.pick(&ProcessId::PAIR), span),
                4 => Fault::LinkStuck(random.pick(&ProcessId::PAIR), span),
                5..=7 => Fault::Reset,
                8 => Fault::ArbiterAway(span),
                _ => Fault::Leave(who),
            };
            // A primary has four actions in a handshake, a backup six.
            let trigger = Trigger::Word(random.between(1, 7));
            self.armed.push(Armed { who, trigger, fault });
        }
        let end = self.unsafe_for.0.min(Span::from_ms(200).0);
        for _ in 0..random.below(4) {
            let fault = match random.below(5) {
                0 => Fault::Crash(ProcessId::A, Death::Process),
                1 => Fault::Stall(ProcessId::A, random.span(ms(1), long)),
                2 => Fault::Cut(ProcessId::A, random.span(ms(1), long)),
                3 => Fault::Leave(ProcessId::A),
                _ => Fault::Slow(ProcessId::A, random.between(20, 900)),
            };
            self.timed
                .push((Time(random.below(end)), Part::Newest.gets(fault)));
        }
        self.timed.sort_by_key(|(at, _)| *at);
    }

    /// Draws a keeper, more hosts, and what goes wrong in later lives of the guest and in its clones.
    fn draw_lives(&mut self) {
        let random = &mut Random::new(mix(self.seed, 0x11fe5));
        let slow = random.permille(300);
        self.keeper = Some(KeeperOptions {
            every: random.span(us(200), ms(20)),
            pause: random.span(us(200), ms(50)),
            bulk: LinkOptions {
                latency: (random.span(us(10), us(300)), random.span(us(300), ms(10))),
                bytes_per_ms: if slow {
                    random.span(Span(20), Span(2_000)).0
                } else {
                    100_000
                },
            },
            room: random.span(Span(64), Span(64 << 10)).0,
        });
        for _ in 0..random.between(1, 4) {
            let mut host = random.pick(&self.hosts);
            if random.permille(400) {
                host.clock.ppm = random.between(0, 20_000) as i64 - 10_000;
            }
            self.hosts.push(host);
        }
        if random.permille(300) {
            self.entropy = ms(2_000);
        }
        let begin = self.unsafe_for.0;
        self.unsafe_for = Span(begin + random.span(ms(300), ms(4_000)).0);
        let end = self.unsafe_for.0;
        for number in 0..random.between(1, 6) {
            let death = random.pick(&[Death::Process, Death::Host]);
            let who = ProcessId::nth(number as usize);
            let part = random.pick(&[Part::Owner, Part::Newest]);
            if random.permille(400) {
                self.arm_or_time(random, Fault::Crash(who, death), |random| Time(random.below(end)));
            } else {
                let at = Time(random.below(end));
                self.timed.push((at, part.gets(Fault::Crash(who, death))));
            }
        }
        for _ in 0..random.below(8) {
            let host = HostId(random.below(self.hosts.len() as u64) as usize);
            self.timed.push((Time(random.below(end)), Fault::Return(host)));
        }
        let long = Span(3 * self.timeout.0);
        for _ in 0..random.below(6) {
            let fault = clone_fault(random, long);
            self.in_clone.push(InClone {
                clone: random.between(1, 5),
                phase: random.pick(&PHASES),
                after: random.span(Span(1), ms(20)),
                fault,
            });
        }
        self.draw_pauses(0x9a05_11fe, 400);
        self.draw_snapshots(0x5a95_11fe, 300);
        self.draw_dismissals(ProcessId::A, end);
        self.draw_hand_overs(ProcessId::A, end);
        self.draw_replacements(ProcessId::A, end);
        self.timed.sort_by_key(|(at, _)| *at);
    }

    /// Draws when the operator has the guest stand for a while, wherever it lives then, in so many
    /// thousandths of the worlds. `stream`: names the draws.
    fn draw_pauses(&mut self, stream: u64, chance: u64) {
        let mut random = Random::new(mix(self.seed, stream));
        if random.permille(chance) {
            for _ in 0..random.between(1, 3) {
                let at = Time(random.below(self.unsafe_for.0));
                let anyone = ProcessId::A;
                self.timed.push((at, Part::Owner.gets(Fault::Pause(anyone))));
            }
            self.timed.sort_by_key(|(at, _)| *at);
        }
    }

    /// Draws when the operator has snapshots taken, in so many thousandths of the worlds: of the guest
    /// wherever it lives then, or of its backup's copy. `stream`: names the draws.
    fn draw_snapshots(&mut self, stream: u64, chance: u64) {
        let mut random = Random::new(mix(self.seed, stream));
        if random.permille(chance) {
            for _ in 0..random.between(1, 4) {
                let at = Time(random.below(self.unsafe_for.0));
                let part = random.pick(&[Part::Owner, Part::Owner, Part::Newest]);
                self.timed.push((at, part.gets(Fault::Snapshot(ProcessId::A))));
            }
            self.timed.sort_by_key(|(at, _)| *at);
        }
    }

    /// Draws when the operator dismisses the guest's backup, wherever it lives then.
    fn draw_dismissals(&mut self, anyone: ProcessId, end: u64) {
        let mut random = Random::new(mix(self.seed, 0xd15_3155));
        for _ in 0..random.below(4) {
            let at = Time(random.below(end));
            self.timed.push((at, Part::Owner.gets(Fault::Unprotect(anyone))));
        }
    }

    /// Draws when the operator has the two sides change their roles, and what goes wrong just then.
    fn draw_hand_overs(&mut self, anyone: ProcessId, end: u64) {
        let mut random = Random::new(mix(self.seed, 0x4a4d_07e4));
        let long = Span(2 * self.timeout.0);
        for _ in 0..random.below(16) {
            let at = Time(random.below(end));
            self.timed.push((at, Part::Owner.gets(Fault::HandOver(anyone))));
            if random.permille(300) {
                let within = random.pick(&[us(300), ms(3), ms(30)]);
                let soon = at.after(random.span(Span(1), within));
                let part = random.pick(&[Part::Owner, Part::Newest]);
                let fault = match random.below(8) {
                    0 | 1 => part.gets(Fault::Crash(anyone, random.pick(&[Death::Process, Death::Host]))),
                    2 => part.gets(Fault::Stall(anyone, long)),
                    3 => part.gets(Fault::Cut(anyone, long)),
                    4 => Fault::Reset,
                    5 => Fault::ArbiterAway(long),
                    6 => Fault::DiskAway(long),
                    _ => part.gets(Fault::Unprotect(anyone)),
                };
                self.timed.push((soon, fault));
            }
        }
    }

    /// Draws when the operator has the guest's backup replaced, and what goes wrong just then.
    fn draw_replacements(&mut self, anyone: ProcessId, end: u64) {
        let mut random = Random::new(mix(self.seed, 0x5e91_ace5));
        let long = Span(2 * self.timeout.0);
        for _ in 0..random.below(8) {
            let at = Time(random.below(end));
            self.timed.push((at, Part::Owner.gets(Fault::Replace(anyone))));
            if random.permille(500) {
                let within = random.pick(&[ms(3), ms(30), ms(300)]);
                let soon = at.after(random.span(Span(1), within));
                let part = random.pick(&[Part::Owner, Part::Newest, Part::Backup, Part::Backup]);
                let fault = match random.below(9) {
                    0 | 1 => part.gets(Fault::Crash(anyone, random.pick(&[Death::Process, Death::Host]))),
                    2 | 3 => part.gets(Fault::Stall(anyone, long)),
                    4 => part.gets(Fault::Cut(anyone, long)),
                    5 => Fault::Reset,
                    6 => Fault::ArbiterAway(long),
                    7 => part.gets(Fault::Slow(anyone, random.between(20, 900))),
                    _ => Part::Owner.gets(Fault::Unprotect(anyone)),
                };
                self.timed.push((soon, fault));
                if random.permille(300) {
                    let crash = Fault::Crash(anyone, Death::Process);
                    self.timed
                        .push((soon.after(random.span(Span(1), long)), Part::Owner.gets(crash)));
                }
            }
        }
        // There are two backups for a moment only, just after the arbiter's answer.
        for _ in 0..random.below(4) {
            let within = random.pick(&[us(300), ms(3), ms(30)]);
            let part = random.pick(&[Part::Owner, Part::Newest, Part::Backup, Part::Backup]);
            let fault = match random.below(4) {
                0 => part.gets(Fault::Stall(anyone, long)),
                1 => part.gets(Fault::Cut(anyone, long)),
                2 => part.gets(Fault::LinkStuck(anyone, long)),
                _ => part.gets(Fault::Crash(anyone, Death::Process)),
            };
            let (clone, after) = (random.between(1, 5), random.span(Span(1), within));
            let mut at = |after, fault| {
                self.in_clone.push(InClone {
                    clone,
                    phase: Phase::Arming,
                    after,
                    fault,
                });
            };
            at(after, fault);
            if random.permille(300) {
                let after = Span(after.0 + random.below(long.0));
                at(after, Fault::ArbiterAway(Span(3 * long.0)));
            }
        }
    }

    /// Draws the faults of processes, links, arbiter and disk.
    fn draw_faults(&mut self, random: &mut Random) {
        let end = Span(self.unsafe_for.0 - 1);
        // Half of the worlds have all their faults at about the same time: one hides in the middle of
        // another.
        let storm = random.permille(500).then(|| random.below(end.0));
        let width = 2 * self.timeout.0;
        let at = move |random: &mut Random| match storm {
            Some(begin) => Time((begin + random.below(width)).min(end.0)),
            None => Time(random.below(end.0)),
        };
        let long = Span(3 * self.timeout.0);
        // For each kind of fault below: in how many of a thousand worlds it occurs, and how often at most.
        let kinds: [(u64, u64); 11] = [
            (500, 1),
            (450, 4),
            (350, 4),
            (250, 3),
            (250, 1),
            (250, 2),
            (400, 3),
            (250, 2),
            (200, 2),
            (250, 2),
            (350, 2),
        ];
        for (kind, (chance, most)) in kinds.into_iter().enumerate() {
            if !random.permille(chance) {
                continue;
            }
            for _ in 0..random.between(1, most) {
                let who = random.pick(&ProcessId::PAIR);
                let span = random.span(ms(1), long);
                let fault = match kind {
                    0 => Fault::Crash(who, random.pick(&[Death::Process, Death::Host])),
                    1 => Fault::Stall(who, span),
                    2 => Fault::Cut(who, span),
                    3 => Fault::CutAll(span),
                    4 => Fault::Reset,
                    5 => Fault::HeartbeatsLost(span),
                    6 => Fault::ArbiterAway(Span(2 * span.0)),
                    7 => Fault::DiskAway(span),
                    8 => Fault::LinkStuck(who, span),
                    9 => Fault::PortsLost(who, span),
                    _ => Fault::Slow(who, random.between(20, 900)),
                };
                self.arm_or_time(random, fault, at);
            }
        }
        if random.permille(30) {
            self.timed.push((
                at(random),
                Fault::Operator(random.pick(&[Control::PowerOff, Control::Reset])),
            ));
        }
        if random.permille(80) {
            self.timed
                .push((at(random), Fault::Leave(random.pick(&ProcessId::PAIR))));
        }
        if random.permille(30) {
            let who = random.pick(&ProcessId::PAIR);
            self.timed.push((at(random), Fault::Crash(who, Death::Host)));
        }
        self.timed.sort_by_key(|(at, _)| *at);
    }

    /// Draws how hosts use their caches, and what goes wrong with these.
    fn draw_cache_faults(&mut self) {
        self.storage.caches = caches(self.seed);
        let faults = cache_faults(self.seed, self.unsafe_for);
        self.timed.extend(faults);
        self.timed.sort_by_key(|(at, _)| *at);
    }

    /// Ties a crash or a stall to a doing of its process in half of the cases; all other faults get a time.
    fn arm_or_time(&mut self, random: &mut Random, fault: Fault, at: impl Fn(&mut Random) -> Time) {
        let tied = random.permille(500);
        let number = random.span(Span(1), Span(2000)).0;
        let trigger = match random.below(3) {
            0 => Trigger::Action(number),
            1 => Trigger::Entry(number),
            _ => Trigger::Deed(number / 4 + 1),
        };
        match fault {
            Fault::Crash(who, _) if tied => self.armed.push(Armed { who, trigger, fault }),
            Fault::Stall(who, _) if tied => {
                self.armed.push(Armed {
                    who,
                    trigger: Trigger::Action(number),
                    fault,
                });
            }
            fault => self.timed.push((at(random), fault)),
        }
    }
}

/// Of how many of a thousand seeds the guest is protected again after a failover.
const LIVES_PERMILLE: u64 = 250;

/// Of how many of a thousand seeds the world begins without a pair.
const FORMING_PERMILLE: u64 = 150;

/// The phases of a clone.
const PHASES: [Phase; 5] = [
    Phase::Connecting,
    Phase::Copying,
    Phase::Sealing,
    Phase::CatchingUp,
    Phase::Arming,
];

/// Something that goes wrong in a clone; nothing of it lasts much longer than `long`.
fn clone_fault(random: &mut Random, long: Span) -> Fault {
    // Whom a fault of a part names does not matter.
    let who = ProcessId::A;
    let part = random.pick(&[Part::Owner, Part::Newest]);
    let span = random.span(us(100), long);
    match random.below(11) {
        0 | 1 => part.gets(Fault::Crash(who, random.pick(&[Death::Process, Death::Host]))),
        2 => part.gets(Fault::Stall(who, span)),
        3 => part.gets(Fault::Cut(who, span)),
        4 => part.gets(Fault::LinkStuck(who, span)),
        5 => Fault::Reset,
        6 => Fault::BulkReset,
        7 => Fault::BulkCut(span),
        8 => Fault::ArbiterAway(Span(2 * span.0)),
        9 => Part::Newest.gets(Fault::Slow(who, random.between(100, 900))),
        _ => Fault::Operator(random.pick(&[Control::PowerOff, Control::Reset, Control::Reset])),
    }
}

/// What the hosts do about caches in the world of a seed: as real hosts do, which take what they can get.
fn caches(seed: u64) -> CacheOptions {
    let mut random = Random::new(mix(seed, 0xcac4e));
    CacheOptions {
        access: random.pick(&[Access::Direct, Access::Synchronous]),
        reopens: true,
        passes_flushes: true,
        drive_forgets: false,
    }
}

/// What happens to caches in the world of a seed, up to `end`. Drawn apart from all other faults, so that
/// those are the same with and without.
fn cache_faults(seed: u64, end: Span) -> Vec<(Time, Fault)> {
    let random = &mut Random::new(mix(seed, 0xfa115));
    let mut faults = Vec::new();
    if random.permille(300) {
        for _ in 0..random.between(1, 3) {
            let fault = Fault::FlushFails(random.pick(&ProcessId::PAIR));
            faults.push((Time(random.below(end.0)), fault));
        }
    }
    if random.permille(40) {
        faults.push((Time(random.below(end.0)), Fault::PowerCut));
    }
    faults
}
