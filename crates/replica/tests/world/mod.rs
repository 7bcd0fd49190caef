//! A world for two nodes: a link with a delay, an arbiter, one shared disk, and a clock that ticks.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod toy;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;

use machine::{DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, Input, NetConfig, Step};
use replica::{
    Action, Claim, DiskAnswer, Epoch, Event, Guest, Halt, Header, ImageId, Next, Node, Options, PairOptions,
    RoleName, Span, Time, Verdict,
};
pub use toy::Toy;

pub const TIMEOUT: Span = Span::from_ms(500);
pub const TICK: Span = Span::from_us(100);
pub const DELAY: Span = Span::from_us(100);
pub const DISK: Span = Span::from_us(300);

pub const PRIMARY: usize = 0;
pub const BACKUP: usize = 1;

pub fn options(owner: u128) -> PairOptions {
    PairOptions {
        epoch: Epoch(7),
        owner,
        primary: 1,
        timeout: TIMEOUT,
        run: Options {
            digest_every: Some(1000),
            record: None,
        },
    }
}

/// One node and what the world knows of it.
pub struct Side {
    pub node: Node<Toy>,
    /// It gets no call at all.
    pub stopped: bool,
    pub halted: Option<Halt>,
    pub live: Option<Epoch>,
    pub shown: Vec<(Time, Effect)>,
    pub asked: Vec<(Time, Claim)>,
    pub disk_log: Vec<(Time, DiskRequest)>,
    pub file: Vec<u8>,
    pub sent: u64,
    pub sent_bytes: u64,
    pub heartbeats: u64,
    inbox: VecDeque<(Time, Event)>,
}

impl Side {
    pub fn new(node: Node<Toy>) -> Side {
        Side {
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
            inbox: VecDeque::new(),
        }
    }

    pub fn role(&self) -> RoleName {
        self.node.metrics().role
    }

    /// Frames that it transmitted.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let frame = |(_, effect): &(Time, Effect)| match effect {
            Effect::NetTransmit { frame, .. } => Some(frame.clone()),
            _ => None,
        };
        self.shown.iter().filter_map(frame).collect()
    }
}

pub struct World {
    pub now: Time,
    pub sides: Vec<Side>,
    /// Messages from this side get lost (the link is cut, nobody notices but by silence).
    pub deaf: [bool; 2],
    /// How long messages are under way. Heartbeats always take [`DELAY`].
    pub delay: Span,
    pub heartbeats: bool,
    pub arbiter: BTreeMap<u64, u128>,
    pub arbiter_up: bool,
    pub disk: BTreeMap<u64, Vec<u8>>,
    pub disk_up: bool,
    /// This side dies after carrying out so many more actions.
    pub dies_after: Option<(usize, u64)>,
    /// Slices a side gets per tick.
    pub slices: [u32; 2],
    waiting_disk: VecDeque<(Time, usize, DiskRequest)>,
}

impl World {
    pub fn new(nodes: Vec<Node<Toy>>) -> World {
        World {
            now: Time(1_000_000_000),
            sides: nodes.into_iter().map(Side::new).collect(),
            deaf: [false; 2],
            delay: DELAY,
            heartbeats: true,
            arbiter: BTreeMap::new(),
            arbiter_up: true,
            disk: BTreeMap::new(),
            disk_up: true,
            dies_after: None,
            slices: [1; 2],
            waiting_disk: VecDeque::new(),
        }
    }

    pub fn pair() -> World {
        World::pair_of(Toy::new(), Toy::new(), options(1), options(2))
    }

    pub fn pair_of(a: Toy, b: Toy, one: PairOptions, two: PairOptions) -> World {
        let now = Time(1_000_000_000);
        World::new(vec![Node::primary(a, now, one), Node::backup(b, now, two)])
    }

    pub fn solo(options: Options) -> World {
        World::new(vec![Node::solo(Toy::new(), Time(1_000_000_000), options)])
    }

    pub fn side(&self, index: usize) -> &Side {
        &self.sides[index]
    }

    pub fn event(&mut self, to: usize, event: Event) {
        let now = self.now;
        self.sides[to].inbox.push_back((now, event));
    }

    pub fn frame(&mut self, to: usize, frame: &[u8]) {
        self.event(
            to,
            Event::Input(Input::NetFrame {
                port: 0,
                frame: frame.to_vec(),
            }),
        );
    }

    /// The process dies; its peer's link breaks.
    pub fn kill(&mut self, index: usize) {
        self.sides[index].stopped = true;
        self.sides[index].inbox.clear();
        self.waiting_disk.retain(|(_, side, _)| *side != index);
    }

    pub fn break_link(&mut self) {
        for side in &mut self.sides {
            side.inbox.retain(|(_, event)| !matches!(event, Event::Peer(_)));
        }
        self.deaf = [true; 2];
        for index in 0..self.sides.len() {
            self.event(index, Event::LinkLost);
        }
    }

    pub fn run(&mut self, span: Span) {
        let end = self.now.after(span);
        while self.now < end {
            self.tick();
        }
    }

    /// Until `done`, for at most ten seconds.
    pub fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let end = self.now.after(Span::from_ms(10_000));
        while !done(self) {
            assert!(self.now < end, "never: {what}");
            self.tick();
        }
    }

    pub fn tick(&mut self) {
        self.now = self.now.after(TICK);
        self.answer_disks();
        for index in 0..self.sides.len() {
            let mut order = true;
            while order && !self.sides[index].stopped {
                let side = &mut self.sides[index];
                let due = side.inbox.iter().position(|(time, _)| *time <= self.now);
                let Some((_, event)) = due.and_then(|at| side.inbox.remove(at)) else {
                    order = false;
                    continue;
                };
                side.node.handle(self.now, event);
                self.act(index);
            }
            for _ in 0..self.slices[index.min(1)] {
                if self.sides[index].stopped {
                    break;
                }
                let next = self.sides[index].node.slice(self.now, &AtomicBool::new(false));
                self.act(index);
                if !matches!(next, Next::Busy) {
                    break;
                }
            }
        }
    }

    fn answer_disks(&mut self) {
        while self.disk_up
            && let Some((time, _, _)) = self.waiting_disk.front()
            && *time <= self.now
            && let Some((_, index, request)) = self.waiting_disk.pop_front()
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
            self.event(
                index,
                Event::DiskDone(DiskAnswer {
                    disk,
                    id,
                    status: DiskStatus::Ok,
                    data,
                }),
            );
        }
    }

    pub fn act(&mut self, index: usize) {
        while let Some(action) = self.sides[index].node.poll(self.now) {
            let now = self.now;
            let other = 1 - index;
            if let Some((who, left)) = &mut self.dies_after
                && *who == index
            {
                if *left == 0 {
                    self.dies_after = None;
                    self.kill(index);
                    return;
                }
                *left -= 1;
            }
            let side = &mut self.sides[index];
            match action {
                Action::Send(bytes) => {
                    side.sent += 1;
                    side.sent_bytes += bytes.len() as u64;
                    if !self.deaf[index] {
                        let at = now.after(self.delay);
                        self.sides[other]
                            .inbox
                            .push_back((at, Event::Peer(bytes.to_vec())));
                    }
                }
                Action::Heartbeat(bytes) => {
                    side.heartbeats += 1;
                    if self.heartbeats {
                        let at = now.after(DELAY);
                        self.sides[other]
                            .inbox
                            .push_back((at, Event::Heartbeat(bytes.to_vec())));
                    }
                }
                Action::Release(shown) => side.shown.push((now, shown.into())),
                Action::Entropy { bytes } => side.shown.push((now, Effect::EntropyWanted { bytes })),
                Action::Disk(request) => {
                    side.disk_log.push((now, request.clone()));
                    self.waiting_disk.push_back((now.after(DISK), index, request));
                }
                Action::Append(bytes) => side.file.extend_from_slice(&bytes),
                Action::Ask(claim) => {
                    side.asked.push((now, claim));
                    assert_eq!(
                        claim.after,
                        Some(1),
                        "every claim says who has the epoch before it"
                    );
                    let verdict = if self.arbiter_up {
                        let winner = *self.arbiter.entry(claim.epoch.0).or_insert(claim.owner);
                        if winner == claim.owner {
                            Verdict::Won
                        } else {
                            Verdict::Lost
                        }
                    } else {
                        Verdict::Unreachable
                    };
                    let at = now.after(DELAY);
                    side.inbox.push_back((at, Event::Verdict(claim, verdict)));
                }
                Action::GoLive(epoch) => side.live = Some(epoch),
                Action::Halt(halt) => {
                    side.halted = Some(halt);
                    side.stopped = true;
                }
            }
        }
    }
}

/// Waits until both halves stand at the same step, and compares them there.
pub fn same_state(world: &mut World) {
    let step = |world: &World, index: usize| world.side(index).node.guest().now();
    world.until("the same step", |world| {
        step(world, PRIMARY) == step(world, BACKUP)
    });
    let digest = |world: &World, index: usize| world.side(index).node.guest().clone().digest();
    assert_eq!(digest(world, PRIMARY), digest(world, BACKUP));
}

/// A header of no machine in particular.
pub fn header() -> Header {
    Header {
        program: "toy 1".to_owned(),
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
        rng_seed: [7; 32],
        wall_clock_ns: 1_700_000_000_000_000_000,
        command_line: "console=ttyS0".to_owned(),
        firmware: ImageId::of(b"firmware"),
        kernel: ImageId::of(b"kernel"),
        initrd: ImageId::of(b""),
    }
}
