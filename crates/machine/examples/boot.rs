//! Boots a kernel with the console on the terminal: the smallest host there is.
//!
//! `boot KERNEL INITRD FIRMWARE [--append S] [--harts N] [--memory MIB] [--disk FILE] [--virtual] ...`
//!
//! `--virtual` lets time pass with the steps alone, so that every run is the same; `--until` ends the run
//! when the console shows TEXT; `--steps` ends it at a step; `--every N` prints a digest every N steps;
//! `--zeal SEED` cuts a virtual run into random slices, drops caches at random and replaces the machine by
//! its snapshot every hundred million steps, which must not change a digest; `--clone SEED` clones the
//! machine of a virtual run all the time and replaces it by clones, which must not either;
//! `--engine interpreter` translates nothing, `always` everything.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an example is a host: it has files, threads and a clock"
)]

#[path = "../tests/rig/cloner.rs"]
mod cloner;

use std::{
    error::Error,
    io::{Read, Write},
    sync::{Arc, atomic::AtomicBool, mpsc},
    time::{Duration, Instant, SystemTime},
};

use cloner::Cloner;
use hart::{Engine, Interpreter, InterpreterOptions, Translate};
use machine::{
    Boot, Config, DiskConfig, DiskOperation, DiskStatus, Effect, Input, Machine, RestoreError, Step, Stop,
    clock::TICKS_PER_SECOND,
};

/// What the command line asks for.
struct Options {
    /// Kernel, initrd and firmware; `-`: there is none.
    files: Vec<String>,
    /// The kernel's command line.
    append: String,
    harts: usize,
    /// Memory in MiB.
    memory: u64,
    /// Whether time passes with the steps alone.
    is_virtual: bool,
    /// The text on the console with which the run ends.
    until: Option<String>,
    /// The step at which the run ends.
    steps: u64,
    /// How many steps lie between two digests.
    every: u64,
    /// The seed with which caches are dropped and the run is cut at random.
    zeal: Option<u64>,
    /// The seed with which the machine is cloned at random.
    clones: Option<u64>,
    translate: Translate,
    /// The disk's content. Writes stay in memory.
    disk: Vec<u8>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        files: Vec::new(),
        append: String::from("console=ttyS0 earlycon=sbi"),
        harts: 1,
        memory: 1024,
        is_virtual: false,
        until: None,
        steps: u64::MAX,
        every: u64::MAX,
        zeal: None,
        clones: None,
        translate: Translate::Hot,
        disk: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--append" => options.append = value()?,
            "--harts" => options.harts = value()?.parse()?,
            "--memory" => options.memory = value()?.parse()?,
            "--until" => options.until = Some(value()?),
            "--steps" => options.steps = value()?.parse()?,
            "--every" => options.every = value()?.parse()?,
            "--disk" => options.disk = std::fs::read(value()?)?,
            "--zeal" => options.zeal = Some(value()?.parse()?),
            "--clone" => options.clones = Some(value()?.parse()?),
            "--engine" => {
                options.translate = match value()?.as_str() {
                    "interpreter" => Translate::Never,
                    "always" => Translate::Always,
                    _ => Translate::Hot,
                }
            }
            "--virtual" => options.is_virtual = true,
            _ => options.files.push(word),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let load = |at: usize| -> Result<Arc<[u8]>, Box<dyn Error>> {
        match options.files.get(at).filter(|name| *name != "-") {
            Some(name) => Ok(std::fs::read(name)
                .map_err(|error| format!("{name}: {error}"))?
                .into()),
            None => Ok(Arc::default()),
        }
    };
    let wall_clock_ns = if options.is_virtual {
        1_700_000_000_000_000_000
    } else {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_nanos() as u64
    };
    let serial = String::from("example");
    let sectors = options.disk.len() as u64 / 512;
    let disk = (sectors > 0).then_some(DiskConfig {
        sectors,
        read_only: false,
        serial,
    });
    let disks = disk.into_iter().collect();
    let config = Config {
        memory: options.memory << 20,
        harts: options.harts,
        disks,
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0x5a; 32],
        wall_clock_ns,
        boot: Boot {
            kernel: load(0)?,
            initrd: load(1)?,
            firmware: load(2)?,
            command_line: options.append.clone(),
        },
    };
    let machine = Machine::new(config, engine(&options))?;
    let random = options.zeal.or(options.clones).unwrap_or(0) * 2 + 1;
    let next_snapshot = Step(100_000_000);
    let mut host = Host {
        random,
        next_snapshot,
        disk: options.disk.clone(),
        machine,
        start: Instant::now(),
        seen: String::new(),
        next_digest: options.every,
        cloner: options.clones.map(|seed| Cloner::new(seed, false)),
    };
    let why = if options.is_virtual {
        host.run_virtual(&options)?
    } else {
        host.run_real(&options)?
    };
    host.report(&why);
    Ok(())
}

fn engine(options: &Options) -> Box<dyn Engine> {
    Box::new(Interpreter::new(InterpreterOptions {
        zeal: options.zeal,
        translate: options.translate,
        ..InterpreterOptions::default()
    }))
}

struct Host {
    machine: Machine,
    start: Instant,
    seen: String,
    next_digest: u64,
    random: u64,
    next_snapshot: Step,
    disk: Vec<u8>,
    cloner: Option<Cloner>,
}

/// In virtual time a step takes 10 ns.
const VIRTUAL_RATE: u32 = u32::MAX / 10;

impl Host {
    fn run_virtual(&mut self, options: &Options) -> Result<String, Box<dyn Error>> {
        let cut = AtomicBool::new(false);
        self.machine.inject(Input::Clock {
            mtime: 0,
            rate: VIRTUAL_RATE,
        });
        loop {
            let until = Step(options.steps.min(self.next_digest));
            let disturbed = options.zeal.or(options.clones);
            let slice = disturbed.map_or(until, |_| self.disturb(options).min(until));
            match self.machine.run(slice, &cut) {
                Stop::Effects => {
                    if let Some(why) = self.effects(options)? {
                        return Ok(why);
                    }
                }
                Stop::Reached if slice < until => {}
                Stop::Full => {}
                Stop::Reached => {
                    if self.machine.now().0 >= options.steps {
                        return Ok(String::from("step reached"));
                    }
                    eprintln!("{} {}", self.machine.now(), self.machine.digest());
                    self.next_digest += options.every;
                }
                Stop::Waiting { wake_at: Some(mtime) } => {
                    self.machine.inject(Input::Clock {
                        mtime,
                        rate: VIRTUAL_RATE,
                    });
                }
                stop => return Ok(format!("{stop:?}")),
            }
        }
    }

    /// Does what the guest must not notice; the end of the next slice.
    fn disturb(&mut self, options: &Options) -> Step {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let now = self.machine.now();
        if let Some(cloner) = &mut self.cloner
            && let Some(clone) = cloner.disturb(&mut self.machine, 200, &|| engine(options))
        {
            eprintln!("clone {} of step {} at {now}", cloner.clones, clone.now());
            if clone.now() == now {
                self.machine = clone;
            }
        }
        if options.zeal.is_none() {
            return self.slice_end();
        }
        if self.random.is_multiple_of(64) {
            self.machine.forget();
        }
        if now >= self.next_snapshot && !self.machine.has_effects() {
            self.next_snapshot = now.after(100_000_000);
            if let Some(cloner) = &mut self.cloner {
                cloner.give_up(&mut self.machine);
            }
            let mut bytes = Vec::new();
            let restored = self
                .machine
                .save(&mut bytes)
                .map_err(RestoreError::from)
                .and_then(|()| {
                    Machine::restore(
                        self.machine.config().clone(),
                        engine(options),
                        &mut bytes.as_slice(),
                    )
                });
            match restored {
                Ok(machine) => self.machine = machine,
                Err(error) => eprintln!("{error}"),
            }
            eprintln!("snapshot of {} MiB at {now}", bytes.len() >> 20);
        }
        self.slice_end()
    }

    /// Where a slice of random length ends.
    fn slice_end(&self) -> Step {
        let longest = 1 << (self.random % 22);
        self.machine.now().after(1 + (self.random >> 8) % longest)
    }

    fn run_real(&mut self, options: &Options) -> Result<String, Box<dyn Error>> {
        let cut = AtomicBool::new(false);
        let keys = keyboard();
        let mut speed = 50_000_000.0;
        loop {
            let mtime = self.ticks();
            let rate =
                (0.98 * TICKS_PER_SECOND as f64 / speed * 4_294_967_296.0).min(f64::from(u32::MAX)) as u32;
            self.machine.inject(Input::Clock { mtime, rate });
            if let Ok(bytes) = keys.try_recv() {
                self.machine.inject(Input::Console { port: 0, bytes });
            }
            let (begin, from) = (Instant::now(), self.machine.now());
            let until = from.after((speed / 1000.0) as u64).min(Step(options.steps));
            match self.machine.run(until, &cut) {
                Stop::Effects => {
                    if let Some(why) = self.effects(options)? {
                        return Ok(why);
                    }
                }
                Stop::Reached if until.0 == options.steps => return Ok(String::from("step reached")),
                Stop::Reached | Stop::Cut | Stop::Full => {}
                Stop::Waiting { wake_at } => {
                    let ticks = wake_at.map_or(100_000, |at| at.saturating_sub(self.ticks()).min(100_000));
                    if let Ok(bytes) = keys.recv_timeout(Duration::from_nanos(100 * ticks)) {
                        self.machine.inject(Input::Console { port: 0, bytes });
                    }
                    continue;
                }
                stop => return Ok(format!("{stop:?}")),
            }
            let steps = self.machine.now().since(from);
            if steps > 10_000 {
                let now = steps as f64 / begin.elapsed().as_secs_f64();
                speed = (0.9 * speed + 0.1 * now).max(1e6);
            }
        }
    }

    fn ticks(&self) -> u64 {
        (self.start.elapsed().as_nanos() / 100) as u64
    }

    /// Does what the guest wants done. `Some`: the run is over.
    fn effects(&mut self, options: &Options) -> Result<Option<String>, Box<dyn Error>> {
        while let Some(effect) = self.machine.take_effect() {
            match effect {
                Effect::ConsoleWrite { bytes, .. } => {
                    std::io::stdout().write_all(&bytes)?;
                    std::io::stdout().flush()?;
                    self.seen.push_str(&String::from_utf8_lossy(&bytes));
                    if options
                        .until
                        .as_ref()
                        .is_some_and(|text| self.seen.contains(text))
                    {
                        return Ok(Some(String::from("text seen")));
                    }
                    let keep = self.seen.floor_char_boundary(self.seen.len().saturating_sub(200));
                    self.seen.drain(..keep);
                }
                Effect::EntropyWanted { bytes } => {
                    self.machine.inject(Input::Entropy {
                        bytes: vec![0x42; bytes as usize],
                    });
                }
                Effect::Disk(request) => {
                    let (disk, id, status) = (request.disk, request.id, DiskStatus::Ok);
                    let data = self.disk(request.operation);
                    self.machine.inject(Input::DiskDone {
                        disk,
                        id,
                        status,
                        data,
                    });
                }
                Effect::NetTransmit { .. } => {}
                Effect::PoweredOff(state) => return Ok(Some(format!("powered off: {state:?}"))),
            }
        }
        Ok(None)
    }

    fn disk(&mut self, operation: DiskOperation) -> Vec<u8> {
        match operation {
            DiskOperation::Read { sector, bytes } => {
                let at = sector as usize * 512;
                return self.disk[at..at + bytes as usize].to_vec();
            }
            DiskOperation::Write { sector, data } => {
                let at = sector as usize * 512;
                self.disk[at..at + data.len()].copy_from_slice(&data);
            }
            DiskOperation::WriteZeroes { sector, sectors, .. } => {
                let at = sector as usize * 512;
                self.disk[at..at + sectors as usize * 512].fill(0);
            }
            DiskOperation::Flush | DiskOperation::Discard { .. } => {}
        }
        Vec::new()
    }

    fn report(&mut self, why: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let steps = self.machine.now().0;
        eprintln!("\n{why} at step {steps}, mtime {}", self.machine.mtime());
        eprintln!(
            "{seconds:.2} s, {:.1} million steps a second",
            steps as f64 / seconds / 1e6
        );
        let begin = Instant::now();
        let digest = self.machine.digest();
        eprintln!("digest {digest} in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        for part in self.machine.parts() {
            eprintln!("  {:8} {}", part.name, part.digest);
        }
        for hart in self.machine.harts() {
            eprintln!("  hart{} pc {:#x} waiting {}", hart.id, hart.pc, hart.waiting);
        }
    }
}

fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
