//! The loop that drives a node on the guest thread: it takes what the sources bring to the node, has `world`
//! carry out the node's actions, and lets the guest run in between.
//!
//! ```text
//!   guest thread:  wait in epoll (only if the guest is idle) -> read sockets and queues -> Node::handle
//!                  -> Node::poll, carry out actions -> Node::slice runs the guest -> poll, carry out -> ..
//!   4 of each disk: pread, pwrite, fdatasync, fallocate -> queue, waker           (disk/lane.rs)
//!   log:           write(2) to the file of a recording                          (log_file.rs)
//!   arbiter:       link(2) in the directory -> queue, waker                      (arbiter/lib.rs)
//!   consoles:      read terminal -> queue, waker                                (console/)
//!   control:       talk to the callers of `lockstep status` <-> queues, waker    (control/server.rs)
//!   outlets:       write(2) to consoles, standard error, events <- buffers      (os/outlet.rs)
//!   gateway:       connect, only while the cable is out or mute -> queue, waker  (net/plug.rs, dial.rs)
//! ```
//! All of them are started with `sandbox::spawn`, which has each give up what its kind does not need. While
//! the guest runs, this thread looks at its sockets every 20 microseconds or so (os/poll.rs). An
//! acknowledgement ends the slice soon after; this thread reads it, lets the node release what waited, and
//! writes it out, without handing anything to another thread (FT 3.5-c). An idle guest thread sleeps on the
//! sockets themselves.
//!
//! The loop never sleeps while the guest has something to run, and never asks the node for a next action
//! before the last one is carried out.

use std::collections::VecDeque;

use replica::{Event, Guest, Halt, Next, Node, RoleName, Span, Time};

use crate::control_answers;
use crate::log_file::LogFile;
use crate::witness::Witness;
use crate::world::{Order, World};
use crate::world_error::WorldError;
use machine::{Control, Input};
use os::limits::BATCH_MAX;
use os::poll::{Poller, Token};
use os::sandbox::{self, Kind};
use os::sys::clock;
use report::{Ender, Ending, Figures, HaltCode, Happening, OnPanic, Wish};

/// How a replica ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why the node stopped; `None`: the operator did not wait for it.
    pub halt: Option<Halt>,
    /// The same in a word for programs.
    pub code: HaltCode,
    /// The last figures.
    pub figures: Figures,
}

/// Drives `node` in `world` to its end.
///
/// # Errors
/// The world does not let it go on. The caller's process ends: for the peer, this side has crashed.
pub fn drive<G: Guest>(node: Node<Witness<G>>, world: World) -> Result<Outcome, WorldError> {
    let mut poller = Poller::new()?;
    let mut driver = Driver {
        node,
        world,
        events: VecDeque::new(),
        ready: Vec::new(),
        panics_told: 0,
        panics_answered: 0,
        sizes_heard: 0,
    };
    driver.world.register(&poller)?;
    let epoch = driver.world.owned.map(|owned| owned.epoch);
    driver.world.first_epoch = epoch.or(Some(driver.node.metrics().epoch));
    // From here on this thread does without what a guest thread does not need: before the guest's first step,
    // live or replayed.
    sandbox::narrow(Kind::Guest);
    let ended = driver.run(&mut poller);
    driver.end(ended)
}

/// A node, its world, and what is on its way between them.
struct Driver<G: Guest> {
    node: Node<Witness<G>>,
    world: World,
    /// Events that actions have caused, to be handled before anything else.
    events: VecDeque<Event>,
    /// The sources that have something to take in this round.
    ready: Vec<Token>,
    /// How many of the guest's panics were told.
    panics_told: u64,
    /// How many of the guest's panics were answered as the operator wants.
    panics_answered: u64,
    /// How many sizes of disks the guest was told of which the disks here have heard.
    sizes_heard: u64,
}

impl<G: Guest> Driver<G> {
    /// Listens, runs a slice and carries out actions, over and over, until the node or the operator ends it.
    fn run(&mut self, poller: &mut Poller) -> Result<Order, WorldError> {
        let mut order = self.carry_out(poller)?;
        let mut next = Next::Busy;
        while order == Order::GoOn {
            order = self.listen(poller, next)?;
            if order != Order::GoOn {
                break;
            }
            let at_once = self.world.links.has_message();
            next = self.node.slice(clock::now(), &poller.look(at_once));
            self.look_at_sizes();
            if self.look_at_panics() {
                // The guest has an input now, whatever it waited for.
                next = Next::Busy;
            }
            order = self.carry_out(poller)?;
            self.world.cables.listen_again(poller)?;
            if next == Next::Ended && order == Order::GoOn {
                order = Order::Quit;
            }
        }
        Ok(order)
    }

    /// Waits, if the guest is idle, and takes in what has come: at most a batch of each source.
    fn listen(&mut self, poller: &mut Poller, next: Next) -> Result<Order, WorldError> {
        let now = clock::now();
        let timeout = match next {
            Next::Busy | Next::Ended => Some(Span(0)),
            Next::At(_) if self.world.unread().next().is_some() => Some(Span(0)),
            Next::At(_) if self.has_typed() => Some(Span(0)),
            Next::At(time) => until(now, [time, self.world.deadline()]),
        };
        self.ready.clear();
        let has_peer = matches!(
            self.node.role(),
            RoleName::Primary | RoleName::Handing | RoleName::Apprentice | RoleName::Backup
        );
        self.ready.extend(poller.wait(timeout, has_peer)?);
        for token in self.world.unread() {
            if !self.ready.contains(&token) {
                self.ready.push(token);
            }
        }
        for index in 0..self.ready.len() {
            let (node, token) = (&mut self.node, self.ready[index]);
            let order = self
                .world
                .on_ready(token, poller, &mut |event| node.handle(clock::now(), event))?;
            if order != Order::GoOn {
                return Ok(order);
            }
            // What the node does about one source leaves before the next source is read.
            let order = self.carry_out(poller)?;
            if order != Order::GoOn {
                return Ok(order);
            }
        }
        let order = self.take_typed(poller)?;
        if order != Order::GoOn {
            return Ok(order);
        }
        let order = self.answer_callers(poller)?;
        if order != Order::GoOn {
            return Ok(order);
        }
        let now = clock::now();
        let node = &mut self.node;
        self.world
            .on_time(now, poller, &mut |event| node.handle(clock::now(), event))?;
        let outside = self.world.outside();
        self.world.reporter.look(now, self.node.metrics(), outside);
        Ok(Order::GoOn)
    }

    /// Was something typed for which there is room?
    fn has_typed(&mut self) -> bool {
        let room = self.node.console_room();
        self.world.has_typed(room)
    }

    /// Takes what was typed at the consoles, as far as the guest has room for it. What it has no room for
    /// stays where it was typed: that is how a paste waits for the guest instead of being cut.
    fn take_typed(&mut self, poller: &Poller) -> Result<Order, WorldError> {
        for _ in 0..BATCH_MAX {
            let room = self.node.console_room();
            let Some((port, typed)) = self.world.typed(room) else {
                break;
            };
            let node = &mut self.node;
            let order = self
                .world
                .on_typed(port, typed, &mut |event| node.handle(clock::now(), event));
            if order != Order::GoOn {
                return Ok(order);
            }
            let order = self.carry_out(poller)?;
            if order != Order::GoOn {
                return Ok(order);
            }
        }
        Ok(Order::GoOn)
    }

    /// Answers the callers of the control socket, and does what follows.
    fn answer_callers(&mut self, poller: &Poller) -> Result<Order, WorldError> {
        for _ in 0..BATCH_MAX {
            if !control_answers::answer_next(&mut self.world, &mut self.node) {
                break;
            }
            let order = self.carry_out(poller)?;
            if order != Order::GoOn {
                return Ok(order);
            }
        }
        Ok(Order::GoOn)
    }

    /// Tells that the guest's kernel has panicked, and does what the operator wants to be done about it. A
    /// side that is not live leaves both to the side that is; if that one dies, this one does it. True: the
    /// guest gets an input.
    fn look_at_panics(&mut self) -> bool {
        let witness = self.node.guest();
        let panics = witness.panics();
        if panics == self.panics_answered || !matches!(self.node.role(), RoleName::Solo | RoleName::Primary) {
            return false;
        }
        let course = self.world.on_panic;
        let (Some(line), step) = (witness.panic(), witness.now().0) else {
            self.panics_answered = panics;
            return false;
        };
        let (line, stands) = (line.to_owned(), witness.stands_in_panic());
        if panics != std::mem::replace(&mut self.panics_told, panics) {
            let happening = Happening::GuestPanic { line, step, course };
            self.world.reporter.happened(happening);
        }
        let control = match course {
            OnPanic::Keep => {
                self.panics_answered = panics;
                return false;
            }
            OnPanic::Stop => Control::PowerOff,
            OnPanic::Reset => Control::Reset,
        };
        if stands {
            self.panics_answered = panics;
            if control == Control::Reset {
                let happening = Happening::Reset { by: Wish::Panic };
                self.world.reporter.happened(happening);
            }
            self.node
                .handle(clock::now(), Event::Input(Input::Control(control)));
        }
        stands
    }

    /// Tells a backup's own disks which sizes the guest knows by now: nobody else would say, before a
    /// takeover, that a file here is smaller. A live side has measured what it tells.
    fn look_at_sizes(&mut self) {
        let witness = self.node.guest();
        if witness.sizes_told() == std::mem::replace(&mut self.sizes_heard, witness.sizes_told()) {
            return;
        }
        if !self.world.live {
            for (disk, sectors) in witness.sizes() {
                self.world.disks.guest_knows(disk, sectors);
            }
        }
    }

    /// Carries out all actions of the node, and those that follow from the events which these cause.
    fn carry_out(&mut self, poller: &Poller) -> Result<Order, WorldError> {
        loop {
            while let Some(action) = self.node.poll(clock::now()) {
                let events = &mut self.events;
                let order = self
                    .world
                    .carry_out(action, poller, &mut |event| events.push_back(event))?;
                if order != Order::GoOn {
                    return Ok(order);
                }
            }
            let events = &mut self.events;
            self.world.settle(poller, &mut |event| events.push_back(event))?;
            self.world.reporter.look_at_role(self.node.metrics());
            for (news, address) in std::mem::take(&mut self.world.news) {
                let address = address.unwrap_or_else(|| "the other side".to_owned());
                let metrics = self.node.metrics();
                self.world.reporter.hears_news(&news, &address, metrics);
                self.world.on_news(&news);
            }
            let Some(event) = self.events.pop_front() else {
                return Ok(Order::GoOn);
            };
            self.node.handle(clock::now(), event);
        }
    }

    /// Reports the end, whether the node halted, the operator did not wait, or the world did not let it go
    /// on.
    fn end(mut self, ended: Result<Order, WorldError>) -> Result<Outcome, WorldError> {
        let log = self.world.log.as_ref();
        let ended = ended.and_then(|order| {
            log.map_or(Ok(()), LogFile::finish)?;
            Ok(order)
        });
        let guest = self.node.guest();
        let by = match (guest.is_unplugged(), guest.panic(), self.world.on_panic) {
            (false, ..) => Ender::Guest,
            (true, Some(_), OnPanic::Stop) => Ender::Panic,
            (true, ..) => Ender::Operator,
        };
        // What this side was until now, before it tells that it has halted.
        let last = self.world.reporter.last(clock::now(), guest.now(), by);
        let role = last.role;
        let (halt, ending) = match &ended {
            Ok(Order::Halt(halt)) => (Some(halt.clone()), Ending::of_node(Some(halt), &last)),
            Ok(Order::GoOn | Order::Quit) => (None, Ending::of_node(None, &last)),
            Err(error) => (None, Ending::of_error(error.code(), error, &last)),
        };
        self.world.reporter.look_at_role(self.node.metrics());
        if ended.is_ok() && !matches!(halt, Some(Halt::Lost(_))) {
            self.world.links.say_farewell();
        }
        if halt.is_some() {
            // The other side has heard how this one ends, or is live itself.
            self.world.watch.dismiss();
        }
        // What the guest said last stands before what is said of its end.
        self.world.consoles.finish();
        let outside = self.world.outside();
        let reporter = &mut self.world.reporter;
        let figures = reporter.figures(clock::now(), self.node.metrics(), outside);
        reporter.happened(Happening::Figures(Box::new(figures.clone())));
        let code = ending.code;
        reporter.end(ending);
        let (owned, asker) = (self.world.owned, self.world.arbiter.take());
        // The disks are closed with the world, before another process may have the VM.
        drop(self);
        if let (Some(owned), Some(asker)) = (owned, asker) {
            owned.end(asker, halt.as_ref(), role);
        }
        ended.map(|_| Outcome { halt, code, figures })
    }
}

/// How long to wait from `now` until the earliest of these times; `None`: until something comes.
fn until(now: Time, times: [Option<Time>; 2]) -> Option<Span> {
    times.into_iter().flatten().min().map(|time| time.since(now))
}
