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

mod build;
mod memory;

use hart::{Bus, Cut, Engine, Hart, Ram, Reason, Step, Visit, Visitor, state::component};

use crate::{
    Config, Control, Digest, DiskRequest, Effect, Input, Part, PowerState,
    board::Board,
    boot::Layout,
    config::HARTS_MAX,
    devices::syscon::PowerRequest,
    digest::{self, Digester},
    narrow::{index, wide},
    pages::Pages,
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
    /// The pages that are kept as they were at [`Machine::freeze`] have nearly used up their pool. The guest
    /// does not move before some were taken ([`Machine::copy_owed`]) or the clone has ended
    /// ([`Machine::thaw`]); then it may run on exactly here.
    Full,
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
    /// What a reset puts into RAM and registers; `None`: the images have not come yet
    /// ([`Machine::provide`]), and the machine has no state that could run.
    layout: Option<Layout>,
    /// What executes. It holds no guest state.
    engine: Box<dyn Engine>,
    ram: Ram,
    /// What is known about the pages of `ram`: digests, and who has to hear of a change.
    pages: Pages,
    /// The digests of all components but RAM at the step at which a digest has begun; `None`: none has.
    begun: Option<Vec<Part>>,
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
            if self.ram.steps_allowed() == 0 {
                return Stop::Full;
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

    /// How many random bytes each wish for entropy that no input has answered is for, in the order of the
    /// wishes: whoever brings them has to know after the machine was restored.
    #[must_use]
    pub fn pending_entropy(&self) -> Vec<u32> {
        self.board.pending_entropy().into_iter().collect()
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

    /// For how long the oldest timer interrupt has been due that its hart holds off
    /// ([`Hart::holds_off_timer`]), in ticks of 100 ns of the guest's time; 0: none is held off. Without Sstc
    /// firmware has made the interrupt of its own timer's. The question changes nothing, and its answer is no
    /// state.
    #[must_use]
    pub fn timer_late(&self) -> u64 {
        let time = self.board.time(self.now);
        let late = self.harts.iter().filter_map(|hart| {
            let is_held = hart.holds_off_timer(&self.board, self.now);
            let due = hart.timer().unwrap_or_else(|| self.board.aclint.timer(hart.id));
            is_held.then(|| time.saturating_sub(due))
        });
        late.max().unwrap_or(0)
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
    /// digest but one. A digest that has begun goes on.
    pub fn digest(&mut self) -> Digest {
        digest::total(&self.parts())
    }

    /// The digest of each component, to name the one in which two machines differ.
    pub fn parts(&mut self) -> Vec<Part> {
        let mut parts = self.parts_but_ram();
        parts.push(Part {
            name: "ram",
            digest: self.pages.digest(&mut self.ram),
        });
        parts
    }

    /// The digest of each component but RAM.
    fn parts_but_ram(&mut self) -> Vec<Part> {
        let mut digester = Digester::default();
        self.visit(&mut digester);
        digester.into_parts()
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
            begun: _,
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
