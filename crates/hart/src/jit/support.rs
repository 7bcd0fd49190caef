//! Whether this host can run generated code.
//!
//! It takes an x86-64 processor with a few extensions, and a kernel that gives memory that may be executed.
//! Where one of both is missing, everything is interpreted; what the guest computes is the same.
//!
//! The program asks [`can_translate`] when it starts (`args.rs` of crate `cli`), to tell the operator; the
//! directory (`translations`) asks [`has_features`] before it makes any code. The answer must never reach the
//! guest.

use std::io;

use super::memory::{CODE_MAX, Memory};

/// Why this host cannot run generated code.
#[derive(Debug)]
pub enum NoTranslation {
    /// The processor is not an x86-64 with BMI1, BMI2, LZCNT, POPCNT and FMA, as all have been since 2015.
    Processor,
    /// The kernel gives no memory for the code, or none that may be executed.
    Memory(io::Error),
}

impl std::fmt::Display for NoTranslation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoTranslation::Processor => f.write_str(
                "this processor cannot run translated code \
                     (it takes x86-64 with BMI1, BMI2, LZCNT, POPCNT and FMA)",
            ),
            NoTranslation::Memory(error) => {
                write!(f, "the kernel gives no memory for translated code ({error})")
            }
        }
    }
}

impl std::error::Error for NoTranslation {}

/// Can this host run generated code? Asks the kernel for the memory that it takes, and gives it back.
///
/// # Errors
/// The reason why this host cannot; then everything is interpreted.
pub fn can_translate() -> Result<(), NoTranslation> {
    if !has_features() {
        return Err(NoTranslation::Processor);
    }
    match Memory::new(CODE_MAX) {
        Ok(_) => Ok(()),
        Err(error) => Err(NoTranslation::Memory(error)),
    }
}

/// Has the processor the extensions that generated code uses?
pub fn has_features() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("popcnt")
        && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
