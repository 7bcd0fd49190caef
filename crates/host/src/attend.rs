//! `attend`: a host that waits for whichever running VM comes, and becomes its backup (FT 3.1-c). The program
//! calls it for `lockstep backup --listen`; it answers, gathers the images that this host lacks, builds a
//! machine without a state, and has `drive` run an apprentice.
//!
//! Which disks, networks and arbiter the VM has is told by the VM, whose host has the key. So the sandbox can
//! be entered only once a VM has come; until then nothing is listened to but callers who must show the key.
//! No machine is built on disks or an arbiter that the VM's host may not see.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use machine::{Boot, Config};
use replica::{Epoch, Guest, HandshakeEvent, Header, Hello, How, ImageId, Node, Side, Span, Start};
use rustix::event::{PollFd, PollFlags, poll};

use crate::drive::{Outcome, drive};
use crate::header::FEATURES;
use crate::intake::Intake;
use crate::limits::{BULK_LINK_PATIENCE, IMAGE_READ_LEN};
use crate::pair::{Half, Pairing, Party, meet};
use crate::run::{Build, FORMED, RunError, watch};
use crate::spec::{FIRMWARE_PATHS, PairSpec, SetupError, VmSpec};
use crate::witness::Witness;
use crate::world_error::WorldError;
use link::bulk::Connection;
use link::{Arrival, Incoming, KeyFile, Link, Listener, Security, Token};
use os::entropy;
use os::error::chain;
use os::sandbox::{Entered, ServedLater};
use os::signals::Signals;
use os::sys::clock;

/// A host that waits for a VM, as its operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttendSpec {
    /// Where it listens.
    pub address: SocketAddr,
    /// File with the key that both hosts share; `None`: neither encrypted nor authenticated.
    pub key: Option<KeyFile>,
    /// The failure-detection timeout of this side; the pair has the longer one of both.
    pub timeout: Span,
    /// Directory in which images are kept by their content.
    pub images: PathBuf,
    /// How long it waits for a VM that it can be the backup of; `None`: until its operator ends it.
    pub patience: Option<Span>,
}

/// Makes the settings that a VM brings into what this host opens; the sentence of an error says what does not
/// fit.
pub type Consider<'a> = &'a mut dyn FnMut(&Hello) -> Result<(VmSpec, PairSpec), String>;

/// Waits for a VM that runs, becomes its backup, and if its primary fails goes live.
///
/// # Errors
/// Nobody can call, or the guest cannot go on.
pub fn attend<G: Guest>(
    attend: &AttendSpec,
    consider: Consider<'_>,
    build: Build<'_, G>,
    tell: &mut dyn FnMut(&Pairing<'_>),
) -> Result<Outcome, RunError> {
    let signals = Signals::catch().map_err(WorldError::Poll)?;
    let security = match &attend.key {
        Some(file) => Security::Key(file.load().map_err(SetupError::from)?),
        None => Security::Insecure,
    };
    let mut listener = Listener::bind(attend.address, security)?;
    tell(&Pairing::Listening(listener.address()));
    let until = attend.patience.map(|patience| clock::now().after(patience));
    loop {
        let mut progress = |arrival: &Arrival<'_>| show(arrival, tell);
        let link = listener.accept_until(until, Some(signals.as_fd()), &mut progress)?;
        let link = link.ok_or(RunError::NobodyCame)?;
        let peer = link.peer();
        let mut visit = Visit {
            attend,
            listener: &mut listener,
            signals: &signals,
            owner: entropy::random_u128(),
            here: Vec::new(),
            lacks: Vec::new(),
            confined: false,
            consider,
            build,
            datagrams: link.datagrams().ok(),
            later: None,
            half: None,
            ready: None,
        };
        let came = visit.receive(link, tell);
        match came {
            // The caller fits not, or was stopped just then. It has heard why; this side goes on waiting,
            // unless it is in the sandbox, where it could open no other VM's disks.
            Err(error @ RunError::Handshake { .. }) if !visit.confined => tell(&Pairing::Refused(&error)),
            other => {
                tracing::debug!("the visit of {peer} is over");
                return other;
            }
        }
    }
}

fn show(arrival: &Arrival<'_>, tell: &mut dyn FnMut(&Pairing<'_>)) {
    match arrival {
        Arrival::Refused(error) => tell(&Pairing::Refused(*error)),
        Arrival::Untold(count) => tell(&Pairing::RefusedMore(*count)),
    }
}

/// A caller, from its greeting to the end of its VM.
struct Visit<'a, G> {
    attend: &'a AttendSpec,
    listener: &'a mut Listener,
    signals: &'a Signals,
    /// This process, as it greets this caller.
    owner: u128,
    /// The images that this host has.
    here: Vec<(ImageId, Arc<[u8]>)>,
    /// The images that this host does not have.
    lacks: Vec<ImageId>,
    /// Has the process given up everything that this caller's VM does not need?
    confined: bool,
    consider: Consider<'a>,
    build: Build<'a, G>,
    /// The socket of the link's heartbeats, for the watcher of this process; `None`: the watcher has it, or
    /// the host gives no more descriptors.
    datagrams: Option<UdpSocket>,
    /// Kept while this host does what nobody waits for as clients for their guest; `None`: it does nothing of
    /// the kind.
    later: Option<ServedLater>,
    /// What the caller's VM has had this host open; `None`: nothing yet.
    half: Option<Half>,
    /// What is made ready for the caller's guest; `None`: nothing yet.
    ready: Option<Ready<G>>,
}

/// What this side has made ready for the caller's guest.
struct Ready<G> {
    guest: G,
    config: Config,
    intake: Intake,
    /// Keeps the sandbox's rules in force.
    _entered: Option<Entered>,
}

impl<G: Guest> Visit<'_, G> {
    /// Leads the handshake, and runs what comes of it.
    fn receive(&mut self, link: Link, tell: &mut dyn FnMut(&Pairing<'_>)) -> Result<Outcome, RunError> {
        // Much is to be loaded, hashed and placed, and nobody waits for that as clients for their guest.
        self.later = ServedLater::begin();
        let me = Hello {
            vm: String::new(),
            side: Side::Backup,
            owner: self.owner,
            timeout: self.attend.timeout,
            header: None,
            settings: String::new(),
        };
        let formed = meet(link, me, self)?;
        let (Some(half), Some(mut ready)) = (self.half.take(), self.ready.take()) else {
            return Err(RunError::Build("it was not asked for".into()));
        };
        tell(&Pairing::Paired {
            peer: formed.link.peer(),
            epoch: formed.start.epoch,
        });
        let options = half.options(&formed);
        let (mut world, _sign) = half.world(&ready.config, formed, false)?;
        ready.intake.serve_later(self.later.take());
        world.intake = Some(ready.intake);
        let node = Node::apprentice(Witness::new(ready.guest), clock::now(), options);
        Ok(drive(node, world)?)
    }

    /// Takes the bulk link, enters the sandbox, gets the images, and builds the machine without a state.
    fn make_ready(&mut self, start: &Start, half: &Half) -> Result<Ready<G>, String> {
        let How::Clone { token } = start.how else {
            return Err("a VM that boots is not taken here".to_owned());
        };
        half.check_disks(start)?;
        let connection = self.bulk_link(Token::new(token))?;
        self.confined = half.spec().sandbox;
        let entered = half
            .spec()
            .enter_sandbox_beside(half.pair(), &self.attend.images)
            .map_err(|error| chain(&error))?;
        let pages = u32::try_from(start.header.memory / machine::PAGE as u64).unwrap_or(u32::MAX);
        let waker = half.waker().clone();
        let mut intake = Intake::new(FORMED, connection, pages, waker).map_err(|error| error.to_string())?;
        self.await_images(&mut intake, half)?;
        let here = std::mem::take(&mut self.here);
        let image = |name: &ImageId| {
            let came = self.lacks.contains(name).then(|| intake.image(name)).flatten();
            let here = || here.iter().find(|(ours, _)| ours == name);
            came.or_else(|| here().map(|(_, bytes)| bytes.clone()))
                .unwrap_or_default()
        };
        let boot = Boot {
            firmware: image(&start.header.firmware),
            kernel: image(&start.header.kernel),
            initrd: image(&start.header.initrd),
            command_line: start.header.command_line.clone(),
        };
        self.keep(&intake);
        let config = start.header.config(boot).map_err(|error| error.to_string())?;
        Ok(Ready {
            guest: (self.build)(&config)?,
            config,
            intake,
            _entered: entered,
        })
    }

    /// The bulk link of this token, which the caller opens now.
    fn bulk_link(&mut self, token: Token) -> Result<Connection, String> {
        let tokens = self.listener.tokens();
        if !tokens.expect(token) {
            return Err("too many bulk links are expected here".to_owned());
        }
        // The owner may be gone by now, and then nobody else might call for a long time.
        let until = clock::now().after(BULK_LINK_PATIENCE);
        let stop = Some(self.signals.as_fd());
        let next = self.listener.next_until(until, stop, &mut |_| {});
        tokens.forget(&token);
        match next {
            Ok(Some(Incoming::Bulk(connection))) => Ok(connection),
            Ok(None) => Err("the bulk link did not come".to_owned()),
            Ok(Some(Incoming::Main(_))) => Err("another caller came in between; try again".to_owned()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Waits until every image has come that this host lacks.
    fn await_images(&self, intake: &mut Intake, half: &Half) -> Result<(), String> {
        loop {
            match intake.take() {
                Ok(None) => {}
                Ok(Some(_)) => return Err("the clone began before the images had come".to_owned()),
                Err(error) => return Err(chain(&error)),
            }
            if self.lacks.iter().all(|image| intake.image(image).is_some()) {
                return Ok(());
            }
            if intake.has_record() {
                continue;
            }
            let mut fds = [
                PollFd::new(half.waker(), PollFlags::IN),
                PollFd::new(half.signals(), PollFlags::IN),
            ];
            let timeout = clock::timespec(replica::limits::HANDSHAKE_BUILD.0);
            let ready = poll(&mut fds, Some(&timeout)).unwrap_or(0);
            if ready == 0 {
                return Err("the images did not come".to_owned());
            }
            if !fds[1].revents().is_empty() {
                return Err("it was stopped".to_owned());
            }
            half.waker().clear();
        }
    }

    /// Looks which images of this machine are on this host.
    fn look_for_images(&mut self, header: &Header) {
        for image in [header.firmware, header.kernel, header.initrd] {
            match self.local(&image) {
                Some(bytes) => self.here.push((image, bytes)),
                None if image.length > 0 && !self.lacks.contains(&image) => self.lacks.push(image),
                None => {}
            }
        }
    }

    /// The image of this name, if this host has it: kept from an earlier VM, or its distribution's.
    fn local(&self, image: &ImageId) -> Option<Arc<[u8]>> {
        let kept = self.attend.images.join(file_name(image));
        let known = FIRMWARE_PATHS.iter().map(PathBuf::from);
        std::iter::once(kept).chain(known).find_map(|path| {
            let fits = std::fs::metadata(&path).is_ok_and(|file| file.len() == image.length);
            let bytes = fits.then(|| read(&path).ok()).flatten()?;
            (ImageId::of(&bytes) == *image).then(|| bytes.into())
        })
    }

    /// Keeps the images that have come, for the next VM that has them. Without room for them they travel
    /// again.
    fn keep(&self, intake: &Intake) {
        for image in &self.lacks {
            let Some(bytes) = intake.image(image) else {
                continue;
            };
            let path = self.attend.images.join(file_name(image));
            let part = path.with_extension("part");
            let kept = write(&part, &bytes).and_then(|()| std::fs::rename(&part, &path));
            if let Err(error) = kept {
                tracing::debug!("{} is not kept: {error}", path.display());
            }
        }
    }
}

impl<G: Guest> Party for Visit<'_, G> {
    fn signals(&self) -> &Signals {
        self.half.as_ref().map_or(self.signals, Half::signals)
    }

    fn consider(&mut self, theirs: &Hello) -> Result<Vec<ImageId>, String> {
        let (spec, pair) = considered(theirs, self.consider)?;
        if let Some(header) = &theirs.header {
            self.look_for_images(header);
        }
        drop(self.later.take()); // A watcher is to be served at once.
        let watch = watch(spec.protect.as_ref(), self.datagrams.take());
        let half = Signals::catch()
            .map_err(|error| WorldError::Poll(error).into())
            .and_then(|signals| Half::of_running(spec, pair, signals, self.owner, watch));
        self.half = Some(half.map_err(|error: RunError| chain(&error))?);
        self.later = ServedLater::begin();
        Ok(self.lacks.clone())
    }

    /// Only the side that has the guest claims.
    fn claim(&mut self) -> Result<HandshakeEvent, RunError> {
        Ok(HandshakeEvent::ArbiterUnreachable)
    }

    fn prove(&mut self, epoch: Epoch, owner: u128) -> HandshakeEvent {
        match &mut self.half {
            Some(half) => half.prove(epoch, owner),
            None => HandshakeEvent::NotShared("no VM was considered".to_owned()),
        }
    }

    fn build(&mut self, start: &Start) -> Result<(), String> {
        let half = self.half.take().ok_or("no VM was considered")?;
        let ready = self.make_ready(start, &half);
        self.half = Some(half);
        self.ready = Some(ready?);
        Ok(())
    }
}

/// What the caller's settings are here, if this program computes its machine.
fn considered(hello: &Hello, consider: Consider<'_>) -> Result<(VmSpec, PairSpec), String> {
    if let Some(header) = &hello.header {
        header.computed_here(FEATURES).map_err(|mismatch| {
            format!("this host computes another machine: {mismatch}; install the same release on both hosts")
        })?;
    }
    consider(hello)
}

/// Reads a file in pieces: a kernel that does not preempt itself lets nobody else have this processor while
/// it copies one, and the VM's owner may be on the same host.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    bytes.reserve_exact(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    while (&file).take(IMAGE_READ_LEN).read_to_end(&mut bytes)? > 0 {}
    Ok(bytes)
}

/// Writes a file in pieces, for the reason for which [`read`] reads so.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    bytes
        .chunks(IMAGE_READ_LEN as usize)
        .try_for_each(|piece| file.write_all(piece))
}

/// The name of the file in which an image is kept.
fn file_name(image: &ImageId) -> String {
    image.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}
