//! `primary` and `backup`: the two halves of a pair, from the first call to the end of the guest. The program
//! calls one of them; each opens what its VM needs, carries out the actions of a `Handshake` over the link,
//! and has `drive` run the node that comes of it.
//!
//! The order here is a matter of safety: disks are locked under an epoch only after that epoch is won, no
//! stranger is listened to before the sandbox is entered, and no machine is built on disks that the other
//! side may not see.

mod meeting;

use std::os::fd::AsFd;
use std::time::Duration;

use machine::{Boot, Config};
use replica::{
    Claim, ClaimKind, Epoch, Guest, Handshake, HandshakeAction, HandshakeEvent, Hello, Node, Notice, Options,
    PairOptions, Side, Start, Verdict,
};

pub use meeting::Pairing;
use meeting::datagrams_at;
pub(crate) use meeting::{Formed, next_message};

use crate::drive::{Outcome, drive};
use crate::owned::Owned;
use crate::ownership::Ownership;
use crate::run::{Build, FORMED, RunError, lock_all, protect_with, watch};
use crate::spec::{PairSpec, Ports, SetupError, VmSpec};
use crate::watch::Watch;
use crate::witness::Witness;
use crate::world::World;
use crate::world_error::WorldError;
use arbiter::{Arbiter, ArbiterError, Asker, SignOfLife};
use disk::{Access, Disk, Holder};
use link::connect::Pauses;
use link::{Arrival, Attempt, Link, Listener, Security, connect_from};
use os::entropy;
use os::error::chain;
use os::limits::LAST_WORDS_PATIENCE;
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
    let (guest, config, formed) = match half.call(build, tell) {
        Ok(formed) => formed,
        Err(error) => {
            if let Some(epoch) = half.epoch {
                half.ownership.give_up(spec, epoch);
            }
            return Err(error);
        }
    };
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
        let (guest, config, formed) = match half.shake_hands(link, &mut None, build) {
            // The caller is of another VM, or was stopped just then, or sees other disks. It has heard why;
            // this side goes on waiting for the right one.
            Err(error @ RunError::Handshake { .. }) => {
                tell(&Pairing::Refused(&error));
                continue;
            }
            other => other?,
        };
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
pub(crate) struct Half<'a> {
    spec: &'a VmSpec,
    pair: &'a PairSpec,
    side: Side,
    /// The key of the links, which the sandbox keeps out of reach later.
    security: Security,
    /// This process: the random number by which arbiter, locks and peer know it.
    owner: u128,
    /// Primary: the epoch that this process has won for an earlier call; `None`: none yet. A backup has none.
    epoch: Option<Epoch>,
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

impl<'a> Half<'a> {
    /// What the backup of a guest that runs elsewhere opens, which has no image of it yet.
    pub(crate) fn of_running(
        spec: &'a VmSpec,
        pair: &'a PairSpec,
        signals: Signals,
        owner: u128,
        watch: Watch,
    ) -> Result<Half<'a>, RunError> {
        let ownership = Ownership::open(spec, &pair.arbiter, owner)?;
        let security = pair.security().map_err(SetupError::from)?;
        let disks = spec.open_disks(Access::Pair)?;
        let ports = spec.open_ports()?;
        let boot = Boot::default();
        let config = spec.config(boot.clone(), &disks);
        Ok(Half {
            spec,
            pair,
            side: Side::Backup,
            security,
            owner,
            epoch: None,
            signals,
            ownership,
            boot,
            disks,
            ports,
            config,
            watch,
            notice: spec.notice(pair.timeout_only, true),
        })
    }

    /// How this half and the other one find each other.
    pub(crate) fn pair(&self) -> &PairSpec {
        self.pair
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
    fn open(spec: &'a VmSpec, pair: &'a PairSpec, side: Side, watch: Watch) -> Result<Half<'a>, RunError> {
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
            spec,
            pair,
            side,
            security,
            owner,
            epoch: None,
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
        build: Build<'_, G>,
        tell: &mut dyn FnMut(&Pairing<'_>),
    ) -> Result<(G, Config, Formed), RunError> {
        let mut pauses = Pauses::new(self.pair.patience);
        // The machine is built once, however many calls it takes, and before a backup begins to wait for the
        // log.
        let mut built = Some((build(&self.config).map_err(RunError::Build)?, self.config.clone()));
        loop {
            let signals = &mut self.signals;
            let mut progress = |attempt: &Attempt<'_>| {
                tell(&Pairing::Calling {
                    attempt: attempt.number,
                    error: attempt.error,
                });
                signals.take() == 0
            };
            let (address, left) = (self.pair.address, pauses.left());
            let link = connect_from(address, &self.security, self.watch.socket(), left, &mut progress)?;
            match self.shake_hands(link, &mut built, build) {
                // The backup may have been stopped just then, and another one may listen there soon: call
                // again.
                Err(error) if error.is_broken_off() => {
                    tell(&Pairing::Calling {
                        attempt: 1,
                        error: &std::io::Error::other(chain(&error)),
                    });
                    if !pauses.pause() {
                        return Err(error);
                    }
                }
                other => return other,
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
        let asker = Asker::new(Box::new(arbiter), self.spec.name.clone(), world.waker.clone());
        world.arbiter = Some(asker);
        world.reporter.introduce(link.peer(), &self.pair.arbiter);
        world.cables.look_for(self.pair.timeout);
        if let Some(protect) = &self.spec.protect {
            let header = Some(formed.start.header);
            let mut protection = protect_with(self.spec, protect, self.security, self.owner, config, header);
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

    /// Leads the handshake on a fresh link, until there is a pair and a machine on this side. `built` holds
    /// the primary's machine, which stays there if no pair comes about; a backup's is built on the way.
    fn shake_hands<G: Guest>(
        &mut self,
        mut link: Link,
        built: &mut Option<(G, Config)>,
        build: Build<'_, G>,
    ) -> Result<(G, Config, Formed), RunError> {
        let hello = Hello {
            vm: self.spec.name.as_str().to_owned(),
            side: self.side,
            owner: self.owner,
            timeout: self.pair.timeout,
            header: Some(VmSpec::header(&self.config)),
            settings: String::new(),
        };
        let mut handshake = Handshake::new(clock::now(), hello);
        loop {
            while let Some(action) = handshake.poll() {
                let now = clock::now();
                match action {
                    HandshakeAction::Send(message) => {
                        let sent = link.send(&message).and_then(|()| link.drain(LAST_WORDS_PATIENCE));
                        if sent.is_err() {
                            handshake.handle(now, HandshakeEvent::LinkLost);
                        }
                    }
                    HandshakeAction::AskNext { owner } => {
                        let event = self.claim_next(owner)?;
                        handshake.handle(clock::now(), event);
                    }
                    HandshakeAction::Prove { epoch, owner } => {
                        let event = self.prove(epoch, owner);
                        handshake.handle(clock::now(), event);
                    }
                    HandshakeAction::Build(start) => {
                        let event = match self.build_backup(&start, build) {
                            Ok(guest) => {
                                *built = Some(guest);
                                HandshakeEvent::Built
                            }
                            Err(why) => HandshakeEvent::BuildFailed(why),
                        };
                        handshake.handle(clock::now(), event);
                    }
                    HandshakeAction::Done {
                        start,
                        primary,
                        backup,
                    } => {
                        // `Done` comes after `Build` was answered with `Built`.
                        let Some((guest, config)) = built.take() else {
                            return Err(RunError::Build("it was not asked for".into()));
                        };
                        return Ok((guest, config, Formed::new(link, start, (primary, backup))?));
                    }
                    // A half that knows its VM considers none, and one that boots supplies nobody.
                    HandshakeAction::Consider(_) | HandshakeAction::Supply { .. } => {}
                    HandshakeAction::Failed(failure) => {
                        let peer = link.peer();
                        return Err(RunError::Handshake { peer, failure });
                    }
                }
            }
            next_message(&mut link, &mut handshake, &self.signals)?;
        }
    }

    /// Claims the epoch after the last one, which must be closed, and locks the disks under it. A primary
    /// that has won an epoch for an earlier call claims exactly the next one.
    fn claim_next(&mut self, owner: u128) -> Result<HandshakeEvent, RunError> {
        let vm = &self.spec.name;
        let Some(last) = self.epoch else {
            return match self.ownership.begin(self.spec, Duration::ZERO) {
                Ok(epoch) => self.granted(epoch),
                Err(error) if error.is_refusal() => Err(error.into()),
                Err(error) => {
                    tracing::error!("{}", chain(&error));
                    Ok(HandshakeEvent::ArbiterUnreachable)
                }
            };
        };
        let epoch = last.next();
        let claim = Claim {
            epoch,
            owner,
            after: Some(owner),
            heirs: Vec::new(),
            kind: ClaimKind::Start,
        };
        let answer = self.ownership.arbiter().claim(vm, &claim);
        match answer.verdict {
            Verdict::Won => self.granted(epoch),
            // A backup that this process has told of its last epoch may have become live by claiming this
            // one: then the VM runs there.
            Verdict::Lost { .. } => {
                let vm = vm.to_string();
                let epoch = epoch.0;
                Err(ArbiterError::Overtaken { vm, epoch }.into())
            }
            Verdict::Unreachable => {
                tracing::error!("{}", answer.reason.unwrap_or_default());
                Ok(HandshakeEvent::ArbiterUnreachable)
            }
        }
    }

    /// Locks the disks under an epoch that this process has won.
    fn granted(&mut self, epoch: Epoch) -> Result<HandshakeEvent, RunError> {
        self.epoch = Some(epoch);
        lock_all(self.spec, &self.disks, (epoch, Epoch(0)), self.owner)?;
        Ok(HandshakeEvent::Granted(epoch))
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

    /// Builds the backup's machine from the primary's header, after a look whether the disks here fit it.
    fn build_backup<G: Guest>(&self, start: &Start, build: Build<'_, G>) -> Result<(G, Config), String> {
        self.check_disks(start)?;
        let config = start
            .header
            .config(self.boot.clone())
            .map_err(|error| error.to_string())?;
        Ok((build(&config)?, config))
    }
}
