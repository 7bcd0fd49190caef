//! `World`: what a node's actions do to the outside, and where its events come from. The drive loop (`drive`)
//! calls it for every source that is ready and for every action.
//!
//! Everything here belongs to the guest thread, and nothing here may block. What may block has its own
//! threads behind a queue: disks, the arbiter, consoles, connecting to a gateway, and the log of a recording,
//! whose queue alone makes the guest wait when it is full.

mod asked;
mod joining;

use std::io;
use std::net::SocketAddr;

use machine::Input;
use replica::{Action, Epoch, Event, Halt, News, PeerId, Shown, Time, VmName};

use crate::cables::Cables;
use crate::control_socket::ControlSocket;
use crate::intake::Intake;
use crate::limits::DISK_LOOK_EVERY;
use crate::log_file::LogFile;
use crate::net::Announcer;
use crate::operator::Operator;
use crate::owned::Owned;
use crate::protection::Protection;
use crate::watch::Watch;
use crate::world_error::WorldError;
use arbiter::Asker;
use console::Consoles;
use disk::{Completion, DiskPool, Holder};
use link::{Heartbeats, Link, LinkError, Traffic};
use os::limits::{BATCH_MAX, LAST_WORDS_PATIENCE};
use os::poll::{Interest, Poller, Token};
use os::signals::Signals;
use os::sys::clock;
use os::wake::Waker;
use os::{entropy, error};
use report::{Happening, OnPanic, Outside, Reporter, Wish};

/// Tokens of the sources that are not network ports; the ports' tokens follow (`cables`).
const WAKER: Token = Token(0);
const LINK: Token = Token(1);
const HEARTBEATS: Token = Token(2);
const SIGNALS: Token = Token(3);
const WATCHER: Token = Token(4);

/// Everything around a node. What a command does not need stays empty.
#[derive(Debug)]
pub struct World {
    /// The VM's name, under which it holds locks and claims.
    pub vm: VmName,
    /// This process: the random number by which locks and claims know it.
    pub owner: u128,
    /// Wakes the guest thread; the threads that work for it have copies.
    pub waker: Waker,
    /// The connection to the peer; `None`: the VM runs alone, or the connection is gone.
    pub link: Option<Link>,
    /// Where the last connection leads, for what is told of the peer when the connection is gone; `None`:
    /// there was none.
    address: Option<SocketAddr>,
    /// The name of that connection.
    peer: PeerId,
    /// What lets a live VM get a backup; `None`: it cannot.
    pub protection: Option<Protection>,
    /// What an apprentice gets over the bulk link; `None`: this process is none.
    pub intake: Option<Intake>,
    /// Has all of the guest's state come over the bulk link?
    is_fed: bool,
    /// The guest's disks.
    pub disks: DiskPool,
    /// The guest's network devices.
    pub cables: Cables,
    /// The guest's consoles.
    pub consoles: Consoles,
    /// Decides who of a pair may go live, and is told the end; `None`: this VM asks no arbiter.
    pub arbiter: Option<Asker>,
    /// The file of a recording; `None`: nothing is recorded.
    pub log: Option<LogFile>,
    /// The signals by which the operator asks for the end.
    pub signals: Option<Signals>,
    /// Tells programs and the operator what happens.
    pub reporter: Reporter,
    /// Does the world see this replica? A backup before its takeover neither listens nor shows anything.
    pub live: bool,
    /// The epoch by which a replica that is live from its start shows the guest; 0: the VM runs alone.
    pub epoch: Epoch,
    /// The epoch of the VM at its arbiter; `None`: nobody has claimed one.
    pub owned: Option<Owned>,
    /// When the guest's addresses are announced after a takeover.
    announcer: Announcer,
    /// Has the link bytes that the kernel did not take? Then the poller also waits until it takes some.
    link_stuck: bool,
    /// Were messages queued at the link and not handed to the kernel yet?
    link_dirty: bool,
    /// Traffic of links that are gone.
    past: Traffic,
    /// What the operator has asked for so far.
    operator: Operator,
    /// What is done about a guest whose kernel has panicked.
    pub on_panic: OnPanic,
    /// When the disks' sizes are looked at.
    sizes_due: Time,
    /// News of the VM's protection that were not told yet, each with the address of the other side.
    pub news: Vec<(News, Option<String>)>,
    /// Who tells the other side when this process has ended.
    pub watch: Watch,
    /// A backup's heartbeats after its link is gone: the notice that the primary has died comes among them.
    left: Option<Heartbeats>,
    /// The callers of `lockstep status` and its like; `None`: nobody can call. Dropped last: callers see then
    /// that all is over.
    pub control: Option<ControlSocket>,
}

/// What the loop is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The loop goes on.
    GoOn,
    /// The node has stopped for good, for this reason.
    Halt(Halt),
    /// The operator does not want to wait for an orderly end.
    Quit,
}

impl World {
    /// A world of a replica that is live, with nothing in it but disks.
    #[must_use]
    pub fn new(vm: VmName, owner: u128, waker: Waker, disks: DiskPool, reporter: Reporter) -> World {
        World {
            vm,
            owner,
            waker,
            link: None,
            address: None,
            peer: PeerId(0),
            protection: None,
            intake: None,
            is_fed: false,
            disks,
            cables: Cables::default(),
            consoles: Consoles::default(),
            arbiter: None,
            log: None,
            signals: None,
            reporter,
            live: true,
            epoch: Epoch(0),
            owned: None,
            announcer: Announcer::default(),
            link_stuck: false,
            link_dirty: false,
            past: Traffic::default(),
            operator: Operator::default(),
            on_panic: OnPanic::default(),
            sizes_due: clock::now().after(DISK_LOOK_EVERY),
            news: Vec::new(),
            watch: Watch::default(),
            left: None,
            control: None,
        }
    }

    /// Has the poller wait for all sources. Call once, when the world is complete.
    ///
    /// # Errors
    /// A source cannot be waited for.
    pub fn register(&mut self, poller: &Poller) -> io::Result<()> {
        poller.add(&self.waker, WAKER, Interest::Read)?;
        if let Some(signals) = &self.signals {
            poller.add(signals, SIGNALS, Interest::Read)?;
        }
        self.watch.register(poller, WATCHER, &mut self.reporter)?;
        if let Some(link) = &self.link {
            poller.add(link, LINK, Interest::Read)?;
            poller.add(&link.heartbeats_fd(), HEARTBEATS, Interest::Read)?;
        }
        if self.live {
            self.cables.go_live(self.epoch, poller)?;
        } else {
            self.cables.stay_quiet();
        }
        Ok(())
    }

    /// When [`World::on_time`] must be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        [
            self.announcer.deadline(),
            self.cables.deadline(),
            self.reporter.deadline(),
            (self.live && !self.disks.is_empty()).then_some(self.sizes_due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by the clock: announcements, what the ports do by themselves, and news of them for
    /// the node.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn on_time(&mut self, now: Time, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        if self.live && self.sizes_due <= now {
            self.sizes_due = now.after(DISK_LOOK_EVERY);
            self.disks.measure();
        }
        if self.announcer.is_due(now) {
            self.cables.announce();
        }
        self.cables.on_time(now, poller)?;
        if let Some(event) = self.cables.news(now) {
            handle(event);
        }
        Ok(())
    }

    /// Bytes on the wire of all links.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let now = self.link.as_ref().map(Link::traffic).unwrap_or_default();
        Traffic {
            sent: self.past.sent + now.sent,
            received: self.past.received + now.received,
        }
    }

    /// What the world has counted, for the figures.
    #[must_use]
    pub fn outside(&self) -> Outside {
        Outside {
            traffic: self.traffic(),
            console_bytes_lost: self.consoles.lost(),
        }
    }

    /// Takes what has come from a source and hands it to `handle`.
    ///
    /// # Errors
    /// The replica cannot go on.
    pub fn on_ready(
        &mut self,
        token: Token,
        poller: &Poller,
        handle: &mut dyn FnMut(Event),
    ) -> Result<Order, WorldError> {
        match token {
            LINK => self.read_link(poller, handle)?,
            HEARTBEATS => self.read_heartbeats(handle),
            WAKER => return self.on_wake(poller, handle),
            WATCHER => self.watch.hear(poller, WATCHER, &mut self.reporter)?,
            SIGNALS => {
                for _ in 0..self.signals.as_mut().map_or(0, Signals::take) {
                    let course = self.operator.wants_the_end(Wish::Signal, self.reporter.role());
                    if self.take_course(Wish::Signal, course, handle) == Order::Quit {
                        return Ok(Order::Quit);
                    }
                }
            }
            port => self.cables.read(port, poller, handle)?,
        }
        Ok(Order::GoOn)
    }

    /// Is a message of the peer in this process already? One read may bring more messages than a batch takes.
    /// The kernel knows nothing of the rest, so it wakes nobody for it.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.link.as_ref().is_some_and(Link::has_message)
    }

    /// The sources, the guest's ports among them, that have something in this process's buffers: to be taken
    /// although the kernel does not call.
    pub fn unread(&self) -> impl Iterator<Item = Token> {
        let link = self.has_message().then_some(LINK);
        let bulk = self.intake.as_ref().is_some_and(Intake::has_record);
        let bulk = bulk.then_some(WAKER);
        link.into_iter().chain(bulk).chain(self.cables.unread())
    }

    fn read_link(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> Result<(), WorldError> {
        for _ in 0..BATCH_MAX {
            let Some(link) = &mut self.link else { return Ok(()) };
            match link.receive() {
                Ok(Some(message)) => handle(Event::Peer(self.peer, message)),
                Ok(None) => break,
                Err(error) => {
                    self.lose_link(&error, poller, handle);
                    return Ok(());
                }
            }
        }
        if self.link_stuck {
            self.flush_link(poller, handle)?;
        }
        Ok(())
    }

    fn read_heartbeats(&mut self, handle: &mut dyn FnMut(Event)) {
        for _ in 0..BATCH_MAX {
            let source = self.link.as_mut().map(Link::heartbeats).or(self.left.as_mut());
            let beat = source.and_then(Heartbeats::receive);
            let Some(beat) = beat else { return };
            handle(Event::Heartbeat(self.peer, beat));
        }
    }

    fn on_wake(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> Result<Order, WorldError> {
        self.waker.clear();
        while let Some(completion) = self.disks.completion() {
            match completion {
                Completion::Done(answer) => handle(Event::DiskDone(answer)),
                Completion::Size(size) => {
                    // A disk that shrank is told and not obeyed: the machine takes no smaller size.
                    let (disk, sectors) = (size.disk, size.sectors);
                    handle(Event::Input(Input::DiskSize { disk, sectors }));
                    self.reporter.happened(size.into());
                }
                Completion::Writer => self.reporter.happened(Happening::DiskWriter),
                Completion::Fenced(error) => return Err(WorldError::Fenced(error)),
                Completion::Trouble(trouble) => self.reporter.happened(trouble.into()),
                Completion::Recovered { disk, path, lasted } => {
                    self.reporter.happened(Happening::disk_well(disk, &path, lasted));
                }
            }
        }
        while let Some((claim, answer)) = self.arbiter.as_mut().and_then(Asker::answer) {
            self.reporter.hears(clock::now(), &claim, &answer);
            handle(Event::Verdict(claim, answer.verdict));
        }
        while let Some((epoch, checked)) = self.arbiter.as_ref().and_then(Asker::checked) {
            handle(Event::Checked(epoch, checked));
        }
        self.look_at_protection(poller, handle)?;
        self.take_in(handle);
        self.cables.on_wake(poller)?;
        Ok(Order::GoOn)
    }

    /// Closes a link that has failed, and tells the node and the operator.
    fn lose_link(&mut self, error: &LinkError, poller: &Poller, handle: &mut dyn FnMut(Event)) {
        let reason = error::chain(error);
        self.left = self
            .drop_link(poller)
            .filter(|_| !self.live)
            .map(Heartbeats::from);
        self.reporter.lost_link(reason);
        handle(Event::LinkLost(self.peer));
    }

    /// Does one action. Actions take effect in the order of the calls. Messages in a row are collected and
    /// written together, because a system call for each costs more than they do; so before the first of them
    /// leaves, what was shown is flushed, and before the next action that is no message, they are.
    ///
    /// # Errors
    /// The replica cannot go on.
    pub fn carry_out(
        &mut self,
        action: Action,
        poller: &Poller,
        handle: &mut dyn FnMut(Event),
    ) -> Result<Order, WorldError> {
        if self.link_dirty && !matches!(action, Action::Send(..)) {
            self.flush_link(poller, handle)?;
        }
        match action {
            Action::Send(_, message) => self.send(&message, poller, handle)?,
            Action::Heartbeat(_, beat) => {
                self.link
                    .iter_mut()
                    .for_each(|link| link.heartbeats().send(&beat));
            }
            Action::Notice(_, notice) => self.watch.leave(&notice, self.link.as_mut()),
            Action::Check(..)
            | Action::Supply { .. }
            | Action::Bulk(..)
            | Action::HangUp(_)
            | Action::Tell(_) => self.carry_out_for_clone(action, poller, handle),
            Action::Release(shown) => self.show(shown),
            Action::Entropy { bytes } => handle(Event::Input(entropy::answer(bytes))),
            Action::Disk(request) => self.disks.submit(request),
            Action::Append(bytes) => {
                if let Some(log) = &self.log {
                    log.append(bytes)?;
                }
            }
            Action::Ask(claim) => {
                self.reporter.asks(clock::now(), &claim);
                if let Some(arbiter) = &mut self.arbiter {
                    arbiter.ask(claim);
                }
            }
            Action::GoLive(epoch) => self.go_live(epoch, poller)?,
            Action::Halt(halt) => {
                self.settle(poller, handle)?;
                return Ok(Order::Halt(halt));
            }
        }
        Ok(Order::GoOn)
    }

    fn send(&mut self, message: &[u8], poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        if !self.link_dirty {
            // What was shown before this message was written must have left before it.
            self.cables.flush(poller)?;
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        match link.send(message) {
            Ok(()) => self.link_dirty = true,
            Err(error) => self.lose_link(&error, poller, handle),
        }
        Ok(())
    }

    /// Shows an output to the world; nobody waits until it is seen.
    fn show(&mut self, shown: Shown) {
        match shown {
            Shown::Console { port, bytes } => self.consoles.write(port, &bytes),
            Shown::Network { port, frame } => self.cables.transmit(port, &frame),
            // The node halts next, and the end of the process is told.
            Shown::Power(_) => {}
        }
    }

    fn go_live(&mut self, epoch: Epoch, poller: &Poller) -> io::Result<()> {
        let takeover = !std::mem::replace(&mut self.live, true);
        let holder = Holder {
            vm: self.vm.clone(),
            epoch,
            owner: self.owner,
        };
        self.disks.become_writer(&holder, takeover);
        self.owned = Some(holder.into());
        if takeover {
            self.cables.go_live(epoch, poller)?;
            self.announcer.begin(clock::now());
        }
        // A replica that is live alone has nothing more to say to its old peer, and nothing to hear from it.
        drop(self.drop_link(poller));
        self.left = None;
        if self.protection.is_none() {
            self.watch.dismiss();
        }
        Ok(())
    }

    /// Hands the kernel everything that is still in this process's buffers, in order. Call when `poll` gave
    /// nothing.
    ///
    /// # Errors
    /// The poller cannot be told what to wait for. What the link says is an event, not an error.
    pub fn settle(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        if self.link_dirty {
            self.flush_link(poller, handle)?;
        }
        self.cables.flush(poller)
    }

    /// Hands the kernel the queued messages. If it does not take all, the poller says when it takes more.
    fn flush_link(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        self.link_dirty = false;
        let Some(link) = &mut self.link else { return Ok(()) };
        let stuck = match link.flush() {
            Ok(all) => !all,
            Err(error) => {
                self.lose_link(&error, poller, handle);
                return Ok(());
            }
        };
        if stuck != std::mem::replace(&mut self.link_stuck, stuck) {
            let interest = if stuck {
                Interest::ReadWrite
            } else {
                Interest::Read
            };
            poller.modify(link, LINK, interest)?;
        }
        Ok(())
    }

    /// Says the last words to the peer, for instance that the guest is off (FT 3.3-a).
    pub fn say_farewell(&mut self) {
        if let Some(link) = &mut self.link
            && let Err(error) = link.drain(LAST_WORDS_PATIENCE)
        {
            tracing::debug!("the peer did not hear the last words: {}", error::chain(&error));
        }
    }
}
