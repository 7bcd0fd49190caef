//! `Machine`, the computer: `run`, `inject`, `take_effect`, `digest`.
//!
//! This is what a replica drives: it runs the harts on an [`Engine`] up to a step, hands inputs to the board,
//! and keeps effects until they are taken. The machine never decides when an input comes and never lets an
//! effect out by itself, and the guest cannot make it fail: there is no error once it is built.
//!
//! # How the harts take turns
//! The harts run one after the other on one thread. A turn is [`QUANTUM`] steps; it ends early only when its
//! hart waits in WFI, and its LR/SC reservation ends with it. A waiting hart is looked at when its turn
//! comes: if an enabled interrupt is pending it runs, else it is passed over. So an interrupt for a waiting
//! hart is answered at the next rotation, while one for the running hart is taken at the very step at which
//! its line rises: every run of the engine ends where a timer of that hart, or of a device, is due. A lone
//! hart has no turns and keeps its reservations.
//!
//! Invariant: `run(a)` then `run(b)` equals `run(max(a, b))`, whatever stops lie between. Everything that
//! happens at a step without an instruction (devices waking, power, the end of a turn) is settled before
//! `run` or `inject` returns; everything that depends on what may yet be injected at that step (whose turn is
//! next, taking an interrupt) is decided only when an instruction follows.

use hart::{Cut, Engine, Hart, Ram, Reason, Step, Visit, Visitor, ram::OutOfRam, state::component};

use crate::{
    Config, Control, Digest, DiskRequest, Effect, Input, Part, PowerState,
    board::Board,
    boot::{self, BootError, Layout},
    config::HARTS_MAX,
    devices::syscon::PowerRequest,
    digest::{self, Digester, Pages},
    narrow::{index, wide},
};

/// How many steps a turn has when there are several harts.
pub const QUANTUM: u64 = 20_000;

/// Why [`Machine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The step that was asked for is reached.
    Reached,
    /// Effects wait to be taken ([`Machine::take_effect`]). The guest does not move before they are.
    Effects,
    /// All harts wait in WFI. Only an input can change that; if no other comes, a `Clock` at `wake_at` will.
    Waiting {
        /// What the clock ([`Machine::mtime`]) will show when the earliest timer is due that lies ahead;
        /// `None`: no timer is set.
        wake_at: Option<u64>,
    },
    /// The machine is off, for good, and how it went off.
    Off(PowerState),
    /// The host asked for a stop through [`Cut`]. The guest may run on exactly here.
    Cut,
}

/// Whether the machine is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    /// The machine runs.
    On,
    /// The machine went off so and will never run again.
    Off(PowerState),
}

/// A computer.
pub struct Machine {
    /// What the machine is made of. This and the next two fields never change.
    config: Config,
    /// The digest of `config`, which costs a walk over the images.
    config_digest: Digest,
    /// What a reset puts into RAM and registers.
    layout: Layout,
    /// What executes. It holds no guest state.
    engine: Box<dyn Engine>,
    ram: Ram,
    /// What is known about the pages of `ram`: digests, and who has to hear of a change.
    pages: Pages,
    /// At least one hart, and as many as `config` says.
    harts: Vec<Hart>,
    /// Everything outside RAM that the harts can see.
    board: Board,
    /// The steps that are completed.
    now: Step,
    /// The index of the hart whose turn it is: always less than the number of harts.
    turn: usize,
    /// How many steps of the turn are left: 1 to [`QUANTUM`].
    left: u64,
    power: Power,
}

impl Machine {
    /// The machine at step 0: images loaded, all harts at the firmware's entry.
    ///
    /// # Errors
    /// If the configuration makes no machine, or the host has no memory for the guest's.
    pub fn new(config: Config, engine: Box<dyn Engine>) -> Result<Machine, BootError> {
        let mut machine = Machine::blank(config, engine)?;
        machine.load_images();
        Ok(machine)
    }

    /// The machine with nothing in its RAM, to be filled by [`Machine::write_page`] and
    /// [`Machine::restore_state`].
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub(crate) fn blank(config: Config, engine: Box<dyn Engine>) -> Result<Machine, BootError> {
        boot::validate(&config)?;
        let layout = boot::firmware::layout(&config)?;
        let ram = Ram::new(config.memory).map_err(|error| BootError::HostMemory(error.to_string()))?;
        Ok(Machine {
            engine,
            pages: Pages::new(ram.pages()),
            ram,
            harts: start(&config, &layout),
            board: Board::new(&config),
            now: Step(0),
            turn: 0,
            left: QUANTUM,
            power: Power::On,
            config_digest: config.digest(),
            config,
            layout,
        })
    }

    /// Runs until the step `until` is reached, or something else comes first.
    ///
    /// If `cut` is wanted, the run ends soon; as long as `cut` is wanted, the guest does not move.
    pub fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop {
        loop {
            if !self.board.shared.effects.is_empty() {
                return Stop::Effects;
            }
            if let Power::Off(state) = self.power {
                return Stop::Off(state);
            }
            if self.now >= until {
                return Stop::Reached;
            }
            let Some(turn) = self.next_turn() else {
                return Stop::Waiting {
                    wake_at: self.wake_at(),
                };
            };
            if cut.is_wanted() {
                return Stop::Cut;
            }
            self.slice(turn, until, cut);
        }
    }

    /// Something happens to the guest, now. A machine that is off ignores it, and so does a board that has no
    /// such device.
    pub fn inject(&mut self, input: Input) {
        if self.power != Power::On {
            return;
        }
        for hart in &mut self.harts {
            hart.drop_reservation(); // A device may be about to write to the reserved bytes.
        }
        match input {
            Input::Clock { mtime, rate } => self.board.shared.clock.set(self.now, mtime, rate),
            Input::Control(Control::PowerOff) => self.switch_off(PowerState::Off),
            Input::Control(Control::Reset) => self.reset(),
            input => self.board.receive(&mut self.ram, self.now, input),
        }
        self.settle();
    }

    /// Takes the oldest effect that nobody has taken.
    pub fn take_effect(&mut self) -> Option<Effect> {
        self.board.shared.effects.pop_front()
    }

    /// Do effects wait to be taken?
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.board.shared.effects.is_empty()
    }

    /// Disk requests that no input has answered, disk by disk in the order of submission: a replica that goes
    /// live issues them again (FT 3.4-c).
    #[must_use]
    pub fn pending_disk(&self) -> Vec<DiskRequest> {
        self.board.pending_disk().collect()
    }

    /// How many bytes of [`Input::Console`] for this console the guest takes now without losing any. Only
    /// such an input makes it less. Where the board has no console every byte is dropped, so there is always
    /// room.
    #[must_use]
    pub fn console_room(&self, port: u8) -> usize {
        if port == 0 {
            self.board.uart.room()
        } else {
            usize::MAX
        }
    }

    /// The steps that are completed.
    #[must_use]
    pub fn now(&self) -> Step {
        self.now
    }

    /// What the clock shows that `Clock` inputs set, in ticks of 100 ns. It is the guest's `mtime` as long as
    /// the guest neither sets that register nor resets the machine.
    #[must_use]
    pub fn mtime(&self) -> u64 {
        self.board.shared.clock.at(self.now)
    }

    /// What the machine is made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The digest of what the machine is made of ([`Config::digest`]).
    #[must_use]
    pub(crate) fn config_digest(&self) -> Digest {
        self.config_digest
    }

    /// The harts, to look at.
    #[must_use]
    pub fn harts(&self) -> &[Hart] {
        &self.harts
    }

    /// The memory, to look at.
    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Drops everything that the engine has derived from guest state. The guest cannot notice.
    pub fn forget(&mut self) {
        self.engine.forget();
    }

    /// A digest of the whole state, but for effects that wait. It costs as much as was written since the last
    /// digest but one.
    pub fn digest(&mut self) -> Digest {
        digest::total(&self.parts())
    }

    /// How many pages the last digest had to look at.
    #[must_use]
    pub fn pages_hashed(&self) -> u64 {
        wide(self.pages.hashed())
    }

    /// The digest of each component, to name the one in which two machines differ.
    pub fn parts(&mut self) -> Vec<Part> {
        let mut digester = Digester::default();
        self.visit(&mut digester);
        let mut parts = digester.into_parts();
        parts.push(Part {
            name: "ram",
            digest: self.pages.digest(&mut self.ram),
        });
        parts
    }

    /// The content of the page of RAM with this number; `None`: RAM has no such page.
    #[must_use]
    pub fn read_page(&self, page: u32) -> Option<&[u8]> {
        let page = index(u64::from(page));
        (page < self.ram.pages()).then(|| self.ram.page(page))
    }

    /// Replaces the content of the page of RAM with this number.
    ///
    /// # Errors
    /// If RAM has no such page, or the content is not exactly a page.
    pub fn write_page(&mut self, page: u32, bytes: &[u8]) -> Result<(), OutOfRam> {
        if bytes.len() != hart::ram::PAGE {
            return Err(OutOfRam);
        }
        self.ram
            .write(hart::ram::BASE + u64::from(page) * wide(hart::ram::PAGE), bytes)
    }

    /// The numbers of the pages that are not all zero.
    pub(crate) fn used_pages(&mut self) -> Vec<u32> {
        self.pages.used(&mut self.ram)
    }

    /// The numbers of the pages written since the last call, each once.
    #[cfg(feature = "parts")]
    pub fn take_dirty_pages(&mut self) -> Vec<u32> {
        self.pages.take_round(&mut self.ram)
    }

    /// The first hart from the present turn on that can execute something.
    fn next_turn(&self) -> Option<usize> {
        let count = self.harts.len();
        (0..count).map(|later| (self.turn + later) % count).find(|&id| {
            self.harts
                .get(id)
                .is_some_and(|hart| !hart.waiting || hart.wakes(&self.board, self.now))
        })
    }

    /// Lets the hart of index `turn` execute at least one step.
    fn slice(&mut self, turn: usize, until: Step, cut: &dyn Cut) {
        if turn != self.turn {
            self.turn = turn;
            self.left = QUANTUM;
        }
        let alone = self.harts.len() == 1;
        let budget = self.budget(until);
        let Some(hart) = self.harts.get_mut(turn) else {
            return;
        };
        hart.waiting = false;
        let environment = hart::Environment {
            ram: &mut self.ram,
            bus: &mut self.board,
            now: self.now,
            cut,
        };
        let exit = self.engine.run(hart, environment, budget);
        // An engine that returns without a step may have taken an interrupt there, which is not settled.
        assert!(
            exit.steps >= 1 && exit.steps <= budget,
            "an engine runs 1 to {budget} steps, not {}",
            exit.steps
        );
        self.now = self.now.after(exit.steps);
        if !alone {
            self.left -= exit.steps;
            if self.left == 0 || exit.reason == Reason::Wait {
                hart.drop_reservation();
                self.turn = (turn + 1) % self.harts.len();
                self.left = QUANTUM;
            }
        }
        self.settle();
    }

    /// How many steps the hart whose turn it is may run: up to `until`, its own timers, those of devices, and
    /// the end of its turn.
    fn budget(&self, until: Step) -> u64 {
        let clock = self.mtime();
        let own = self.harts.get(self.turn).and_then(Hart::timer);
        let timer = self.board.aclint.timer(self.turn);
        let changes = [
            own.and_then(|own| self.board.clock_at(self.now, own)),
            self.board.clock_at(self.now, timer),
            self.board.aclint.clock_at_wrap(clock),
            self.board.deadline(),
        ];
        let ahead = changes.into_iter().flatten().filter(|&time| time > clock);
        let end = ahead
            .map(|time| self.board.shared.clock.step_of(time))
            .fold(until, Step::min);
        let budget = end.since(self.now).max(1);
        if self.harts.len() == 1 {
            budget
        } else {
            budget.min(self.left)
        }
    }

    /// What the clock will show when the earliest timer is due that lies ahead. No hart waits for `mtime` to
    /// wrap: that only ends interrupts.
    fn wake_at(&self) -> Option<u64> {
        let clock = self.mtime();
        let own = self.harts.iter().filter_map(Hart::timer);
        let aclint = (0..self.harts.len()).map(|hart| self.board.aclint.timer(hart));
        let timers = own.chain(aclint);
        let times = timers.filter_map(|timer| self.board.clock_at(self.now, timer));
        let ahead = times.chain(self.board.deadline()).filter(|&time| time > clock);
        ahead.filter(|&time| time != u64::MAX).min()
    }

    /// Does what happens at this step without an instruction: devices wake, the guest's request for power is
    /// met.
    fn settle(&mut self) {
        self.board.wake(&mut self.ram, self.now);
        match self.board.syscon.take_request() {
            Some(PowerRequest::Off(state)) => self.switch_off(state),
            Some(PowerRequest::Reset) => self.reset(),
            None => {}
        }
    }

    fn switch_off(&mut self, state: PowerState) {
        self.board.uart.flush(&mut self.board.shared.effects);
        self.board.shared.effects.push_back(Effect::PoweredOff(state));
        self.power = Power::Off(state);
    }

    /// Resets the machine as QEMU's `virt` is reset: images are loaded again, the rest of RAM stays as it is,
    /// `mtime` begins anew; the clock behind it and the steps go on.
    fn reset(&mut self) {
        self.board.reset(self.now);
        self.harts = start(&self.config, &self.layout);
        self.turn = 0;
        self.left = QUANTUM;
        self.clear_rooms();
        self.load_images();
    }

    fn load_images(&mut self) {
        for piece in &self.layout.images {
            let written = self.ram.write(piece.address, piece.bytes());
            debug_assert!(written.is_ok(), "the layout lies inside RAM");
        }
    }

    /// Makes the zeroed data of ELF files zero again, which it is when the machine is new.
    fn clear_rooms(&mut self) {
        const ZEROS: [u8; hart::ram::PAGE] = [0; hart::ram::PAGE];
        for piece in self.layout.images.iter().filter(|piece| piece.is_cleared) {
            let mut at = piece.address + wide(piece.bytes().len());
            let end = piece.address + piece.size;
            while at < end {
                let length = (end - at).min(wide(hart::ram::PAGE) - at % wide(hart::ram::PAGE));
                let zeros = ZEROS.get(..index(length)).unwrap_or_default();
                let written = self.ram.write(at, zeros);
                debug_assert!(written.is_ok(), "the layout lies inside RAM");
                at += length;
            }
        }
    }
}

/// The first argument register, x10.
const A0: usize = 10;

/// All harts at the firmware's first instruction, with the arguments that QEMU's reset ROM would pass.
fn start(config: &Config, layout: &Layout) -> Vec<Hart> {
    let hart = |id| {
        let mut hart = Hart::new(id, layout.entry);
        let arguments = [wide(id), layout.fdt, layout.info];
        for (register, argument) in hart.x.iter_mut().skip(A0).zip(arguments) {
            *register = argument;
        }
        hart
    };
    (0..config.harts).map(hart).collect()
}

/// How digests and differences name the harts.
const HART_NAMES: [&str; HARTS_MAX] = [
    "hart0", "hart1", "hart2", "hart3", "hart4", "hart5", "hart6", "hart7",
];

/// Visits everything but RAM, whose pages have a digest and a form in snapshots of their own.
impl Visit for Machine {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            config: _,
            config_digest: _,
            layout: _,
            engine: _,
            ram: _,
            pages: _,
            harts,
            board,
            now,
            turn,
            left,
            power,
        } = self;
        v.enter("run");
        v.u64("step", &mut now.0);
        let mut number = wide(*turn);
        v.u64("turn", &mut number);
        *turn = index(number);
        v.u64("left", left);
        visit_power(v, power);
        if *turn >= harts.len() || *left == 0 || *left > QUANTUM {
            v.reject("a turn that cannot be");
        }
        v.leave();
        for (name, hart) in HART_NAMES.into_iter().zip(harts) {
            component(v, name, hart);
        }
        board.visit(v);
    }
}

fn visit_power(v: &mut dyn Visitor, power: &mut Power) {
    let (mut off, mut code) = match *power {
        Power::On => (0, 0),
        Power::Off(PowerState::Off) => (1, 0),
        Power::Off(PowerState::Failed(code)) => (2, code),
    };
    v.u64("off", &mut off);
    v.u16("off_code", &mut code);
    match off {
        0 => *power = Power::On,
        1 => *power = Power::Off(PowerState::Off),
        2 => *power = Power::Off(PowerState::Failed(code)),
        _ => v.reject("a power state that cannot be"),
    }
}
