//! Guest images made from Debian's packages: `lockstep image appliance`, `lockstep image debian`,
//! `lockstep image uboot`, `lockstep demo`.
//!
//! Three products. [`build_appliance`] makes a kernel and an initramfs with busybox and one service in
//! seconds, without root and without running any guest code. [`build_debian`] makes a whole Debian disk with
//! systemd and PostgreSQL in minutes, under emulation. [`build_boot_loader`] fetches what boots a disk by
//! itself. All come out of a [`cache`](Cache) and are complete or absent, never half-made: a build that is
//! killed leaves a temporary directory that the next one removes.
//!
//! Every package is fetched by apt from the mirror that the machine's own apt configuration names (or the one
//! in the options) and checked against the Debian archive's signatures. This crate must never switch that
//! check off, never install anything on the host and never know a mirror's name of its own.
#![forbid(unsafe_code)]

mod appliance;
mod apt;
mod assemble;
mod boot_files;
mod boot_loader;
mod cache;
mod cpio;
mod debian;
mod elf;
mod emulation;
mod error;
mod interpreters;
mod mirror;
mod modules;
mod progress;
mod system;
mod tools;

pub use appliance::{APPLIANCE_APPEND, Appliance, ApplianceOptions, build_appliance};
pub use boot_loader::{BootLoader, BootLoaderOptions, U_BOOT_PATHS, build_boot_loader};
pub use cache::Cache;
pub use debian::{DEBIAN_APPEND, DebianImage, DebianOptions, build_debian};
pub use error::ImageError;
pub use progress::{Progress, Stage, Unit};
pub use rehearsal::Undone;

/// The Debian release that the images are made of.
const SUITE: &str = "trixie";
