//! A world for one node or two, in which a test says when what happens.
//!
//! The words are those of the simulator's world (`crates/sim`): the sides A and B, a process on each, a link,
//! heartbeats, an arbiter and a disk that may be away. What `sim` cannot do is what this world is for:
//! nothing is drawn, so a message takes exactly [`World::delay`] and a process gets exactly [`World::slices`]
//! slices a tick; and each action is kept for the test to look at. It must never draw anything, nor judge:
//! the tests do that.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;

use machine::{DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, Input, NetConfig, Step};
use replica::{
    Action, Claim, DiskAnswer, Epoch, Event, Guest, Halt, Header, ImageId, Next, Node, Notice, Options,
    PairOptions, PeerId, RoleName, Span, Time, Verdict,
};

/// The guest of all tests.
pub type Toy = toy::Toy<toy::Commands>;

/// The failure-detection timeout of both sides.
pub const TIMEOUT: Span = Span::from_ms(500);
/// What one turn of the world takes.
pub const TICK: Span = Span::from_us(100);
/// How long messages are under way unless a test says otherwise; heartbeats always.
pub const DELAY: Span = Span::from_us(100);
/// How long the disk takes to answer a request.
pub const DISK: Span = Span::from_us(300);
/// The time at which a world begins.
const BEGIN: Time = Time(1_000_000_000);

/// The side that was born primary, or is alone.
pub const A: usize = 0;
/// The side that was born backup.
pub const B: usize = 1;

/// The options of the process that is `owner` at the arbiter.
pub fn options(owner: u128) -> PairOptions {
    PairOptions {
        epoch: Epoch(7),
        owner,
        primary: 1,
        peer: PeerId(0),
        timeout: TIMEOUT,
        notice: Notice::TimeoutOnly,
        run: Options {
            digest_every: Some(1000),
            record: None,
        },
    }
}

/// A replica's process: its node, and what the world knows of it.
pub struct Process {
    /// The node; a process that has halted or crashed keeps it, so that a test can look at its end.
    pub node: Node<Toy>,
    /// It gets no call: it stands still, has crashed, or has halted.
    pub stopped: bool,
    /// The reason for which the process ended itself.
    pub halted: Option<Halt>,
    /// The epoch in which it went live after a claim.
    pub live: Option<Epoch>,
    /// What it released, disk requests apart, and when.
    pub shown: Vec<(Time, Effect)>,
    /// What it asked the arbiter, and when.
    pub asked: Vec<(Time, Claim)>,
    /// The requests that it sent to the disk, and when.
    pub disk_log: Vec<(Time, DiskRequest)>,
    /// What it appended to its log file.
    pub file: Vec<u8>,
    /// How many messages it sent over the link.
    pub sent: u64,
    /// The bytes of these messages.
    pub sent_bytes: u64,
    /// How many heartbeats it sent.
    pub heartbeats: u64,
    /// The death notice that it left with its host.
    pub notice: Option<Vec<u8>>,
    /// Events that it has not looked at, each with the time of its arrival.
    inbox: VecDeque<(Time, Event)>,
}

impl Process {
    fn new(node: Node<Toy>) -> Process {
        Process {
            node,
            stopped: false,
            halted: None,
            live: None,
            shown: Vec::new(),
            asked: Vec::new(),
            disk_log: Vec::new(),
            file: Vec::new(),
            sent: 0,
            sent_bytes: 0,
            heartbeats: 0,
            notice: None,
            inbox: VecDeque::new(),
        }
    }

    /// What the node says that it is.
    pub fn role(&self) -> RoleName {
        self.node.metrics().role
    }

    /// The frames that it transmitted.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let frame = |(_, effect): &(Time, Effect)| match effect {
            Effect::NetTransmit { frame, .. } => Some(frame.clone()),
            _ => None,
        };
        self.shown.iter().filter_map(frame).collect()
    }
}

/// One process or two, and what lies between and around them.
pub struct World {
    /// The time, which both processes' clocks show.
    pub now: Time,
    /// The processes of the sides [`A`] and [`B`].
    pub processes: Vec<Process>,
    /// Is the link cut for what this side sends? Nobody notices but by silence.
    pub cut_from: [bool; 2],
    /// How long messages are under way. Heartbeats always take [`DELAY`].
    pub delay: Span,
    /// Are all heartbeats lost?
    pub heartbeats_lost: bool,
    /// Who has each epoch at the arbiter.
    pub arbiter: BTreeMap<u64, u128>,
    /// Does nobody reach the arbiter?
    pub arbiter_away: bool,
    /// What is on the disk, by sector; a sector that is missing holds zeroes.
    pub disk: BTreeMap<u64, Vec<u8>>,
    /// Does the disk answer nobody? What was sent meanwhile is done when it is back.
    pub disk_away: bool,
    /// This side crashes after carrying out so many more actions.
    pub crashes_after: Option<(usize, u64)>,
    /// Slices that each side's guest gets per tick.
    pub slices: [u32; 2],
    /// Requests under way: when each is answered, whose it is, and the request.
    at_disk: VecDeque<(Time, usize, DiskRequest)>,
}

impl World {
    fn new(nodes: Vec<Node<Toy>>) -> World {
        World {
            now: BEGIN,
            processes: nodes.into_iter().map(Process::new).collect(),
            cut_from: [false; 2],
            delay: DELAY,
            heartbeats_lost: false,
            arbiter: BTreeMap::new(),
            arbiter_away: false,
            disk: BTreeMap::new(),
            disk_away: false,
            crashes_after: None,
            slices: [1; 2],
            at_disk: VecDeque::new(),
        }
    }

    /// A pair right after the handshake.
    pub fn pair() -> World {
        World::pair_of(Toy::new(), Toy::new(), options(1), options(2))
    }

    /// A pair of these guests.
    pub fn pair_of(a: Toy, b: Toy, one: PairOptions, two: PairOptions) -> World {
        World::new(vec![Node::primary(a, BEGIN, one), Node::backup(b, BEGIN, two)])
    }

    /// A pair whose sides leave and believe such notices of their deaths.
    pub fn watched_pair(notice: Notice) -> World {
        let options = |owner| PairOptions {
            notice,
            ..options(owner)
        };
        World::pair_of(Toy::new(), Toy::new(), options(1), options(2))
    }

    /// A guest that runs alone, on side [`A`].
    pub fn solo(options: Options) -> World {
        World::new(vec![Node::solo(Toy::new(), BEGIN, options)])
    }

    /// The process of a side.
    pub fn process(&self, side: usize) -> &Process {
        &self.processes[side]
    }

    /// Something comes for a process.
    pub fn deliver(&mut self, to: usize, event: Event) {
        let now = self.now;
        self.processes[to].inbox.push_back((now, event));
    }

    /// A frame comes for the guest of a side.
    pub fn frame(&mut self, to: usize, frame: &[u8]) {
        self.deliver(
            to,
            Event::Input(Input::NetFrame {
                port: 0,
                frame: frame.to_vec(),
            }),
        );
    }

    /// A process dies with what it had under way at the disk. Its peer learns that only by silence.
    pub fn crash(&mut self, side: usize) {
        self.processes[side].stopped = true;
        self.processes[side].inbox.clear();
        self.at_disk.retain(|(_, from, _)| *from != side);
    }

    /// The host of a side tells the other side that this side's process has ended: truly, if it has crashed.
    pub fn tell_of_death(&mut self, of: usize) {
        let notice = self.processes[of].notice.clone();
        self.deliver(
            1 - of,
            Event::Heartbeat(PeerId(0), notice.expect("it left a notice")),
        );
    }

    /// The link breaks: what is under way is lost, and both sides are told.
    pub fn reset_link(&mut self) {
        for process in &mut self.processes {
            process
                .inbox
                .retain(|(_, event)| !matches!(event, Event::Peer(..)));
        }
        self.cut_from = [true; 2];
        for side in 0..self.processes.len() {
            self.deliver(side, Event::LinkLost(PeerId(0)));
        }
    }

    /// Lets the world go on for a while.
    pub fn run_for(&mut self, span: Span) {
        let end = self.now.after(span);
        while self.now < end {
            self.tick();
        }
    }

    /// Lets the world go on until `done`, for ten seconds at most.
    pub fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let end = self.now.after(Span::from_ms(10_000));
        while !done(self) {
            assert!(self.now < end, "never: {what}");
            self.tick();
        }
    }

    /// One turn: answers of the disk, then each process looks at its events and runs its guest.
    fn tick(&mut self) {
        self.now = self.now.after(TICK);
        self.answer_disks();
        for side in 0..self.processes.len() {
            while !self.processes[side].stopped
                && let Some(event) = self.next_event(side)
            {
                self.processes[side].node.handle(self.now, event);
                self.carry_all(side);
            }
            for _ in 0..self.slices[side] {
                if self.processes[side].stopped {
                    break;
                }
                let cut = AtomicBool::new(false);
                let next = self.processes[side].node.slice(self.now, &cut);
                self.carry_all(side);
                if !matches!(next, Next::Busy) {
                    break;
                }
            }
        }
    }

    /// The first event in a process's inbox that has arrived by now.
    fn next_event(&mut self, side: usize) -> Option<Event> {
        let inbox = &mut self.processes[side].inbox;
        let due = inbox.iter().position(|(time, _)| *time <= self.now)?;
        inbox.remove(due).map(|(_, event)| event)
    }

    fn answer_disks(&mut self) {
        while !self.disk_away
            && let Some((time, _, _)) = self.at_disk.front()
            && *time <= self.now
            && let Some((_, side, request)) = self.at_disk.pop_front()
        {
            let data = match request.operation {
                DiskOperation::Write { sector, data } => {
                    self.disk.insert(sector, data.to_vec());
                    vec![]
                }
                DiskOperation::Read { sector, bytes } => {
                    self.disk.get(&sector).cloned().unwrap_or(vec![0; bytes as usize])
                }
                _ => vec![],
            };
            let (disk, id) = (request.disk, request.id);
            self.deliver(
                side,
                Event::DiskDone(DiskAnswer {
                    disk,
                    id,
                    status: DiskStatus::Ok,
                    data,
                }),
            );
        }
    }

    /// Carries out what a node wants, until it wants nothing more or its process crashes.
    fn carry_all(&mut self, side: usize) {
        while let Some(action) = self.processes[side].node.poll(self.now) {
            if let Some((who, left)) = &mut self.crashes_after
                && *who == side
            {
                if *left == 0 {
                    self.crashes_after = None;
                    self.crash(side);
                    return;
                }
                *left -= 1;
            }
            self.carry_out(side, action);
        }
    }

    fn carry_out(&mut self, side: usize, action: Action) {
        let (now, other) = (self.now, 1 - side);
        let process = &mut self.processes[side];
        match action {
            Action::Send(_, bytes) => {
                process.sent += 1;
                process.sent_bytes += bytes.len() as u64;
                if !self.cut_from[side] {
                    let at = now.after(self.delay);
                    self.processes[other]
                        .inbox
                        .push_back((at, Event::Peer(PeerId(0), bytes.to_vec())));
                }
            }
            Action::Heartbeat(_, bytes) => {
                process.heartbeats += 1;
                if !self.heartbeats_lost {
                    let at = now.after(DELAY);
                    self.processes[other]
                        .inbox
                        .push_back((at, Event::Heartbeat(PeerId(0), bytes.to_vec())));
                }
            }
            Action::Notice(_, notice) => process.notice = Some(notice.to_vec()),
            Action::Release(shown) => process.shown.push((now, shown.into())),
            Action::Entropy { bytes } => process.shown.push((now, Effect::EntropyWanted { bytes })),
            Action::Disk(request) => {
                process.disk_log.push((now, request.clone()));
                self.at_disk.push_back((now.after(DISK), side, request));
            }
            Action::Append(bytes) => process.file.extend_from_slice(&bytes),
            Action::Ask(claim) => {
                process.asked.push((now, claim.clone()));
                assert_eq!(
                    claim.after,
                    Some(1),
                    "every claim says who has the epoch before it"
                );
                let verdict = self.ask(&claim);
                let answer = (now.after(DELAY), Event::Verdict(claim, verdict));
                self.processes[side].inbox.push_back(answer);
            }
            Action::GoLive(epoch) => process.live = Some(epoch),
            Action::Halt(halt) => {
                process.halted = Some(halt);
                process.stopped = true;
            }
        }
    }

    /// A question takes effect at the arbiter, unless nobody reaches it.
    fn ask(&mut self, claim: &Claim) -> Verdict {
        if self.arbiter_away {
            return Verdict::Unreachable;
        }
        let winner = *self.arbiter.entry(claim.epoch.0).or_insert(claim.owner);
        if winner == claim.owner {
            Verdict::Won
        } else {
            Verdict::Lost { heir: false }
        }
    }
}

/// Waits until both guests stand at the same step, and compares them there.
pub fn same_state(world: &mut World) {
    let step = |world: &World, side: usize| world.process(side).node.guest().now();
    world.until("the same step", |world| step(world, A) == step(world, B));
    let digest = |world: &World, side: usize| world.process(side).node.guest().clone().digest();
    assert_eq!(digest(world, A), digest(world, B));
}

/// A header of no machine in particular.
pub fn header() -> Header {
    Header {
        program: "toy 1".to_owned(),
        model: 1,
        features: 5,
        start: Step(0),
        memory: 64 << 20,
        harts: 2,
        disks: vec![DiskConfig {
            sectors: 2048,
            read_only: false,
            serial: "root".to_owned(),
        }],
        nets: vec![NetConfig {
            mac: [2, 0, 0, 0, 0, 9],
        }],
        virtio: machine::Transport::default(),
        rng_seed: [7; 32],
        wall_clock_ns: 1_700_000_000_000_000_000,
        command_line: "console=ttyS0".to_owned(),
        firmware: ImageId::of(b"firmware"),
        kernel: ImageId::of(b"kernel"),
        initrd: ImageId::of(b""),
    }
}
