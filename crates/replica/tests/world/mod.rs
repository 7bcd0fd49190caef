//! A world for a few nodes, in which a test says when what happens.
//!
//! The words are those of the simulator's world (`crates/sim`): the sides A and B, a process on each, a link,
//! heartbeats, an arbiter and a disk that may be away. What `sim` cannot do is what this world is for:
//! nothing is drawn, so a message takes exactly [`World::delay`] and a process gets exactly [`World::slices`]
//! slices a tick; a process that joins a guest which runs shakes hands here; and each action is kept for the
//! test to look at. It must never draw anything, nor judge: the tests do that.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;

use machine::{DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, Input, NetConfig, Step};
use replica::{
    Action, Checked, Claim, DiskAnswer, Epoch, Event, Guest, Halt, Handshake, HandshakeAction,
    HandshakeEvent, Header, Hello, ImageId, Joined, News, Next, Node, Notice, OnSlow, Options, PairOptions,
    PeerId, RoleName, Side, SnapshotEvent, SnapshotPiece, Span, Time, Verdict,
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

/// A span of so many milliseconds.
pub const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

/// How many answers the guest has given with this one, as it says itself.
pub fn count(answer: &[u8]) -> u64 {
    answer.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The options of the process that is `owner` at the arbiter.
pub fn options(owner: u128) -> PairOptions {
    PairOptions {
        epoch: Epoch(7),
        owner,
        primary: 1,
        backup: 2,
        peer: PeerId(0),
        timeout: TIMEOUT,
        notice: Notice::TimeoutOnly,
        on_slow: OnSlow::default(),
        run: Options {
            digest_every: Some(1000),
            record: None,
            ..Options::default()
        },
    }
}

/// The random number of a process that joins: that of [`A`] is 1, and so on.
pub fn process(number: usize) -> u128 {
    number as u128 + 1
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
    /// What it told of the VM's protection.
    pub news: Vec<News>,
    /// The pieces of clones that it sent over bulk links.
    pub bulk_sent: u64,
    /// The pieces of snapshots that it gave out.
    pub pieces: Vec<SnapshotPiece>,
    /// The guest as it was before the slice in which the last snapshot was taken.
    pub taken: Option<Toy>,
    /// The guest as it was before the present slice.
    before: Option<Toy>,
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
            news: Vec::new(),
            bulk_sent: 0,
            pieces: Vec::new(),
            taken: None,
            before: None,
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

/// A process that becomes an apprentice: it has no node before the handshake is over.
struct Joiner {
    /// Its side of the handshake.
    handshake: Handshake,
    /// What has come for it, with the time of its arrival.
    inbox: VecDeque<(Time, Vec<u8>)>,
}

/// Processes, and what lies between and around them.
pub struct World {
    /// The time, which both processes' clocks show.
    pub now: Time,
    /// The processes of the sides [`A`] and [`B`], and those that joined later.
    pub processes: Vec<Process>,
    /// The process that is about to join, which will be the next one.
    joiner: Option<Joiner>,
    /// For each end of a link, a process and its name for it, the other end.
    wires: BTreeMap<(usize, PeerId), (usize, PeerId)>,
    /// Bytes that each bulk link takes at a time.
    pub bulk_room: u64,
    /// Are bulk links cut? Nothing arrives, and no room comes back.
    pub bulk_cut: bool,
    /// Is the link cut for what this side sends? Nobody notices but by silence.
    pub cut_from: Vec<bool>,
    /// How long messages are under way. Heartbeats always take [`DELAY`].
    pub delay: Span,
    /// Are all heartbeats lost?
    pub heartbeats_lost: bool,
    /// Who has each epoch at the arbiter.
    pub arbiter: BTreeMap<u64, u128>,
    /// The heirs that the winner of each epoch has named.
    pub heirs: BTreeMap<u64, Vec<u128>>,
    /// Does nobody reach the arbiter?
    pub arbiter_away: bool,
    /// What is on the disk, by sector; a sector that is missing holds zeroes.
    pub disk: BTreeMap<u64, Vec<u8>>,
    /// Does the disk answer nobody? What was sent meanwhile is done when it is back.
    pub disk_away: bool,
    /// This side crashes after carrying out so many more actions.
    pub crashes_after: Option<(usize, u64)>,
    /// Slices that each side's guest gets per tick.
    pub slices: Vec<u32>,
    /// Requests under way: when each is answered, whose it is, and the request.
    at_disk: VecDeque<(Time, usize, DiskRequest)>,
}

impl World {
    fn new(nodes: Vec<Node<Toy>>) -> World {
        World {
            now: BEGIN,
            processes: nodes.into_iter().map(Process::new).collect(),
            joiner: None,
            wires: BTreeMap::from([((A, PeerId(0)), (B, PeerId(0))), ((B, PeerId(0)), (A, PeerId(0)))]),
            bulk_room: 1 << 20,
            bulk_cut: false,
            cut_from: vec![false; 8],
            delay: DELAY,
            heartbeats_lost: false,
            arbiter: BTreeMap::new(),
            heirs: BTreeMap::new(),
            arbiter_away: false,
            disk: BTreeMap::new(),
            disk_away: false,
            crashes_after: None,
            slices: vec![1; 8],
            at_disk: VecDeque::new(),
        }
    }

    /// A pair right after the handshake.
    pub fn pair() -> World {
        World::pair_of(Toy::new(), Toy::new(), options(1), options(2))
    }

    /// A pair in epoch 7, with the arbiter that has given it, in normal running.
    pub fn running_pair() -> World {
        let mut world = World::pair();
        world.arbiter.insert(7, 1);
        world.run_for(ms(20));
        world
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

    /// A VM that runs alone in epoch 7, on side [`A`], and may get a backup.
    pub fn owner() -> World {
        let mut world = World::new(vec![Node::owner(Toy::new(), BEGIN, options(1))]);
        world.arbiter.insert(7, 1);
        world.wires.clear();
        world
    }

    /// A VM that has run alone for a while, on side [`A`] in epoch 7, and has something in its memory.
    pub fn running_owner() -> World {
        let mut world = World::owner();
        for number in 0..50 {
            world.frame(A, &[b'e', number]);
            world.frame(A, &[b'w', number % 12]);
            world.run_for(ms(1));
        }
        world
    }

    /// A link is made between the owner of the VM and a process that has just started; its number among the
    /// processes, which it is once it has shaken hands.
    pub fn join(&mut self, owner: usize) -> usize {
        let newcomer = self.processes.len();
        let link = PeerId(100 + newcomer as u32);
        self.wires.insert((owner, link), (newcomer, PeerId(0)));
        self.wires.insert((newcomer, PeerId(0)), (owner, link));
        let me = |side, owner| Hello {
            vm: "db".to_owned(),
            side,
            owner,
            timeout: TIMEOUT,
            header: Some(header()),
            settings: String::new(),
        };
        let handshake = Handshake::new(self.now, me(Side::Backup, process(newcomer)));
        self.joiner = Some(Joiner {
            handshake,
            inbox: VecDeque::new(),
        });
        let joined = Joined {
            peer: link,
            me: me(Side::Primary, process(owner)),
            token: [7; 16],
        };
        self.deliver(owner, Event::Joined(Box::new(joined)));
        newcomer
    }

    /// The process that is about to join dies, and nobody is told.
    pub fn lose_joiner(&mut self) {
        self.joiner = None;
    }

    /// Lets the process that is about to join go on with its handshake.
    fn tick_joiner(&mut self) {
        let (now, newcomer) = (self.now, self.processes.len());
        let Some(mut joiner) = self.joiner.take() else {
            return;
        };
        while let Some((_, bytes)) = joiner.inbox.pop_front_if(|(time, _)| *time <= now) {
            joiner.handshake.handle(now, HandshakeEvent::Peer(bytes));
        }
        while let Some(action) = joiner.handshake.poll() {
            match action {
                HandshakeAction::Send(bytes) => self.send(newcomer, PeerId(0), &bytes),
                HandshakeAction::Prove { .. } => joiner.handshake.handle(now, HandshakeEvent::Proven),
                HandshakeAction::Build(_) => joiner.handshake.handle(now, HandshakeEvent::Built),
                HandshakeAction::Done { start, primary, .. } => {
                    let options = PairOptions {
                        epoch: start.epoch,
                        primary,
                        ..options(process(newcomer))
                    };
                    let mut node = Process::new(Node::apprentice(Toy::new(), now, options));
                    node.inbox = joiner
                        .inbox
                        .drain(..)
                        .map(|(time, bytes)| (time, Event::Peer(PeerId(0), bytes)))
                        .collect();
                    self.processes.push(node);
                    return;
                }
                HandshakeAction::Failed(failure) => {
                    println!("process {newcomer} does not join: {failure}");
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        self.joiner = Some(joiner);
    }

    /// Sends bytes over a link.
    fn send(&mut self, from: usize, link: PeerId, bytes: &[u8]) {
        let at = self.now.after(self.delay);
        let Some(&(to, name)) = self.wires.get(&(from, link)) else {
            return;
        };
        if self.cut_from[from] {
            return;
        }
        if let Some(process) = self.processes.get_mut(to) {
            process.inbox.push_back((at, Event::Peer(name, bytes.to_vec())));
        } else if let Some(joiner) = &mut self.joiner {
            joiner.inbox.push_back((at, bytes.to_vec()));
        }
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
        for process in self.processes.iter_mut().take(2) {
            process
                .inbox
                .retain(|(_, event)| !matches!(event, Event::Peer(..)));
        }
        self.cut_from[..2].fill(true);
        for side in 0..2 {
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
        let end = self.now.after(ms(10_000));
        while !done(self) {
            assert!(self.now < end, "never: {what}");
            self.tick();
        }
    }

    /// One turn: answers of the disk, then each process looks at its events and runs its guest.
    fn tick(&mut self) {
        self.now = self.now.after(TICK);
        self.answer_disks();
        self.tick_joiner();
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
                let process = &mut self.processes[side];
                process.before = Some(process.node.guest().clone());
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
        let now = self.now;
        let process = &mut self.processes[side];
        match action {
            Action::Send(link, bytes) => {
                process.sent += 1;
                process.sent_bytes += bytes.len() as u64;
                self.send(side, link, &bytes);
            }
            Action::Heartbeat(link, bytes) => {
                process.heartbeats += 1;
                let at = now.after(DELAY);
                if let Some(&(to, name)) = self.wires.get(&(side, link))
                    && !self.heartbeats_lost
                    && let Some(process) = self.processes.get_mut(to)
                {
                    process
                        .inbox
                        .push_back((at, Event::Heartbeat(name, bytes.to_vec())));
                }
            }
            Action::Supply { peer, .. } => self.bulk_has_room(side, peer),
            Action::Bulk(peer, bulk) => {
                process.bulk_sent += 1;
                let at = now.after(self.delay);
                if let Some(&(to, name)) = self.wires.get(&(side, peer))
                    && !self.bulk_cut
                    && let Some(process) = self.processes.get_mut(to)
                {
                    process.inbox.push_back((at, Event::Bulk(name, bulk)));
                    self.bulk_has_room(side, peer);
                }
            }
            Action::HangUp(peer) | Action::Drop(peer) => {
                if let Some(other) = self.wires.remove(&(side, peer)) {
                    self.wires.remove(&other);
                    if other.0 < self.processes.len() {
                        self.deliver(other.0, Event::LinkLost(other.1));
                    }
                }
            }
            Action::Snapshot(piece) => {
                if matches!(piece, SnapshotPiece::State { .. }) {
                    process.taken.clone_from(&process.before);
                }
                let has_room = matches!(piece, SnapshotPiece::State { .. } | SnapshotPiece::Pages(_));
                process.pieces.push(piece);
                if has_room {
                    let room = Event::Snapshot(SnapshotEvent::Room(self.bulk_room));
                    process.inbox.push_back((now, room));
                }
            }
            Action::Tell(news) => process.news.push(news),
            Action::Check(epoch, owner) => {
                let last = self.arbiter.last_key_value();
                let checked = match last {
                    _ if self.arbiter_away => Checked::Unreachable,
                    Some((last, is)) if (*last, *is) == (epoch.0, owner) => Checked::Yours,
                    _ => Checked::Superseded,
                };
                process
                    .inbox
                    .push_back((now.after(DELAY), Event::Checked(epoch, checked)));
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
                let before = self.arbiter.get(&(claim.epoch.0 - 1)).copied();
                assert_eq!(
                    claim.after,
                    before.or(Some(1)),
                    "every claim says who has the epoch before it"
                );
                let verdict = self.ask(&claim);
                let answer = (now.after(DELAY), Event::Verdict(claim, verdict));
                self.processes[side].inbox.push_back(answer);
            }
            Action::GoLive(epoch) => process.live = Some(epoch),
            Action::StandBy { .. } => process.live = None,
            Action::Halt(halt) => {
                process.halted = Some(halt);
                process.stopped = true;
            }
        }
    }

    /// The bulk link from this side takes as much as ever, a moment later.
    fn bulk_has_room(&mut self, side: usize, peer: PeerId) {
        let event = Event::BulkRoom {
            peer,
            bytes: self.bulk_room,
            rate: None,
            spare: false,
        };
        let at = self.now.after(self.delay);
        self.processes[side].inbox.push_back((at, event));
    }

    /// A question takes effect at the arbiter, unless nobody reaches it.
    fn ask(&mut self, claim: &Claim) -> Verdict {
        if self.arbiter_away {
            return Verdict::Unreachable;
        }
        let winner = *self.arbiter.entry(claim.epoch.0).or_insert(claim.owner);
        let heirs = self.heirs.entry(claim.epoch.0);
        let heirs = heirs.or_insert_with(|| claim.heirs.clone());
        if winner == claim.owner {
            Verdict::Won
        } else {
            let heir = heirs.contains(&claim.owner);
            Verdict::Lost { heir }
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
