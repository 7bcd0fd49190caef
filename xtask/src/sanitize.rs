//! Runs tests under tools that see wrong accesses to memory.
//!
//! AddressSanitizer sees those of compiled code, Valgrind's Memcheck those of generated code too.
//! docs/testing.md says what neither sees.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The crates with unsafe code, and those that run the translator on whole machines.
const CRATES: &[&str] = &["hart", "host", "machine", "replica"];
/// The one platform on which the translator runs; the tools know others as well. Cargo, when it is told a
/// platform by name, keeps build scripts uninstrumented.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Path of the preloaded library, relative to a crate's directory, where cargo starts the crate's tests:
/// `LD_PRELOAD` takes no path with a space in it.
const PRELOAD: &str = "../../target/sanitize/twice.so";
/// Number of random guests of each kind for Memcheck, which takes about two seconds for one.
const GUESTS: &str = "20";

pub fn sanitize(root: &Path) -> Result<()> {
    address(root)?;
    memcheck(root)
}

/// All tests of the crates, with leaks and use of stack frames that are gone, which the sanitizer looks for
/// by default.
fn address(root: &Path) -> Result<()> {
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        bail!("sanitizers need a nightly toolchain; install one with `rustup toolchain install nightly`");
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["+nightly", "test", "--lib", "--tests", "--no-fail-fast"])
        .args(["--target", TARGET, "--target-dir", "target/sanitize/address"])
        .args(CRATES.iter().flat_map(|name| ["--package", name]))
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .current_dir(root);
    run("AddressSanitizer", &mut cargo)
}

/// The tests of `hart` that run generated code, as far as they are quick enough.
fn memcheck(root: &Path) -> Result<()> {
    if !super::installed("valgrind") || !super::installed("cc") {
        println!("== Memcheck: left out, it needs `valgrind` and `cc`");
        return Ok(());
    }
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args(["target/sanitize/twice.so", "tests/memcheck/twice.c"])
        .current_dir(root);
    run("the second mapping", &mut compiler)?;
    let runner = format!(
        "env LD_PRELOAD={PRELOAD} valgrind --quiet --smc-check=all --leak-check=no --error-exitcode=1"
    );
    // Without the second mapping of code nothing would be translated, and the unit test of that mapping would
    // fail.
    let few = ["--lib", "--test", "guests", "--test", "profile"];
    for (tests, filter) in [(&few[..], &[][..]), (&["--test", "equal"], &["equals"])] {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["test", "--package", "hart", "--target", TARGET])
            .args(["--target-dir", "target/sanitize/memcheck"])
            .args(tests)
            .args(["--", "--test-threads=1"])
            .args(filter)
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", &runner)
            .env("SEEDS", GUESTS)
            .current_dir(root);
        run("Memcheck", &mut cargo)?;
    }
    Ok(())
}

fn run(what: &str, command: &mut Command) -> Result<()> {
    println!("== {what}: {command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
