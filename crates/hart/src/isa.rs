//! What a hart implements, in the words of the device tree's `cpu` bindings.
//!
//! The machine makes the device tree of it, and it is part of the name by which two replicas compare their
//! programs. It is the same on every host: nothing here may depend on what the host's processor has.

/// The single-letter extensions, which stand after the base, in canonical order.
const LETTERS: &str = "imafdc";

/// The multi-letter extensions, in canonical order, as `riscv,isa` and `riscv,isa-extensions` name them.
/// Svadu without Svade says that the walker sets A and D bits from the start.
const NAMED: [&str; 13] = [
    "zicbom", "zicboz", "zicntr", "zicond", "zicsr", "zifencei", "zba", "zbb", "zbs", "sstc", "svadu",
    "svinval", "svnapot",
];

/// The value of `riscv,isa-base`.
pub const BASE: &str = "rv64i";

/// The value of `mmu-type`: the largest address space.
pub const MMU_TYPE: &str = "riscv,sv48";

/// The values of `riscv,cbom-block-size` and `riscv,cboz-block-size`: bytes of a cache block.
pub const BLOCK: u64 = 64;

/// The value of `riscv,isa`: `rv64imafdc_zicbom_...`.
#[must_use]
pub fn string() -> String {
    NAMED
        .iter()
        .fold(format!("rv64{LETTERS}"), |text, name| text + "_" + name)
}

/// The values of `riscv,isa-extensions`.
pub fn extensions() -> impl Iterator<Item = String> {
    LETTERS
        .chars()
        .map(String::from)
        .chain(NAMED.into_iter().map(String::from))
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_forms_name_the_same_extensions() {
        assert_eq!(
            super::string(),
            "rv64imafdc_zicbom_zicboz_zicntr_zicond_zicsr_zifencei_zba_zbb_zbs_sstc_svadu_svinval_svnapot"
        );
        let list: Vec<String> = super::extensions().collect();
        assert_eq!(
            list.join(" "),
            "i m a f d c zicbom zicboz zicntr zicond zicsr zifencei zba zbb zbs sstc svadu svinval svnapot"
        );
    }
}
