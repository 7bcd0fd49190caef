//! `Server`: a program that decides by itself what it does, for worlds in which anything may happen.
//!
//! It computes, reads and writes its disk, waits for its timer, prints, and answers the requests of one
//! client; everything it shows depends on everything that ever happened to it, so that two different lives
//! are seen to differ. A million seeds of the protocol so need no processor. The simulator boots it, asks it
//! and watches it (`crates/sim/src/toy_server.rs`). What it does with its state must never change: every
//! recorded seed would be another world.

use std::collections::VecDeque;

use machine::Stop;
use machine::{Control, Cut, DiskOperation, DiskRequest, DiskStatus, Effect, Input, Step};
use replica::Digest;
use replica::log::bytes::{Malformed, Reader, Writer};

use crate::board::{Board, Program, Toy};
use crate::hash::{mix, mix_bytes};
use crate::state::{ITEMS_MAX, read_bytes, read_option, write_option};

/// The longest computation, in steps.
const WORK_MAX: u64 = 300_000;
/// With more tasks waiting than this the server does not echo what is typed.
const TASKS_TYPED_MAX: usize = 8;
/// Ticks of `mtime` between two interrupts of a computation.
const TICK: u64 = 5000;
/// Sectors of the disk: few, so that requests overlap often.
pub const SECTORS: u64 = 12;
/// Payload of a request that asks the server to switch itself off.
pub const PAYLOAD_OFF: u64 = u64::MAX;

/// One thing that the server is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    /// Writes a part of its state to the console.
    Print,
    /// Submits a drawn disk request.
    Disk,
    /// Has the disk keep what is on it.
    Flush,
    /// Reads all of the disk.
    ReadAll,
    /// Goes on only when no disk request is pending.
    Sync,
    /// Asks for random bytes.
    Entropy,
    /// Goes on only when the timer has fired, so many ticks of `mtime` from now.
    Sleep(u64),
    /// Answers the request of this number.
    Reply(u64),
    /// Answers the request of this number again, as it did before.
    Repeat(u64),
    /// Switches itself off, when no disk request is pending.
    PowerOff,
}

/// A deterministic server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Stands for registers and memory: everything is mixed into this number.
    hash: u64,
    /// What it will do, in this order.
    tasks: VecDeque<Task>,
    /// Steps of computation before the first task is done.
    work: u64,
    /// While it sleeps: the `mtime` at which it wakes.
    timer: Option<u64>,
    /// The `mtime` of the next interrupt of a computation.
    tick: u64,
    /// The number of the last request that it has answered.
    answered: u64,
    /// The frame with which it answered that request.
    last_reply: Vec<u8>,
    /// Has it asked for random bytes that have not come yet?
    entropy_wanted: bool,
    /// How often it has asked for random bytes and not got them. Nothing that it does depends on it.
    wishes: u32,
}

impl Toy<Server> {
    /// A server at step 0; equal seeds give equal servers.
    #[must_use]
    pub fn boot(seed: u64) -> Toy<Server> {
        Toy::that_runs(Server {
            hash: mix(seed, 1),
            tasks: VecDeque::from([Task::Print, Task::Disk, Task::Disk, Task::Print]),
            work: 1000,
            timer: None,
            tick: TICK,
            answered: 0,
            last_reply: Vec::new(),
            entropy_wanted: false,
            wishes: 0,
        })
    }

    /// A number that stands for the state.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.program.fingerprint(&self.board)
    }

    /// The frame with which a client makes request number `seq`, from 1.
    #[must_use]
    pub fn request(seq: u64, payload: u64) -> Vec<u8> {
        let mut frame = seq.to_le_bytes().to_vec();
        frame.extend(payload.to_le_bytes());
        frame
    }

    /// What a frame of the server answers: the number of the request, and the content.
    #[must_use]
    pub fn reply(frame: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (seq, content) = frame.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*seq), content.to_vec()))
    }
}

impl Server {
    fn fingerprint(&self, board: &Board) -> u64 {
        let mut sum = mix(mix(self.hash, board.now.0), board.mtime());
        for value in [
            self.tasks.len() as u64,
            self.work,
            self.timer.unwrap_or(1),
            self.tick,
            self.answered,
            board.submitted(),
        ] {
            sum = mix(sum, value);
        }
        mix(
            sum,
            u64::from(board.is_off()) + 2 * u64::from(self.entropy_wanted),
        )
    }

    fn stir(&mut self, value: u64) {
        self.hash = mix(self.hash, value);
    }

    /// A number below `end` out of the state.
    fn choose(&mut self, end: u64) -> u64 {
        self.stir(end);
        self.hash % end
    }

    fn on_frame(&mut self, frame: &[u8]) {
        let Some((seq, payload)) = frame.split_first_chunk::<8>() else {
            return;
        };
        let seq = u64::from_le_bytes(*seq);
        if seq <= self.answered {
            // As TCP: what was answered is answered again, and changes nothing.
            self.tasks.push_back(Task::Repeat(seq));
            return;
        }
        if seq != self.answered + 1 || self.tasks.contains(&Task::Reply(seq)) {
            return;
        }
        if payload == PAYLOAD_OFF.to_le_bytes() {
            self.tasks.extend([Task::Disk, Task::Reply(seq), Task::Sync]);
            self.tasks.extend([Task::ReadAll, Task::Sync, Task::PowerOff]);
            return;
        }
        for _ in 0..self.choose(6) {
            let task = match self.choose(12) {
                0..=2 => Task::Print,
                3..=7 => Task::Disk,
                8 => Task::Sync,
                9 => Task::Entropy,
                // 0.1 to 20 ms
                _ => Task::Sleep(1000 + self.choose(200_000)),
            };
            self.tasks.push_back(task);
        }
        if self.choose(3) == 0 {
            // As a database commits: what it answers for is flushed first.
            self.tasks.extend([Task::Sync, Task::Flush]);
        }
        self.tasks.extend([Task::Sync, Task::Reply(seq)]);
    }

    /// Is the first task held up by something that only an input, or the timer, can bring about?
    fn is_waiting(&self, board: &Board) -> bool {
        match self.tasks.front() {
            None => true,
            Some(_) if self.work > 0 => false,
            Some(Task::Sync | Task::PowerOff) => !board.pending().is_empty(),
            Some(Task::Sleep(_)) => self.timer.is_some_and(|at| board.mtime() < at),
            Some(_) => false,
        }
    }

    fn perform(&mut self, board: &mut Board) {
        let Some(task) = self.tasks.pop_front() else {
            return;
        };
        // What time it is, is part of what it does.
        self.stir(board.mtime());
        self.work = if self.choose(8) == 0 {
            self.choose(WORK_MAX)
        } else {
            self.choose(3000)
        };
        match task {
            Task::Print => {
                let text = format!("{:016x}\n", self.hash).into_bytes();
                let bytes = text[..1 + self.choose(16) as usize].to_vec();
                board.show(Effect::ConsoleWrite { port: 0, bytes });
            }
            Task::Disk => {
                let operation = self.operation();
                board.submit(operation);
            }
            Task::Flush => {
                board.submit(DiskOperation::Flush);
            }
            Task::ReadAll => {
                board.submit(DiskOperation::Read {
                    sector: 0,
                    bytes: SECTORS as u32 * 512,
                });
            }
            Task::Sync => {}
            Task::Entropy => {
                self.entropy_wanted = true;
                self.wishes += 1;
                board.show(Effect::EntropyWanted { bytes: 8 });
            }
            Task::Sleep(ticks) if self.timer.is_none() => {
                self.timer = Some(board.mtime() + ticks);
                self.tasks.push_front(Task::Sleep(ticks));
                self.work = 0;
            }
            Task::Sleep(_) => self.timer = None,
            Task::Reply(seq) => {
                self.answered = seq;
                let mut frame = seq.to_le_bytes().to_vec();
                frame.extend(self.hash.to_le_bytes());
                self.last_reply.clone_from(&frame);
                board.show(Effect::NetTransmit { port: 0, frame });
            }
            Task::Repeat(seq) if seq == self.answered => {
                let frame = self.last_reply.clone();
                board.show(Effect::NetTransmit { port: 0, frame });
            }
            Task::Repeat(_) => {}
            Task::PowerOff => {
                board.power_off();
            }
        }
    }

    fn operation(&mut self) -> DiskOperation {
        let sectors = 1 + self.choose(3);
        let sector = self.choose(SECTORS - sectors + 1);
        let small = sectors as u32;
        match self.choose(10) {
            0..=2 => DiskOperation::Read {
                sector,
                bytes: small * 512,
            },
            3..=6 => DiskOperation::Write {
                sector,
                data: self.pattern(sectors).into(),
            },
            7 => DiskOperation::Flush,
            8 => DiskOperation::WriteZeroes {
                sector,
                sectors: small,
                unmap: self.choose(2) == 0,
            },
            _ => DiskOperation::Discard {
                sector,
                sectors: small,
            },
        }
    }

    fn pattern(&mut self, sectors: u64) -> Vec<u8> {
        let mut data = vec![0; sectors as usize * 512];
        for (index, sector) in data.chunks_mut(512).enumerate() {
            let word = mix(self.hash, index as u64).to_le_bytes();
            sector[..8].copy_from_slice(&word);
            sector[504..].copy_from_slice(&word);
        }
        data
    }
}

impl Program for Server {
    fn on_input(&mut self, board: &mut Board, input: &Input) {
        self.stir(board.now.0);
        match input {
            Input::Clock { .. } => {}
            Input::Break { port } => self.stir(u64::from(*port)),
            Input::DiskSize { sectors, .. } => self.stir(*sectors),
            Input::Console { bytes, .. } => {
                self.hash = mix_bytes(self.hash, bytes);
                // Like any console, it loses what comes too fast.
                if self.tasks.len() < TASKS_TYPED_MAX {
                    self.tasks.push_back(Task::Print);
                }
            }
            Input::NetFrame { frame, .. } => {
                self.hash = mix_bytes(self.hash, frame);
                self.on_frame(frame);
            }
            Input::DiskDone { id, status, data, .. } => {
                let Some(DiskRequest { operation, .. }) = board.complete(*id) else {
                    return;
                };
                self.stir(*id);
                self.hash = mix_bytes(self.hash, data);
                if *status == DiskStatus::Failed {
                    // A driver that does not give up: the same again under a new number.
                    board.submit(operation);
                }
            }
            Input::Entropy { bytes } => {
                self.wishes = self.wishes.saturating_sub(1);
                if std::mem::take(&mut self.entropy_wanted) {
                    self.hash = mix_bytes(self.hash, bytes);
                }
            }
            Input::Control(Control::PowerOff) => board.power_off(),
            Input::Control(Control::Reset) => {
                self.tasks.clear();
                // A device that was reset waits for nothing.
                self.wishes = 0;
                self.timer = None;
                self.work = 100;
                self.tasks.push_back(Task::Print);
            }
        }
    }

    /// The server runs up to the next interrupt or task in one go, and looks for no cut: that takes no time.
    fn run(&mut self, board: &mut Board, until: Step, _cut: &dyn Cut) -> Option<Stop> {
        if self.is_waiting(board) {
            return Some(Stop::Waiting { wake_at: self.timer });
        }
        // Decided only when an instruction follows: something may yet be injected at this step.
        if board.mtime() >= self.tick {
            self.stir(board.now.0);
            self.tick = board.mtime() + TICK;
        }
        if self.work > 0 {
            let interrupt = board.clock.step_of(self.tick);
            let steps = self.work.min(until.min(interrupt).since(board.now));
            board.now = board.now.after(steps);
            self.work -= steps;
        } else {
            board.now = board.now.after(1);
            self.perform(board);
        }
        None
    }

    fn save(&self, w: &mut Writer) {
        w.varint(self.hash);
        w.varint(self.tasks.len() as u64);
        for task in &self.tasks {
            let (kind, number) = match *task {
                Task::Print => (0, 0),
                Task::Disk => (1, 0),
                Task::Flush => (2, 0),
                Task::ReadAll => (3, 0),
                Task::Sync => (4, 0),
                Task::Entropy => (5, 0),
                Task::Sleep(ticks) => (6, ticks),
                Task::Reply(seq) => (7, seq),
                Task::Repeat(seq) => (8, seq),
                Task::PowerOff => (9, 0),
            };
            w.raw(&[kind]);
            w.varint(number);
        }
        w.varint(self.work);
        write_option(w, self.timer);
        w.varint(self.tick);
        w.varint(self.answered);
        w.bytes(&self.last_reply);
        w.raw(&[u8::from(self.entropy_wanted)]);
        w.varint(u64::from(self.wishes));
    }

    fn load(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        self.hash = r.varint()?;
        self.tasks.clear();
        for _ in 0..r.varint_at_most(ITEMS_MAX)? {
            let [kind] = r.array()?;
            let number = r.varint()?;
            self.tasks.push_back(match kind {
                0 => Task::Print,
                1 => Task::Disk,
                2 => Task::Flush,
                3 => Task::ReadAll,
                4 => Task::Sync,
                5 => Task::Entropy,
                6 => Task::Sleep(number),
                7 => Task::Reply(number),
                8 => Task::Repeat(number),
                9 => Task::PowerOff,
                unknown => return Err(Malformed::Tag(unknown)),
            });
        }
        self.work = r.varint()?;
        self.timer = read_option(r)?;
        self.tick = r.varint()?;
        self.answered = r.varint()?;
        self.last_reply = read_bytes(r)?;
        self.entropy_wanted = r.truth()?;
        self.wishes = u32::try_from(r.varint_at_most(ITEMS_MAX)?).map_err(|_| Malformed::TooLarge)?;
        Ok(())
    }

    fn pending_entropy(&self) -> Vec<u32> {
        vec![8; self.wishes as usize]
    }

    fn digest(&self, board: &Board) -> Digest {
        let disk = board
            .pending()
            .iter()
            .fold(0, |sum, request| mix(sum, request.id));
        let memory = self.fingerprint(board);
        Digest {
            parts: vec![("memory".to_owned(), memory), ("disk".to_owned(), disk)],
        }
    }
}
