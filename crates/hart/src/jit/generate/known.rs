//! What is certain at one place in the code, whenever control comes there.
//!
//! Nothing of this exists when the code is executed: it is what the generator may rely on when it makes the
//! next instruction. To know less than is true makes slower code; to know what does not hold on every way to
//! the place would make wrong code.

use crate::{
    jit::{
        plan::{Group, Words},
        workspace::KEPT,
    },
    op::Op,
};

/// What is certain at the place in the code that is being made. Nothing is, by default.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// The lookups that serve several accesses.
    pub shared: Lookups,
    /// What may be done with the floating-point registers.
    pub float: Option<Use>,
    /// What the host's vector registers hold of the floating-point registers.
    pub held: Held,
    /// Which integer registers hold sign-extended words.
    pub words: Words,
}

/// What the host's vector registers hold: sets of floating-point registers, a bit for each. The last three
/// sets are parts of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The registers whose values are in their vector registers. All others are in memory only.
    pub present: u32,
    /// Those that hold a single, properly boxed: the vector register has it in its low 32 bits, and anything
    /// above them.
    pub single: u32,
    /// Those whose value in memory is out of date.
    pub dirty: u32,
    /// Those that may hold another NaN than RISC-V's, as the host's arithmetic has made it. It stands for the
    /// canonical NaN, which it must become before anything but arithmetic sees it. None of them was loaded.
    pub raw: u32,
}

impl Held {
    /// The registers of a set are no longer in vector registers.
    pub fn drop(&mut self, registers: u32) {
        self.present &= !registers;
        self.single &= !registers;
        self.dirty &= !registers;
        self.raw &= !registers;
    }
}

/// Where a lookup that serves several accesses has left its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// In the host register `SHARED`.
    Register,
    /// In the workspace, with this number.
    Kept(usize),
}

/// The lookups that serve several accesses, at most one for each base register. A lookup goes when its base
/// register is written, unless a constant is added to it, and all go when the interpreter may have done
/// something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// The one whose distance is in the host register `SHARED`.
    register: Option<Shared>,
    /// Those whose distances are in the workspace.
    kept: [Option<Shared>; KEPT],
}

impl Lookups {
    /// Is the host register `SHARED` free, as no lookup's distance is in it?
    pub fn register_is_free(&self) -> bool {
        self.register.is_none()
    }

    /// Where the distance for an access is, if one of the lookups serves it.
    pub fn serving(&self, op: Op) -> Option<Distance> {
        let serves = |shared: &Option<Shared>| shared.is_some_and(|shared| shared.group.serves(op));
        if serves(&self.register) {
            return Some(Distance::Register);
        }
        self.kept.iter().position(serves).map(Distance::Kept)
    }

    /// Where a new lookup for a group is best left: where none is that is needed any more, or else in the
    /// register, whose lookup is given up. The register is the cheapest place.
    pub fn place(&self, needed: impl Fn(Group) -> bool) -> Distance {
        let free = |shared: &Option<Shared>| !shared.is_some_and(|shared| needed(shared.group));
        if free(&self.register) {
            return Distance::Register;
        }
        self.kept
            .iter()
            .position(free)
            .map_or(Distance::Register, Distance::Kept)
    }

    /// A lookup was made, whose distance is here.
    pub fn add(&mut self, shared: Shared, distance: Distance) {
        self.forget(shared.group.base);
        match distance {
            Distance::Register => self.register = Some(shared),
            Distance::Kept(number) => self.kept[number] = Some(shared),
        }
    }

    /// The lookup through this register is worth nothing any more.
    pub fn forget(&mut self, base: u8) {
        self.keep(|shared| (shared.group.base != base).then_some(shared));
    }

    /// The lookups as they are after this op, which was not interpreted.
    pub fn after(mut self, op: Op) -> Lookups {
        self.keep(|shared| {
            let group = shared.group.after(op)?;
            Some(Shared { group, ..shared })
        });
        self
    }

    /// Keeps the lookups that are the same on another way too.
    pub fn agree(&mut self, other: &Lookups) {
        let same = |one: Option<Shared>, other| one.filter(|_| one == other);
        self.register = same(self.register, other.register);
        for (one, other) in self.kept.iter_mut().zip(other.kept) {
            *one = same(*one, other);
        }
    }

    fn keep(&mut self, kept: impl Fn(Shared) -> Option<Shared>) {
        for shared in self.kept.iter_mut().chain([&mut self.register]) {
            *shared = shared.and_then(&kept);
        }
    }
}

/// A lookup that serves several accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The accesses that it serves.
    pub group: Group,
    /// The place in the code where it was made, which tells it from every other lookup.
    pub made: usize,
}

/// What is done with the floating-point registers; each use includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// They are read: `mstatus.FS` is not Off.
    Read,
    /// They are written: `mstatus.FS` is Dirty already.
    Write,
    /// They are computed with: besides, the rounding mode is the host's, and the host gathers the flags.
    Compute,
}
