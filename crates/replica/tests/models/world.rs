//! The world of a recorded guest: disks, a network, entropy and an operator, all without surprises.
//!
//! What comes to the guest depends on nothing but what the guest has shown and asked for, and on the time
//! that the recording counts; so a life that is recorded again is the same life.

use std::collections::BTreeMap;

use machine::{Control, DiskOperation, DiskRequest, DiskStatus, Input};
use replica::{Action, DiskAnswer, Event, Shown, Span, Time};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// The sector for which every request of the guest of all devices fails.
const BAD_SECTOR: u64 = 13;
/// The sector whose requests take so long that the reset comes first.
const SLOW_SECTOR: u64 = 30;
/// Place of the request's number in an answer of the server.
const NUMBER_AT: usize = 16;
/// How many requests the server answers before its operator switches it off, in the middle of the next one.
const ANSWERS: u64 = 9;

/// The world of one guest.
#[derive(Default)]
pub struct World {
    /// What is on the disks where the guest has written, by disk and sector.
    written: BTreeMap<(u8, u64), Vec<u8>>,
    /// What will come to the guest: when, and in which order if at one time.
    coming: BTreeMap<(Time, u64), Event>,
    /// How many events have been planned.
    planned: u64,
    /// State of the random numbers for entropy.
    random: u64,
    /// The console's last line, as far as it is written.
    line: Vec<u8>,
    /// Is the guest the server, which waits for requests?
    serves: bool,
}

impl World {
    /// The world of the guest of this name.
    pub fn of(name: &str) -> World {
        let mut world = World::default();
        if name == "server" {
            world.serves = true;
            world.ask_server(Time(0), 1);
        }
        world
    }

    /// The next event that is due.
    pub fn due(&mut self, now: Time) -> Option<Event> {
        let first = self.coming.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// The guest does something to its world.
    pub fn carry_out(&mut self, now: Time, action: &Action) {
        match action {
            Action::Release(Shown::Console { bytes, .. }) => {
                for byte in bytes {
                    self.line.push(*byte);
                    if *byte == b'\n' {
                        let line = std::mem::take(&mut self.line);
                        if let [b'?', wish, b'\n'] = line[..] {
                            self.grant(now, wish);
                        }
                    }
                }
            }
            Action::Release(Shown::Network { frame, .. }) => self.on_answer(now, frame),
            Action::Entropy { bytes } => {
                let bytes = (0..*bytes).map(|_| self.random() as u8).collect();
                self.plan(now, 150, Event::Input(Input::Entropy { bytes }));
            }
            Action::Disk(request) => self.on_request(now, request),
            _ => {}
        }
    }

    /// Has an event come so many microseconds later.
    fn plan(&mut self, now: Time, later_us: u64, event: Event) {
        self.planned += 1;
        let at = now.after(Span::from_us(later_us));
        self.coming.insert((at, self.planned), event);
    }

    fn input(&mut self, now: Time, later_us: u64, input: Input) {
        self.plan(now, later_us, Event::Input(input));
    }

    fn type_in(&mut self, now: Time, later_us: u64, bytes: &[u8]) {
        let (port, bytes) = (0, bytes.to_vec());
        self.input(now, later_us, Input::Console { port, bytes });
    }

    fn frame(&mut self, now: Time, later_us: u64, port: u8, length: usize) {
        let frame = (0..length).map(|at| (at / 16 + length) as u8).collect();
        self.input(now, later_us, Input::NetFrame { port, frame });
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.random;
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 27
    }

    /// The guest has said on its console what it wants (tests/guests/board.h).
    fn grant(&mut self, now: Time, wish: u8) {
        match wish {
            b't' => self.type_in(now, 100, b"what is typed is longer than the FIFO of the line"),
            b'b' => {
                self.type_in(now, 100, b"ab");
                self.input(now, 200, Input::Break { port: 0 });
                self.type_in(now, 300, b"cd");
            }
            b'n' => {
                for (later, length) in [(100, 60), (150, 1514), (200, 5000)] {
                    self.frame(now, later, 0, length);
                }
            }
            b'm' => {
                for (later, length) in [(100, 60), (150, 5000), (200, 1514)] {
                    self.frame(now, later, 1, length);
                }
            }
            b'h' => {
                for number in 0..300 {
                    self.frame(now, 100, 0, 14 + number % 5);
                }
            }
            b'g' => {
                let (disk, sectors) = (0, 10_400);
                self.input(now, 100, Input::DiskSize { disk, sectors });
            }
            b'r' => {
                self.type_in(now, 300, b"typed before the reset");
                self.input(now, 400, Input::Control(Control::Reset));
            }
            other => panic!("a wish that is not known: {other}"),
        }
    }

    /// Has the server be asked what comes next, and sometimes something else before.
    fn ask_server(&mut self, now: Time, number: u64) {
        let request = |number: u64| [0x80 + (number % 100) as u8];
        if number.is_multiple_of(3) {
            self.type_in(now, 200, b"typed");
            self.frame(now, 300, 0, 100);
            self.type_in(now, 700, &request(number - 1)); // once more
        }
        self.type_in(now, 1000, &request(number));
    }

    /// A frame of the guest: if that is the server, an answer with its number.
    fn on_answer(&mut self, now: Time, frame: &[u8]) {
        // An answer that is given once more comes while the next request is under way.
        if !self.serves || !self.coming.is_empty() {
            return;
        }
        let number: [u8; 8] = frame[NUMBER_AT..NUMBER_AT + 8].try_into().unwrap();
        let number = u64::from_le_bytes(number);
        self.ask_server(now, number + 1);
        if number == ANSWERS {
            self.input(now, 3_000, Input::Control(Control::PowerOff));
        }
    }

    /// What is in a sector of a disk.
    fn sector(&self, disk: u8, sector: u64) -> Vec<u8> {
        let first = || sector.to_le_bytes().into_iter().cycle().take(SECTOR).collect();
        self.written.get(&(disk, sector)).cloned().unwrap_or_else(first)
    }

    fn on_request(&mut self, now: Time, request: &DiskRequest) {
        let (disk, id) = (request.disk, request.id);
        let mut data = Vec::new();
        let (first, writes) = match &request.operation {
            DiskOperation::Read { sector, bytes } => {
                for index in 0..u64::from(*bytes) / SECTOR as u64 {
                    data.extend(self.sector(disk, sector + index));
                }
                (*sector, vec![])
            }
            DiskOperation::Write { sector, data } => {
                (*sector, data.chunks(SECTOR).map(<[u8]>::to_vec).collect())
            }
            DiskOperation::Discard { sector, sectors }
            | DiskOperation::WriteZeroes { sector, sectors, .. } => {
                (*sector, vec![vec![0; SECTOR]; *sectors as usize])
            }
            DiskOperation::Flush => (0, vec![]),
        };
        let is_bad = if self.serves {
            id % 11 == 10
        } else {
            first == BAD_SECTOR
        };
        let status = if is_bad {
            data.clear();
            DiskStatus::Failed
        } else {
            self.written
                .extend((first..).map(|sector| (disk, sector)).zip(writes));
            DiskStatus::Ok
        };
        let later_us = if first == SLOW_SECTOR {
            5000
        } else {
            100 + id * 797 % 400
        };
        self.plan(
            now,
            later_us,
            Event::DiskDone(DiskAnswer {
                disk,
                id,
                status,
                data,
            }),
        );
    }
}
