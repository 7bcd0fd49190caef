//! The options of a world: how it behaves when all is well, and what goes wrong in it.
//!
//! A seed draws them (`draw.rs`) before the world begins, and they are printed above each trace; a scenario
//! begins with those of a calm world. Two worlds with equal options are equal: nothing else may enter a
//! world.

use std::fmt;

use replica::{Notice, Span, Time};
use toy_site::SiteOptions;

use toy_outside::{
    arbiter::ArbiterOptions,
    cache::{Access, CacheOptions},
    names::{HostId, ProcessId},
    network::{DatagramOptions, LinkOptions},
    storage::StorageOptions,
};

use crate::{
    faults::{Armed, Death, Fault, InClone, Part, show},
    founder::FounderOptions,
    host::{Drift, HostOptions},
    keeper::KeeperOptions,
};

/// How a world behaves when all is well, and what goes wrong in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed from which all draws of the world come.
    pub seed: u64,
    /// The failure-detection timeout of all processes.
    pub timeout: Span,
    /// Steps between two digests in the log.
    pub digest_every: u64,
    /// How each host is made.
    pub hosts: Vec<HostOptions>,
    /// The hosts on which the two processes of the first pair run.
    pub homes: [HostId; 2],
    /// How links behave when they are well.
    pub link: LinkOptions,
    /// How heartbeats fare.
    pub heartbeats: DatagramOptions,
    /// How frames between client and guest fare.
    pub frames: DatagramOptions,
    /// How the arbiter behaves.
    pub arbiter: ArbiterOptions,
    /// How the disk behaves.
    pub storage: StorageOptions,
    /// How long the client waits for a reply before it asks again.
    pub patience: Span,
    /// How long the client thinks before its next request.
    pub think: Span,
    /// Longest time in which a host draws random bytes.
    pub entropy: Span,
    /// Do all processes write a log file?
    pub record: bool,
    /// How the first pair is formed; `None`: the world begins with a pair that has just been formed.
    pub founder: Option<FounderOptions>,
    /// How the guest is protected again after a failover; `None`: it is not.
    pub keeper: Option<KeeperOptions>,
    /// How the agents behave that look after the guest in the keeper's place; `None`: the keeper does, or
    /// nobody. There can be none without a keeper's options, which say how bulk links behave.
    pub site: Option<SiteOptions>,
    /// How often somebody types at the console; `None`: never.
    pub typing: Option<Span>,
    /// How many of a thousand inputs also reach the processes that have not the guest's address.
    pub stray_permille: u64,
    /// How many of a thousand slices the host interrupts at random.
    pub cut_permille: u64,
    /// How long anything may go wrong; then the world is healed.
    pub unsafe_for: Span,
    /// How many replies are demanded after the world is healed.
    pub replies: u64,
    /// Does the client switch the guest off after these replies?
    pub power_off: bool,
    /// Faults that happen at a time, in order.
    pub timed: Vec<(Time, Fault)>,
    /// Faults that are tied to what a process does.
    pub armed: Vec<Armed>,
    /// Faults that are tied to the course of a clone.
    pub in_clone: Vec<InClone>,
    /// Do tied faults also happen in the healed world? A sweep kills at every point up to the end.
    pub armed_for_ever: bool,
    /// Must a clone not stop the guest? In a world in which anything may go wrong much else does.
    pub calm: bool,
    /// What the hosts tell of a process that ends, and its backup believes.
    pub notice: Notice,
    /// Is the check off that listens to the talk between processes, so that only what the outside sees
    /// counts?
    pub deaf: bool,
}

/// Microseconds.
pub(crate) const fn us(us: u64) -> Span {
    Span::from_us(us)
}

/// Milliseconds.
pub(crate) const fn ms(ms: u64) -> Span {
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
            hosts: vec![
                HostOptions {
                    speed: 100,
                    clock: Drift {
                        offset: Span(0),
                        ppm: 0,
                    },
                };
                2
            ],
            homes: [HostId(0), HostId(1)],
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
            entropy: ms(1),
            record: true,
            founder: None,
            keeper: None,
            site: None,
            typing: None,
            stray_permille: 0,
            cut_permille: 0,
            unsafe_for: ms(200),
            replies: 3,
            power_off: true,
            timed: Vec::new(),
            armed: Vec::new(),
            in_clone: Vec::new(),
            armed_for_ever: false,
            calm: true,
            notice: Notice::TimeoutOnly,
            deaf: false,
        }
    }
}

impl Options {
    /// A world of three hosts in which nothing goes wrong but that three hosts die one after the other, each
    /// when the guest has been protected again, and return.
    #[must_use]
    pub fn calm_life(seed: u64) -> Options {
        let calm = Options::calm(seed);
        let at = |ms: u64| Time(Span::from_ms(ms).0);
        let dies = |number| Fault::Crash(ProcessId::nth(number), Death::Host);
        let [first, second] = calm.homes;
        Options {
            hosts: vec![calm.hosts[0]; 3],
            keeper: Some(KeeperOptions::default()),
            unsafe_for: ms(950),
            timed: vec![
                (at(100), dies(0)),
                (at(300), Fault::Return(first)),
                (at(350), dies(1)),
                (at(550), Fault::Return(second)),
                (at(600), dies(2)),
                (at(800), Fault::Return(HostId(2))),
            ],
            ..calm
        }
    }

    /// A calm world in which the guest's backup is replaced, the two sides change their roles, the new backup
    /// is replaced in its turn, and the host with the guest dies.
    #[must_use]
    pub fn calm_moves(seed: u64) -> Options {
        let calm = Options::calm(seed);
        let at = |ms: u64| Time(Span::from_ms(ms).0);
        let owner = |fault| Part::Owner.gets(fault);
        // Whom a fault of a part names does not matter.
        let anyone = ProcessId::A;
        Options {
            hosts: vec![calm.hosts[0]; 4],
            keeper: Some(KeeperOptions::default()),
            unsafe_for: ms(650),
            timed: vec![
                (at(100), owner(Fault::Replace(anyone))),
                (at(200), owner(Fault::HandOver(anyone))),
                (at(300), owner(Fault::Replace(anyone))),
                (at(450), owner(Fault::Crash(anyone, Death::Host))),
            ],
            ..calm
        }
    }

    /// A calm world that begins without a pair.
    #[must_use]
    pub fn calm_forming(seed: u64) -> Options {
        Options {
            founder: Some(FounderOptions::default()),
            ..Options::calm(seed)
        }
    }

    /// One line for each who looks after the guest, and one for each fault.
    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(founder) = &self.founder {
            writeln!(f, "{founder}")?;
        }
        if let Some(keeper) = &self.keeper {
            writeln!(f, "{keeper}")?;
        }
        if let Some(site) = &self.site {
            writeln!(f, "{site}")?;
        }
        for (at, fault) in &self.timed {
            writeln!(f, "  at {}: {fault}", show(Span(at.0)))?;
        }
        for armed in &self.armed {
            writeln!(f, "  at {}'s {:?}: {}", armed.who, armed.trigger, armed.fault)?;
        }
        for InClone {
            clone,
            phase,
            after,
            fault,
        } in &self.in_clone
        {
            writeln!(f, "  in clone {clone}, {} after {phase:?}: {fault}", show(*after))?;
        }
        Ok(())
    }
}

impl Options {
    /// Speed of a host, in steps a microsecond. Hosts with agents have speeds of their own.
    #[must_use]
    pub fn speed(&self, host: HostId) -> u64 {
        let of_site = self.site.as_ref().and_then(|site| site.speeds.get(host.0));
        of_site.copied().unwrap_or(self.hosts[host.0].speed)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: timeout {}, anything goes for {}, death notices: {:?}",
            self.seed,
            show(self.timeout),
            show(self.unsafe_for),
            self.notice
        )?;
        let speeds: Vec<u64> = (0..self.hosts.len())
            .map(|host| self.speed(HostId(host)))
            .collect();
        let drifts: Vec<i64> = self.hosts.iter().map(|host| host.clock.ppm).collect();
        writeln!(
            f,
            "  speed {speeds:?} steps/us, clocks {drifts:?} ppm, digest every {} steps",
            self.digest_every
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
        self.write_faults(f)
    }
}
