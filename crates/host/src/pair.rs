//! `primary` and `backup`: the two halves of a pair, from the first call to the end of the guest. The program
//! calls one of them; each opens what its VM needs, meets the other one over a link (`meeting`), and has
//! `drive` run the node that comes of it.
//!
//! The order here is a matter of safety: disks are locked under an epoch only after that epoch is won, no
//! stranger is listened to before the sandbox is entered, and no machine is built on disks that the other
//! side may not see.

mod meeting;

use std::os::fd::AsFd;
use std::time::Duration;

use machine::{Boot, Config};
use replica::{
    Answered, Caller, Epoch, Guest, HandshakeEvent, Hello, ImageId, Node, Notice, Options, PairOptions, Side,
    Start, Verdict, Wanted,
};

pub use meeting::Pairing;
use meeting::datagrams_at;
pub(crate) use meeting::{Formed, Party, meet};

use crate::drive::{Outcome, drive};
use crate::owned::Owned;
use crate::ownership::Ownership;
use crate::run::{Build, FORMED, RunError, lock_all, protect_with, watch};
use crate::spec::{PairSpec, Ports, SetupError, VmSpec};
use crate::watch::Watch;
use crate::witness::Witness;
use crate::world::World;
use crate::world_error::WorldError;
use arbiter::{ArbiterError, Asker, SignOfLife};
use disk::{Access, Disk, Holder};
use link::connect::Pauses;
use link::{Arrival, Attempt, Link, Listener, Security, connect_from};
use os::entropy;
use os::error::chain;
use os::signals::Signals;
use os::sys::clock;
use os::wake::Waker;

/// Runs a VM as the primary of a pair: calls the backup, runs the guest, and if the backup fails runs it
/// alone.
///
/// # Errors
/// No pair comes about, or the guest cannot go on.
pub fn primary<G: Guest>(
    spec: &VmSpec,
    pair: &PairSpec,
    build: Build<'_, G>,
    tell: &mut dyn FnMut(&Pairing<'_>),
) -> Result<Outcome, RunError> {
    // The watcher gets none of what is opened after this.
    let watch = Watch::start(pair.watcher(), pair.address, None);
    let mut half = Half::open(spec, pair, Side::Primary, watch)?;
    let _entered = spec.enter_sandbox(Some(pair))?;
    half.ports
        .answer_callers(spec, &format!("it calls the backup {}", pair.address));
    let mut caller = Caller::new(half.owner);
    let called = half.call(&mut caller, build, tell);
    let (guest, config, formed) = called.inspect_err(|_| half.ownership.give_up(spec, caller.may_own()))?;
    tell(&Pairing::Paired {
        peer: formed.link.peer(),
        epoch: formed.start.epoch,
    });
    let options = half.options(&formed);
    let epoch = formed.start.epoch;
    let (mut world, _sign) = half.world(&config, formed, true)?;
    world.epoch = epoch;
    Ok(drive(
        Node::primary(Witness::new(guest), clock::now(), options),
        world,
    )?)
}

/// Runs a VM as the backup of a pair: waits for the primary, replays, and if the primary fails goes live.
///
/// # Errors
/// No pair comes about, or the guest cannot go on.
pub fn backup<G: Guest>(
    spec: &VmSpec,
    pair: &PairSpec,
    build: Build<'_, G>,
    tell: &mut dyn FnMut(&Pairing<'_>),
) -> Result<Outcome, RunError> {
    let datagrams = datagrams_at(pair.address);
    let copy = datagrams.as_ref().and_then(|socket| socket.try_clone().ok());
    let mut half = Half::open(spec, pair, Side::Backup, watch(spec.protect.as_ref(), copy))?;
    let mut listener = Listener::bind(pair.address, half.security.clone())?;
    if let Some(datagrams) = datagrams {
        listener.use_datagrams(datagrams);
    }
    // The sandbox is entered before the first stranger can call.
    let _entered = spec.enter_sandbox(Some(pair))?;
    half.ports.answer_callers(
        spec,
        &format!("it waits for the primary on {}", listener.address()),
    );
    tell(&Pairing::Listening(listener.address()));
    loop {
        let link = listener.accept(Some(half.signals.as_fd()), &mut |arrival| match arrival {
            Arrival::Refused(error) => tell(&Pairing::Refused(*error)),
            Arrival::Untold(count) => tell(&Pairing::RefusedMore(*count)),
        })?;
        let peer = link.peer();
        let mut party = Booting {
            half: &mut half,
            caller: None,
            built: None,
            build,
        };
        let formed = match party.meet(link) {
            // The caller is of another VM, or was stopped just then, or sees other disks. It has heard why;
            // this side goes on waiting for the right one.
            Err(error @ RunError::Handshake { .. }) => {
                tell(&Pairing::Refused(&error));
                continue;
            }
            other => other?,
        };
        let (guest, config) = party.machine()?;
        // The pair is formed, so nobody else may call.
        drop(listener);
        tell(&Pairing::Paired {
            peer,
            epoch: formed.start.epoch,
        });
        let options = half.options(&formed);
        let (world, _sign) = half.world(&config, formed, false)?;
        let node = Node::backup(Witness::new(guest), clock::now(), options);
        return Ok(drive(node, world)?);
    }
}

/// What a half of a pair has opened before it has met the other half.
pub(crate) struct Half {
    spec: VmSpec,
    pair: PairSpec,
    side: Side,
    /// The key of the links, which the sandbox keeps out of reach later.
    security: Security,
    /// This process: the random number by which arbiter, locks and peer know it.
    owner: u128,
    signals: Signals,
    ownership: Ownership,
    boot: Boot,
    disks: Vec<Disk>,
    ports: Ports,
    config: Config,
    /// Who tells the other side of this process's end.
    watch: Watch,
    /// What is told of it, and believed of the other side's.
    notice: Notice,
}

impl Half {
    /// What the backup of a guest that runs elsewhere opens, which has no image of it yet.
    pub(crate) fn of_running(
        spec: VmSpec,
        pair: PairSpec,
        signals: Signals,
        owner: u128,
        watch: Watch,
    ) -> Result<Half, RunError> {
        let ownership = Ownership::open(&spec, &pair.arbiter, owner)?;
        let security = pair.security().map_err(SetupError::from)?;
        let disks = spec.open_disks(Access::Pair)?;
        let ports = spec.open_ports()?;
        let boot = Boot::default();
        let config = spec.config(boot.clone(), &disks);
        let notice = spec.notice(pair.timeout_only, true);
        Ok(Half {
            spec,
            pair,
            side: Side::Backup,
            security,
            owner,
            signals,
            ownership,
            boot,
            disks,
            ports,
            config,
            watch,
            notice,
        })
    }

    /// The VM.
    pub(crate) fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// How this half and the other one find each other.
    pub(crate) fn pair(&self) -> &PairSpec {
        &self.pair
    }

    /// What wakes the guest thread.
    pub(crate) fn waker(&self) -> &Waker {
        self.ports.waker()
    }

    /// The signals by which the operator asks for the end.
    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Opens everything that takes rights which the sandbox will take away; starts no thread.
    fn open(spec: &VmSpec, pair: &PairSpec, side: Side, watch: Watch) -> Result<Half, RunError> {
        let signals = Signals::catch().map_err(WorldError::Poll)?;
        let owner = entropy::random_u128();
        let mut ownership = Ownership::open(spec, &pair.arbiter, owner)?;
        let ended = match side {
            // The wait is for nothing where this process claims the next epoch only when a new backup has
            // called.
            Side::Primary => ownership.clear(spec, Duration::ZERO)?,
            Side::Backup => Epoch(0),
        };
        let boot = spec.boot()?;
        let disks = spec.open_disks(Access::Pair)?;
        if side == Side::Primary {
            // A VM that runs somewhere is not started again: neither its disks nor its next epoch, which
            // its two halves may need soon, are taken away from it. Epoch 0 supersedes nobody.
            lock_all(spec, &disks, (Epoch(0), ended), owner)?;
        }
        let ports = spec.open_ports()?;
        let security = pair.security().map_err(SetupError::from)?;
        let config = spec.config(boot.clone(), &disks);
        let can_tell = side == Side::Backup || watch.is_there();
        let notice = spec.notice(pair.timeout_only, can_tell);
        Ok(Half {
            spec: spec.clone(),
            pair: pair.clone(),
            side,
            security,
            owner,
            signals,
            ownership,
            boot,
            disks,
            ports,
            config,
            watch,
            notice,
        })
    }

    /// Calls the backup until there is a pair.
    fn call<G: Guest>(
        &mut self,
        caller: &mut Caller,
        build: Build<'_, G>,
        tell: &mut dyn FnMut(&Pairing<'_>),
    ) -> Result<(G, Config, Formed), RunError> {
        let mut pauses = Pauses::new(self.pair.patience);
        // The machine is built once, however many calls it takes, and before a backup begins to wait for the
        // log.
        let machine = build(&self.config).map_err(RunError::Build)?;
        let mut party = Booting {
            built: Some((machine, self.config.clone())),
            half: self,
            caller: Some(caller),
            build,
        };
        loop {
            let half = &mut *party.half;
            let signals = &mut half.signals;
            let mut progress = |attempt: &Attempt<'_>| {
                tell(&Pairing::Calling {
                    attempt: attempt.number,
                    error: attempt.error,
                });
                signals.take() == 0
            };
            let (address, left) = (half.pair.address, pauses.left());
            let link = connect_from(address, &half.security, half.watch.socket(), left, &mut progress)?;
            match party.meet(link) {
                Err(error) if is_worth_another_call(&error) => {
                    tell(&Pairing::Calling {
                        attempt: 1,
                        error: &std::io::Error::other(chain(&error)),
                    });
                    if !pauses.pause() {
                        return Err(error);
                    }
                }
                other => {
                    let formed = other?;
                    let (guest, config) = party.machine()?;
                    return Ok((guest, config, formed));
                }
            }
        }
    }

    /// How the node of this half runs.
    pub(crate) fn options(&self, formed: &Formed) -> PairOptions {
        PairOptions {
            epoch: formed.start.epoch,
            owner: self.owner,
            primary: formed.primary,
            backup: formed.backup,
            peer: FORMED,
            timeout: formed.start.timeout,
            notice: self.notice,
            on_slow: self.pair.on_slow,
            run: Options {
                digest_every: self.spec.digest_every,
                record: None,
                ..Options::default()
            },
        }
    }

    /// The world around the node, with link and arbiter, and the sign that this process lives.
    pub(crate) fn world(
        self,
        config: &Config,
        formed: Formed,
        live: bool,
    ) -> Result<(World, Option<SignOfLife>), RunError> {
        let link = formed.link;
        let mut world = self.spec.world(
            self.owner,
            config,
            self.disks,
            self.ports,
            live,
            Some(self.signals),
        )?;
        let (arbiter, sign) = self.ownership.part();
        let asker = Asker::new(arbiter, self.spec.name.clone(), world.waker.clone());
        world.arbiter = Some(asker);
        world
            .reporter
            .introduce(link.peer(), &self.pair.arbiter.to_string());
        world.cables.look_for(self.pair.timeout);
        if let Some(protect) = &self.spec.protect {
            let header = Some(formed.start.header);
            let mut protection = protect_with(&self.spec, protect, self.security, self.owner, config, header);
            protection.last = live.then_some(self.pair.address);
            world.protection = Some(protection);
        }
        world.watch = self.watch;
        world.watch.meet(FORMED, &link);
        world.links.add(FORMED, link);
        world.owned = Some(Owned {
            epoch: formed.start.epoch,
            owner: formed.primary,
        });
        Ok((world, sign))
    }

    /// Asks the arbiter for what the caller wants.
    ///
    /// # Errors
    /// Another process has the VM.
    fn ask(&mut self, wanted: &Wanted) -> Result<Answered, ArbiterError> {
        let vm = &self.spec.name;
        let claim = match wanted {
            Wanted::AfterLast => {
                return match self.ownership.begin(&self.spec, Duration::ZERO) {
                    Ok(epoch) => Ok(Answered::Won(epoch)),
                    Err(error) if error.is_refusal() => Err(error),
                    Err(error) => {
                        tracing::error!("{}", chain(&error));
                        Ok(Answered::Unreachable)
                    }
                };
            }
            Wanted::Exactly(claim) => claim,
        };
        let answer = self.ownership.arbiter().claim(vm, claim);
        match answer.verdict {
            Verdict::Won => Ok(Answered::Won(claim.epoch)),
            Verdict::Lost { .. } => {
                let vm = vm.to_string();
                let epoch = claim.epoch.0;
                Err(ArbiterError::Overtaken { vm, epoch })
            }
            Verdict::Unreachable => {
                tracing::error!("{}", answer.reason.unwrap_or_default());
                Ok(Answered::Unreachable)
            }
        }
    }

    /// Are the arbiter and the disks here those on which the primary, `owner`, has claimed and locked
    /// `epoch`? If they only had the same path, both sides could go live.
    pub(crate) fn prove(&mut self, epoch: Epoch, owner: u128) -> HandshakeEvent {
        let vm = self.spec.name.clone();
        if let Err(error) = self.ownership.arbiter().check(&vm, epoch, owner) {
            return HandshakeEvent::NotShared(chain(&error));
        }
        let writer = Holder { vm, epoch, owner };
        match self.disks.iter().try_for_each(|disk| disk.check_writer(&writer)) {
            Ok(()) => HandshakeEvent::Proven,
            Err(error) => HandshakeEvent::NotShared(chain(&error)),
        }
    }

    /// Looks whether the disks here fit the guest.
    pub(crate) fn check_disks(&self, start: &Start) -> Result<(), String> {
        for (disk, guest) in self.disks.iter().zip(&start.header.disks) {
            disk.check(guest).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Does the primary call again though its talk with the backup has ended so?
fn is_worth_another_call(error: &RunError) -> bool {
    matches!(error, RunError::Handshake { failure, .. } if Caller::calls_again(failure))
}

/// A half of a pair whose guest boots, in its handshakes.
struct Booting<'a, 'b, G> {
    half: &'a mut Half,
    /// What decides about the primary's claims; `None`: this is the backup, which claims nothing.
    caller: Option<&'a mut Caller>,
    /// The machine of this side, and what it was built from; `None`: a backup's, which is built on the way.
    built: Option<(G, Config)>,
    build: Build<'b, G>,
}

impl<G: Guest> Booting<'_, '_, G> {
    /// Leads the handshake on a fresh link.
    fn meet(&mut self, link: Link) -> Result<Formed, RunError> {
        let half = &*self.half;
        let me = Hello {
            vm: half.spec.name.as_str().to_owned(),
            side: half.side,
            owner: half.owner,
            timeout: half.pair.timeout,
            header: Some(VmSpec::header(&half.config)),
            settings: String::new(),
        };
        meet(link, me, self)
    }

    /// The machine of this side, now that the pair is formed.
    fn machine(self) -> Result<(G, Config), RunError> {
        self.built
            .ok_or_else(|| RunError::Build("it was not asked for".into()))
    }
}

impl<G: Guest> Party for Booting<'_, '_, G> {
    fn signals(&self) -> &Signals {
        &self.half.signals
    }

    fn consider(&mut self, _: &Hello) -> Result<Vec<ImageId>, String> {
        Err("this side knows its VM already".to_owned())
    }

    fn claim(&mut self) -> Result<HandshakeEvent, RunError> {
        let Some(caller) = self.caller.as_deref_mut() else {
            return Ok(HandshakeEvent::ArbiterUnreachable);
        };
        let half = &mut *self.half;
        let answer = half.ask(&caller.ask()).inspect_err(|_| {
            caller.answered(Answered::Refused);
        })?;
        let event = caller.answered(answer);
        if let Answered::Won(epoch) = answer {
            lock_all(&half.spec, &half.disks, (epoch, Epoch(0)), half.owner)?;
        }
        Ok(event.unwrap_or(HandshakeEvent::ArbiterUnreachable))
    }

    fn prove(&mut self, epoch: Epoch, owner: u128) -> HandshakeEvent {
        self.half.prove(epoch, owner)
    }

    fn build(&mut self, start: &Start) -> Result<(), String> {
        self.half.check_disks(start)?;
        let config = start.header.config(self.half.boot.clone());
        let config = config.map_err(|error| error.to_string())?;
        self.built = Some(((self.build)(&config)?, config));
        Ok(())
    }
}
