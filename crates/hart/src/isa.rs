//! What a hart implements, in the words of the device tree's `cpu` bindings.

/// Single-letter extensions behind the base, in canonical order.
const LETTERS: &str = "imafdc";

/// Multi-letter extensions, in canonical order: as `riscv,isa` and `riscv,isa-extensions` name them.
const NAMED: [&str; 5] = ["zicntr", "zicsr", "zifencei", "sstc", "svadu"];

/// The value of `riscv,isa-base`.
pub const BASE: &str = "rv64i";

/// The value of `mmu-type`: the largest address space.
pub const MMU_TYPE: &str = "riscv,sv48";

/// The value of `riscv,isa`: `rv64imafdc_zicntr_...`.
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
        assert_eq!(super::string(), "rv64imafdc_zicntr_zicsr_zifencei_sstc_svadu");
        let list: Vec<String> = super::extensions().collect();
        assert_eq!(list.join(" "), "i m a f d c zicntr zicsr zifencei sstc svadu");
    }
}
