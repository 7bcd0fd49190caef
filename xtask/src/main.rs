//! Repository tasks. `cargo xtask ci` is everything CI runs; `cargo xtask tidy` is the house rules alone.
//!
//! CI runs nothing that a developer cannot run with the same command.

mod sanitize;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask ci        format, lints, house rules, documentation, simulator seeds, all tests
cargo xtask tidy      the house rules: arrows, circles, determinism bans, sizes, words, citations
cargo xtask openapi   write docs/openapi.json, the description of the agent's API, anew
cargo xtask fuzz N    every fuzz target for N seconds (needs cargo-fuzz)
cargo xtask sanitize  tests with AddressSanitizer (needs a nightly toolchain) and Memcheck (needs valgrind)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["ci"] => ci(),
        ["tidy"] => tidy::check(&root()),
        ["openapi"] => openapi(),
        ["fuzz", seconds] => fuzz(seconds),
        ["sanitize"] => sanitize::sanitize(&root()),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Writes the description of the agent's API, as the program gives it.
fn openapi() -> Result<()> {
    let words = ["run", "--quiet", "--package", "agent", "--example", "openapi"];
    let output = Command::new(env!("CARGO"))
        .args(words)
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::write(root().join("docs/openapi.json"), output.stdout).context("cannot write docs/openapi.json")
}

/// Runs everything that CI runs, the tests last, so that their summary is the last thing on the screen.
fn ci() -> Result<()> {
    cargo("formatting", &["fmt", "--all", "--check"])?;
    println!("== house rules");
    tidy::check(&root())?;
    cargo(
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    // The fuzz targets are no members of the workspace, and would go stale without anybody noticing. The
    // fuzzer is written in C++, so compiling them needs a C++ compiler.
    if installed("c++") {
        cargo(
            "fuzz targets compile",
            &["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"],
        )?;
    }
    cargo(
        "documentation",
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ],
    )?;
    if installed("cargo-deny") {
        cargo(
            "licences and sources",
            &["deny", "--offline", "check", "licenses", "bans", "sources"],
        )?;
    }
    cargo(
        "simulator: toy guest",
        &["run", "--release", "--quiet", "-p", "sim", "--", "toy", "1000"],
    )?;
    cargo(
        "simulator: real machine",
        &["run", "--release", "--quiet", "-p", "sim", "--", "machine", "200"],
    )?;
    cargo("tests", &["test", "--workspace"])
}

fn fuzz(seconds: &str) -> Result<()> {
    let targets = root().join("fuzz/fuzz_targets");
    let mut names: Vec<_> = std::fs::read_dir(&targets)
        .with_context(|| format!("cannot list {}", targets.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    for name in names {
        println!("== fuzz {name}");
        let status = Command::new("cargo")
            .args([
                "fuzz",
                "run",
                &name,
                "--",
                &format!("-max_total_time={seconds}"),
                "-rss_limit_mb=4096",
            ])
            // The fuzzer's instrumentation needs an unstable compiler flag, which the pinned stable compiler
            // has.
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(root())
            .status()
            .context("cannot start cargo fuzz")?;
        if !status.success() {
            bail!("fuzz target {name} found a failure");
        }
    }
    Ok(())
}

fn cargo(what: &str, arguments: &[&str]) -> Result<()> {
    println!("== {what}: cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(arguments)
        .env("RUSTDOCFLAGS", "-D warnings")
        .current_dir(root())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
