//! `run`: a VM that runs alone, and with a log is recorded. It opens what the spec names, enters the sandbox,
//! builds the guest and has `drive` run it. Also what all commands that run a guest share.
//!
//! No thread may start before the sandbox is entered, and no guest before its disks are locked.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use machine::Config;
use replica::{
    Epoch, Guest, Header, Hello, MayOwn, Node, Notice, OnSlow, Options, PairOptions, PeerId, Side,
};

use crate::drive::{Outcome, drive};
use crate::log_file::LogFile;
use crate::origin::{Origin, OriginError};
use crate::ownership::{Ownership, lock_locally};
use crate::protection::Protection;
use crate::spec::{Alone, ProtectSpec, SetupError, VmSpec};
use crate::watch::Watch;
use crate::witness::Witness;
use crate::world::World;
use crate::world_error::WorldError;
use arbiter::{ArbiterError, LocalError, LocalLock};
use disk::{Access, Disk, Holder, LockError};
use link::{LinkError, Security};
use os::entropy;
use os::signals::Signals;
use os::sys::clock;

/// The name of the link that a process has before its node, if it has one; later links have higher numbers.
pub(crate) const FORMED: PeerId = PeerId(0);

/// Why a VM did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The VM cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The snapshot from which the VM is to go on is of no use.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The VM's machine cannot be built.
    #[error("the machine cannot be built: {0}")]
    Build(String),
    /// A disk belongs to another VM or process.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The VM runs on this host already.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// There is no link to the peer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The arbiter is of no use.
    #[error(transparent)]
    Arbiter(#[from] ArbiterError),
    /// The link is there, but no pair comes about.
    #[error("no pair with {peer}: {failure}")]
    Handshake {
        /// Address of the other half.
        peer: std::net::SocketAddr,
        /// What the handshake failed of.
        failure: replica::Failure,
    },
    /// This host was to wait for a VM only for a while.
    #[error("no VM has come that this host could be the backup of")]
    NobodyCame,
    /// The VM ran, but cannot go on.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl RunError {
    /// Was a start refused because another process has the VM or its disk, so that nothing was changed?
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            RunError::Arbiter(error) => error.is_refusal(),
            RunError::Local(LocalError::Runs { .. }) | RunError::Lock(LockError::InUse { .. }) => true,
            _ => false,
        }
    }
}

/// Makes a guest of a configuration; the sentence of an error says what is wrong with it.
pub type Build<'a, G> = &'a mut dyn FnMut(&Config) -> Result<G, String>;

/// Runs a VM alone, and with `log` records it. With `origin` it goes on from that snapshot, which `build`
/// reads to its end.
///
/// # Errors
/// The VM cannot be set up, or cannot go on.
pub fn run<G: Guest>(
    spec: &VmSpec,
    log: Option<&Path>,
    origin: Option<&Origin>,
    build: Build<'_, G>,
) -> Result<Outcome, RunError> {
    let owner = entropy::random_u128();
    // Before a signal is only noted: whoever does not want to wait for a backup's claim ends this process.
    // The watcher gets none of what is opened after this.
    let watch = watch(spec.protect.as_ref(), None);
    let (mut ownership, ended, _lock) = reserve(spec, owner)?;
    let signals = Signals::catch().map_err(WorldError::Poll)?;
    let boot = origin.map_or_else(|| spec.boot(), |origin| Ok(origin.boot.clone()))?;
    let protection = spec.protect.as_ref().filter(|_| ownership.is_some());
    let disks = open_disks(spec, protection)?;
    lock_all(spec, &disks, (Epoch(0), ended), owner)?;
    let ports = spec.open_ports()?;
    let log = log
        .map(|path| LogFile::make(path).map_err(WorldError::Log))
        .transpose()?;
    let security = protection.map(ProtectSpec::security).transpose();
    let security = security.map_err(SetupError::from)?;
    let fresh = |boot| Ok(spec.config(boot, &disks));
    let config = origin.map_or_else(|| fresh(boot), |origin| origin.config(&disks))?;
    let _entered = spec.enter_sandbox(None)?;
    let guest = build(&config).map_err(RunError::Build)?;
    let epoch = claim(spec, ownership.as_mut())?;
    let set_up = || -> Result<World, RunError> {
        if let Some(epoch) = epoch {
            lock_all(spec, &disks, (epoch, Epoch(0)), owner)?;
        }
        Ok(spec.world(owner, &config, disks, ports, true, Some(signals))?)
    };
    let mut world = set_up().inspect_err(|_| {
        if let (Some(ownership), Some(epoch)) = (&mut ownership, epoch) {
            ownership.give_up(spec, MayOwn::Epoch(epoch));
        }
    })?;
    // The sign of life is kept until the end of this function, when nothing is live any more.
    let (arbiter, _sign) = match ownership.map(Ownership::part) {
        Some((arbiter, sign)) => (Some(arbiter), sign),
        None => (None, None),
    };
    let timeout_only = protection.is_none_or(|protect| protect.timeout_only);
    let notice = spec.notice(timeout_only, watch.is_there());
    let protect = |(protect, security)| protect_with(spec, protect, security, owner, &config, None);
    world.protection = protection.zip(security).map(protect);
    world.watch = watch;
    if let Alone::Arbiter { place, .. } = &spec.alone {
        world.reporter.begins_at(&place.to_string());
    }
    if let (Some(epoch), Some(arbiter)) = (epoch, arbiter) {
        world.own(epoch, arbiter);
    }
    let mut options = Options {
        digest_every: spec.digest_every,
        record: None,
        asleep: origin.map(Origin::asleep).unwrap_or_default(),
    };
    if let Some(log) = log {
        world.log = Some(log.start().map_err(WorldError::Log)?);
        options.record = Some(VmSpec::header(&config));
    }
    let guest = Witness::new(guest);
    let Some(epoch) = epoch else {
        return Ok(drive(Node::solo(guest, clock::now(), options), world)?);
    };
    let options = of_owner(protection, (epoch, owner), notice, options);
    Ok(drive(Node::owner(guest, clock::now(), options), world)?)
}

/// How a process runs its guest that has an epoch, and may get a backup by `protection`.
fn of_owner(
    protection: Option<&ProtectSpec>,
    (epoch, owner): (Epoch, u128),
    notice: Notice,
    run: Options,
) -> PairOptions {
    PairOptions {
        epoch,
        owner,
        primary: owner,
        backup: 0,
        peer: FORMED,
        timeout: protection.map_or(replica::limits::TIMEOUT_DEFAULT, |protect| protect.timeout),
        notice,
        on_slow: protection.map_or_else(OnSlow::default, |protect| protect.on_slow),
        run,
    }
}

/// Opens the disks of a VM that runs alone. One that can get a backup uses them from the start as a pair
/// does: what its guest was told is written must be there for the other host, and a file stays as it was
/// opened.
fn open_disks(spec: &VmSpec, protection: Option<&ProtectSpec>) -> Result<Vec<Disk>, SetupError> {
    if protection.is_none() {
        return spec.open_disks(Access::Solo);
    }
    let disks = spec.open_disks(Access::Pair)?;
    disks.iter().for_each(Disk::set_alone);
    Ok(disks)
}

/// The watcher of a process that may get a backup later. `own`: the socket for the heartbeats of the link
/// that the process begins with.
pub(crate) fn watch(protect: Option<&ProtectSpec>, own: Option<UdpSocket>) -> Watch {
    let anybody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    protect.map_or_else(Watch::default, |protect| {
        Watch::start(protect.watcher(), anybody, own)
    })
}

/// What lets the VM of this process get a backup while it runs. `header`: what names the machine of `config`,
/// if that is known; to read all images again may take longer than a peer waits.
pub(crate) fn protect_with(
    spec: &VmSpec,
    protect: &ProtectSpec,
    security: Security,
    owner: u128,
    config: &Config,
    header: Option<Header>,
) -> Protection {
    let me = Hello {
        vm: spec.name.as_str().to_owned(),
        side: Side::Primary,
        owner,
        timeout: protect.timeout,
        header: Some(header.unwrap_or_else(|| VmSpec::header(config))),
        settings: protect.settings.clone(),
    };
    Protection::new(me, security, config.boot.clone(), FORMED.0)
}

/// What [`reserve`] gives.
type Reserved = (Option<Ownership>, Epoch, Option<LocalLock>);

/// Sees to it that the VM is not started twice: by its arbiter, whose last epoch, which is over, is the
/// second of the answers; or by a lock, which is to be kept to the end.
fn reserve(spec: &VmSpec, owner: u128) -> Result<Reserved, RunError> {
    Ok(match &spec.alone {
        Alone::Arbiter { place, patience } => {
            let mut ownership = Ownership::open(spec, place, owner)?;
            let ended = ownership.clear(spec, *patience)?;
            (Some(ownership), ended, None)
        }
        Alone::Locally => (None, Epoch(0), lock_locally(spec)?),
        Alone::Unchecked => (None, Epoch(0), None),
    })
}

/// Wins an epoch for the VM; `None`: it asks no arbiter.
fn claim(spec: &VmSpec, ownership: Option<&mut Ownership>) -> Result<Option<Epoch>, RunError> {
    match (ownership, &spec.alone) {
        (Some(ownership), Alone::Arbiter { patience, .. }) => Ok(Some(ownership.begin(spec, *patience)?)),
        _ => Ok(None),
    }
}

/// Makes this process the writer of all disks under `epoch`. The VM's epochs up to `ended` are over.
pub(crate) fn lock_all(
    spec: &VmSpec,
    disks: &[Disk],
    (epoch, ended): (Epoch, Epoch),
    owner: u128,
) -> Result<(), LockError> {
    let holder = Holder {
        vm: spec.name.clone(),
        epoch,
        owner,
    };
    disks.iter().try_for_each(|disk| disk.lock_after(&holder, ended))
}
