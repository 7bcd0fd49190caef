//! What goes wrong in a world, and when: drawn from its seed before it begins, and printed.
//!
//! Swarm: each kind of fault is switched on or off by itself and has an intensity of its own, so that every
//! combination occurs and no fault hides behind another one.

use std::fmt;

use machine::Control;
use replica::{Span, Time};

use crate::{
    arbiter::ArbiterOptions,
    cache::{Access, CacheOptions},
    network::{DatagramOptions, LinkOptions},
    random::Random,
    storage::StorageOptions,
    world::Side,
};

/// How a side dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process: its kernel still sends what it was given and then closes the link.
    Process,
    /// The host: silence, and its page cache is lost.
    Host,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A side dies.
    Crash(Side, Death),
    /// A side's process stands still; events queue up.
    Stall(Side, Span),
    /// Nothing arrives from the other side at this one for a while, be it over the link or beside it.
    Cut(Side, Span),
    /// At neither.
    CutBoth(Span),
    /// Nothing arrives over the link at this side for a while; heartbeats do.
    LinkStuck(Side, Span),
    /// The link breaks.
    Reset,
    /// All heartbeats get lost for a while.
    HeartbeatsLost(Span),
    /// This side's network ports lead nowhere for a while: no frame passes.
    PortsLost(Side, Span),
    /// The operator wants this side to leave the VM to the other one.
    Leave(Side),
    /// Nobody reaches the arbiter.
    ArbiterAway(Span),
    /// Nobody reaches the disk.
    DiskAway(Span),
    /// This side runs at so many thousandths of its speed from now on.
    Slow(Side, u64),
    /// The operator acts on the machine.
    Operator(Control),
    /// The next flush of this side fails, and its host forgets what it could not write.
    FlushFails(Side),
    /// Both hosts and the drive lose their power: the end of the guest.
    PowerCut,
}

/// When a fault happens that is tied to what a side does, not to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Instead of, or in the middle of, its action number n, from 1.
    Action(u64),
    /// Right after it has carried out number n of its releases and disk requests, from 1: the outside knows, and
    /// nobody else does yet.
    Deed(u64),
    /// Right after number n of all that went into its guest or came out, from 1; nothing that it did in the
    /// same slice becomes visible.
    Entry(u64),
}

/// A fault tied to a side's doings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Whose.
    pub side: Side,
    /// When.
    pub trigger: Trigger,
    /// What: a crash or a stall of the same side.
    pub fault: Fault,
}

/// The world: how it behaves when all is well, and what goes wrong in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is drawn from.
    pub seed: u64,
    /// Failure-detection timeout.
    pub timeout: Span,
    /// Steps between two digests in the log.
    pub digest_every: u64,
    /// Steps a microsecond, by side.
    pub speed: [u64; 2],
    /// How far the clocks of the sides are ahead, by side.
    pub offset: [Span; 2],
    /// How much faster than true they run, in millionths, by side.
    pub drift_ppm: [i64; 2],
    /// The link when it is well.
    pub link: LinkOptions,
    /// Heartbeats.
    pub heartbeats: DatagramOptions,
    /// Frames between client and guest.
    pub frames: DatagramOptions,
    /// The arbiter.
    pub arbiter: ArbiterOptions,
    /// The disk.
    pub storage: StorageOptions,
    /// How long the client waits for a reply.
    pub patience: Span,
    /// How long it thinks before the next request.
    pub think: Span,
    /// Do both sides write a log file?
    pub record: bool,
    /// Console bytes come this often; `None`: never.
    pub typing: Option<Span>,
    /// Inputs also reach the side that is not live, of a thousand.
    pub stray_permille: u64,
    /// Slices that the host interrupts, of a thousand.
    pub cut_permille: u64,
    /// How long anything may go wrong.
    pub unsafe_for: Span,
    /// Replies demanded after the world is healed.
    pub replies: u64,
    /// Then the client switches the guest off.
    pub power_off: bool,
    /// Faults at times.
    pub timed: Vec<(Time, Fault)>,
    /// Faults at doings.
    pub armed: Vec<Armed>,
    /// They also happen in the healed world: a sweep kills at every point up to the end.
    pub armed_for_ever: bool,
    /// Nobody listens to what the sides say to each other; only what the outside sees counts.
    pub deaf: bool,
}

const fn us(us: u64) -> Span {
    Span::from_us(us)
}

const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

impl Options {
    /// A world in which nothing goes wrong, for scenarios and sweeps.
    #[must_use]
    pub fn calm(seed: u64) -> Options {
        let datagrams = DatagramOptions {
            latency: (us(50), us(60)),
            loss_permille: 0,
            twice_permille: 0,
        };
        Options {
            seed,
            timeout: ms(100),
            digest_every: 200_000,
            speed: [100, 100],
            offset: [Span(0), Span(0)],
            drift_ppm: [0, 0],
            link: LinkOptions {
                latency: (us(50), us(100)),
                bytes_per_ms: 100_000,
            },
            heartbeats: datagrams.clone(),
            frames: datagrams,
            arbiter: ArbiterOptions {
                latency: (us(100), us(500)),
                lost_permille: 0,
                apart: false,
            },
            storage: StorageOptions {
                latency: (us(50), us(500)),
                fail_permille: 0,
                fenced: true,
                caches: CacheOptions {
                    access: Access::Direct,
                    reopens: true,
                    passes_flushes: true,
                    drive_forgets: false,
                },
            },
            patience: ms(200),
            think: ms(2),
            record: true,
            typing: None,
            stray_permille: 0,
            cut_permille: 0,
            unsafe_for: ms(200),
            replies: 3,
            power_off: true,
            timed: Vec::new(),
            armed: Vec::new(),
            armed_for_ever: false,
            deaf: false,
        }
    }

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
            ..Options::calm(seed)
        };
        options.link.latency = (random.span(us(10), us(300)), random.span(us(300), ms(10)));
        options.storage.latency = (random.span(us(10), us(300)), random.span(us(300), ms(400)));
        options.arbiter.latency = (random.span(us(50), us(300)), random.span(us(300), ms(100)));
        options.heartbeats.latency = (us(20), random.span(us(30), ms(50)));
        options.frames.latency = (us(20), random.span(us(30), ms(10)));
        for side in 0..2 {
            if on(random) {
                options.offset[side] = random.span(ms(1), ms(10_000_000));
                options.drift_ppm[side] = random.between(0, 20_000) as i64 - 10_000;
            }
            if on(random) {
                options.speed[side] = random.between(5, 200);
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
        // Drawn apart, so that all else of a seed stays what it was.
        options.arbiter.apart = Random::new(seed ^ 0xa9a7).permille(100);
        options.draw_cache_faults();
        options
    }

    fn draw_faults(&mut self, random: &mut Random) {
        let end = Span(self.unsafe_for.0 - 1);
        // Half of the worlds have all their faults at about the same time: one hides in the middle of another.
        let storm = random.permille(500).then(|| random.below(end.0));
        let width = 2 * self.timeout.0;
        let at = move |random: &mut Random| match storm {
            Some(begin) => Time((begin + random.below(width)).min(end.0)),
            None => Time(random.below(end.0)),
        };
        let long = Span(3 * self.timeout.0);
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
                let side = random.pick(&Side::BOTH);
                let span = random.span(ms(1), long);
                let fault = match kind {
                    0 => Fault::Crash(side, random.pick(&[Death::Process, Death::Host])),
                    1 => Fault::Stall(side, span),
                    2 => Fault::Cut(side, span),
                    3 => Fault::CutBoth(span),
                    4 => Fault::Reset,
                    5 => Fault::HeartbeatsLost(span),
                    6 => Fault::ArbiterAway(Span(2 * span.0)),
                    7 => Fault::DiskAway(span),
                    8 => Fault::LinkStuck(side, span),
                    9 => Fault::PortsLost(side, span),
                    _ => Fault::Slow(side, random.between(20, 900)),
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
                .push((at(random), Fault::Leave(random.pick(&Side::BOTH))));
        }
        if random.permille(30) {
            let side = random.pick(&Side::BOTH);
            self.timed.push((at(random), Fault::Crash(side, Death::Host)));
        }
        self.timed.sort_by_key(|(at, _)| *at);
    }

    fn draw_cache_faults(&mut self) {
        self.storage.caches = StorageOptions::draw_caches(self.seed);
        let faults = StorageOptions::draw_faults(self.seed, self.unsafe_for);
        self.timed.extend(faults);
        self.timed.sort_by_key(|(at, _)| *at);
    }

    fn arm_or_time(&mut self, random: &mut Random, fault: Fault, at: impl Fn(&mut Random) -> Time) {
        let tied = random.permille(500);
        let number = random.span(Span(1), Span(2000)).0;
        let trigger = match random.below(3) {
            0 => Trigger::Action(number),
            1 => Trigger::Entry(number),
            _ => Trigger::Deed(number / 4 + 1),
        };
        match fault {
            Fault::Crash(side, _) if tied => self.armed.push(Armed { side, trigger, fault }),
            Fault::Stall(side, _) if tied => {
                self.armed.push(Armed {
                    side,
                    trigger: Trigger::Action(number),
                    fault,
                });
            }
            fault => self.timed.push((at(random), fault)),
        }
    }
}

fn show(span: Span) -> String {
    format!("{}.{:03} ms", span.0 / 1_000_000, span.0 / 1000 % 1000)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(side, Death::Process) => write!(f, "{side}'s process dies"),
            Fault::Crash(side, Death::Host) => write!(f, "{side}'s host dies"),
            Fault::Stall(side, span) => write!(f, "{side} stands still for {}", show(*span)),
            Fault::Cut(side, span) => write!(f, "path towards {side} cut for {}", show(*span)),
            Fault::CutBoth(span) => write!(f, "path cut for {}", show(*span)),
            Fault::LinkStuck(side, span) => write!(f, "link towards {side} stuck for {}", show(*span)),
            Fault::PortsLost(side, span) => write!(f, "{side}'s ports lead nowhere for {}", show(*span)),
            Fault::Leave(side) => write!(f, "operator: {side} shall leave"),
            Fault::Reset => write!(f, "link reset"),
            Fault::HeartbeatsLost(span) => write!(f, "heartbeats lost for {}", show(*span)),
            Fault::ArbiterAway(span) => write!(f, "arbiter away for {}", show(*span)),
            Fault::DiskAway(span) => write!(f, "disk away for {}", show(*span)),
            Fault::Slow(side, permille) => write!(f, "{side} runs at {permille} thousandths"),
            Fault::Operator(control) => write!(f, "operator: {control:?}"),
            Fault::FlushFails(side) => write!(f, "{side}'s next flush fails"),
            Fault::PowerCut => write!(f, "power cut: hosts and drive"),
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: timeout {}, anything goes for {}",
            self.seed,
            show(self.timeout),
            show(self.unsafe_for)
        )?;
        writeln!(
            f,
            "  speed {:?} steps/us, clocks {:?} ppm, digest every {} steps",
            self.speed, self.drift_ppm, self.digest_every
        )?;
        let (low, high) = self.link.latency;
        writeln!(
            f,
            "  link {} to {}, {} bytes/ms",
            show(low),
            show(high),
            self.link.bytes_per_ms
        )?;
        let (low, high) = self.storage.latency;
        writeln!(
            f,
            "  disk {} to {}, fails {}/1000, {:?}",
            show(low),
            show(high),
            self.storage.fail_permille,
            self.storage.caches.access
        )?;
        let (low, high) = self.arbiter.latency;
        writeln!(
            f,
            "  arbiter {} to {}, answers lost {}/1000{}",
            show(low),
            show(high),
            self.arbiter.lost_permille,
            if self.arbiter.apart {
                ", another one for B"
            } else {
                ""
            }
        )?;
        for (name, path) in [("heartbeats", &self.heartbeats), ("frames", &self.frames)] {
            let (low, high) = path.latency;
            writeln!(
                f,
                "  {name} {} to {}, lost {}/1000, twice {}/1000",
                show(low),
                show(high),
                path.loss_permille,
                path.twice_permille
            )?;
        }
        writeln!(
            f,
            "  client waits {}, thinks {}, {} replies, then {}",
            show(self.patience),
            show(self.think),
            self.replies,
            if self.power_off { "off" } else { "quiet" }
        )?;
        for (at, fault) in &self.timed {
            writeln!(f, "  at {}: {fault}", show(Span(at.0)))?;
        }
        for armed in &self.armed {
            writeln!(f, "  at {}'s {:?}: {}", armed.side, armed.trigger, armed.fault)?;
        }
        Ok(())
    }
}
