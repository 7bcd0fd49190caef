//! `World`: what a node's actions do to the outside, and where its events come from. The drive loop (`drive`)
//! calls it for every source that is ready and for every action.
//!
//! Everything here belongs to the guest thread, and nothing here may block. What may block has its own
//! threads behind a queue: disks, the arbiter, consoles, connecting to a gateway, and the log of a recording,
//! whose queue alone makes the guest wait when it is full.

mod asked;
mod joining;
mod side;
mod snapshotting;

use std::io;

use machine::{Config, Input};
use replica::{Action, Epoch, Event, Halt, News, Shown, Time, VmName};

use crate::cables::Cables;
use crate::control_socket::ControlSocket;
use crate::intake::Intake;
use crate::limits::DISK_LOOK_EVERY;
use crate::links::{Ears, Links};
use crate::log_file::LogFile;
use crate::operator::Operator;
use crate::owned::Owned;
use crate::protection::Protection;
use crate::snapshot::Snapshotting;
use crate::watch::Watch;
use crate::world_error::WorldError;
use arbiter::{Asker, Heard};
use console::Consoles;
use disk::{Completion, DiskPool, Holder};
use health::HealthWatch;
use os::entropy;
use os::poll::{Interest, Poller, Token};
use os::signals::Signals;
use os::sys::clock;
use os::wake::Waker;
use ports::Announcer;
use report::{Happening, OnPanic, Outside, Reporter, Wish};

/// Tokens of the sources that are neither network ports nor links, whose tokens follow (`cables`, `links`).
const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WATCHER: Token = Token(2);

/// Everything around a node. What a command does not need stays empty.
#[derive(Debug)]
pub struct World {
    /// The VM's name, under which it holds locks and claims.
    pub vm: VmName,
    /// This process: the random number by which locks and claims know it.
    pub owner: u128,
    /// Wakes the guest thread; the threads that work for it have copies.
    pub waker: Waker,
    /// The connections to other replicas.
    pub links: Links,
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
    /// The guest's machine, as a snapshot names it; `None`: no snapshot can be taken.
    pub config: Option<Config>,
    /// The snapshot that leaves; `None`: there is none.
    pub snapshot: Option<Snapshotting>,
    /// The epoch by which a replica that is live from its start shows the guest; 0: the VM runs alone.
    pub epoch: Epoch,
    /// The epoch of the VM at its arbiter; `None`: nobody has claimed one.
    pub owned: Option<Owned>,
    /// That epoch when this process came to hold the guest; `None`: it does not yet.
    pub first_epoch: Option<Epoch>,
    /// When the guest's addresses are announced after a takeover.
    announcer: Announcer,
    /// What the operator has asked for so far.
    operator: Operator,
    /// What is done about a guest whose kernel has panicked.
    pub on_panic: OnPanic,
    /// When the disks' sizes are looked at.
    sizes_due: Time,
    /// How this side is off.
    health: HealthWatch,
    /// News of the VM's protection that were not told yet, each with the address of the other side.
    pub news: Vec<(News, Option<String>)>,
    /// Who tells the other sides when this process has ended.
    pub watch: Watch,
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
            links: Links::default(),
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
            config: None,
            snapshot: None,
            epoch: Epoch(0),
            owned: None,
            first_epoch: None,
            announcer: Announcer::default(),
            operator: Operator::default(),
            on_panic: OnPanic::default(),
            sizes_due: clock::now().after(DISK_LOOK_EVERY),
            health: HealthWatch::default(),
            news: Vec::new(),
            watch: Watch::default(),
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
        self.links.register(poller)?;
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
            self.links.deadline(),
            self.reporter.deadline(),
            (self.live && !self.disks.is_empty()).then_some(self.sizes_due),
            Some(self.health.deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by the clock: announcements, what links and ports do by themselves, and news of the
    /// ports for the node.
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
        self.links.on_time(now);
        self.cables.on_time(now, poller)?;
        if let Some(event) = self.cables.news(now) {
            handle(event);
        }
        self.look_at_side(now);
        Ok(())
    }

    /// What the world has counted, for the figures.
    #[must_use]
    pub fn outside(&self) -> Outside {
        Outside {
            traffic: self.links.traffic(),
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
            link if Links::owns(link) => {
                let reporter = &mut self.reporter;
                self.links.read(
                    link,
                    &mut Ears {
                        poller,
                        reporter,
                        handle,
                    },
                )?;
            }
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

    /// The sources, the guest's ports among them, that have something in this process's buffers: to be taken
    /// although the kernel does not call.
    pub fn unread(&self) -> impl Iterator<Item = Token> {
        let bulk = self.intake.as_ref().is_some_and(Intake::has_record);
        let bulk = bulk.then_some(WAKER);
        self.links.unread().chain(bulk).chain(self.cables.unread())
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
                Completion::Trouble(trouble) => {
                    self.health.sees_trouble(&trouble);
                    self.reporter.happened(trouble.into());
                }
                Completion::Recovered { disk, path, lasted } => {
                    self.health.sees_disk_well(disk);
                    self.reporter.happened(Happening::disk_well(disk, &path, lasted));
                }
            }
        }
        while let Some(heard) = self.arbiter.as_mut().and_then(Asker::heard) {
            match heard {
                Heard::Answer(claim, answer) => {
                    self.reporter.hears(clock::now(), &claim, &answer);
                    handle(Event::Verdict(claim, answer.verdict));
                }
                Heard::Checked(epoch, checked) => handle(Event::Checked(epoch, checked)),
                Heard::Looked(found) => self.hear_of_arbiter(found),
            }
        }
        self.look_at_protection(poller, handle)?;
        self.look_at_snapshot(handle);
        self.take_in(handle);
        self.cables.on_wake(poller)?;
        Ok(Order::GoOn)
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
        // What is queued for a peer that is dropped does not leave.
        if self.links.is_dirty() && !matches!(action, Action::Send(..) | Action::Drop(_)) {
            self.flush_links(poller, handle)?;
        }
        match action {
            Action::Send(peer, message) => {
                if !self.links.is_dirty() {
                    // What was shown before this message was written must have left before it.
                    self.cables.flush(poller)?;
                }
                let reporter = &mut self.reporter;
                self.links.send(
                    peer,
                    &message,
                    &mut Ears {
                        poller,
                        reporter,
                        handle,
                    },
                );
            }
            Action::Heartbeat(peer, beat) => self.links.beat(peer, &beat),
            Action::Notice(peer, notice) => {
                if let Some(sealed) = self.links.seal_last(peer, &notice) {
                    self.watch.leave(peer, &sealed);
                }
            }
            Action::HangUp(peer) => {
                self.links.hang_up(peer, poller)?;
                self.part_from(peer);
            }
            Action::Drop(peer) => {
                self.links.close(peer, poller);
                self.part_from(peer);
            }
            Action::Check(..) | Action::Supply { .. } | Action::Bulk(..) | Action::Tell(_) => {
                self.carry_out_for_clone(action, handle);
            }
            Action::Snapshot(piece) => self.give_out(piece, handle),
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
            Action::StandBy { owner, epoch, .. } => self.stand_by(owner, epoch, poller)?,
            Action::Halt(halt) => {
                self.settle(poller, handle)?;
                return Ok(Order::Halt(halt));
            }
        }
        Ok(Order::GoOn)
    }

    /// Shows an output to the world; nobody waits until it is seen.
    fn show(&mut self, shown: Shown) {
        match shown {
            Shown::Console { port, bytes } => self.show_console(port, &bytes),
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
            self.console_is_live(true);
            self.cables.go_live(epoch, poller)?;
            self.announcer.begin(clock::now());
        }
        Ok(())
    }

    /// The process `owner` shows the guest from here on, in this epoch, and this one is its backup.
    fn stand_by(&mut self, owner: u128, epoch: Epoch, poller: &Poller) -> io::Result<()> {
        self.live = false;
        let holder = Holder {
            vm: self.vm.clone(),
            epoch,
            owner,
        };
        self.disks.stand_by(&holder);
        self.owned = Some(holder.into());
        self.console_is_live(false);
        self.cables.stand_by(poller)
    }

    /// Hands the kernel everything that is still in this process's buffers, in order. Call when `poll` gave
    /// nothing.
    ///
    /// # Errors
    /// The poller cannot be told what to wait for. What a link says is an event, not an error.
    pub fn settle(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        if self.links.is_dirty() {
            self.flush_links(poller, handle)?;
        }
        self.cables.flush(poller)
    }

    fn flush_links(&mut self, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        let reporter = &mut self.reporter;
        self.links.flush(&mut Ears {
            poller,
            reporter,
            handle,
        })
    }
}
