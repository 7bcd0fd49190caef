//! Which crate may depend on which (ARCHITECTURE.md), and which crate may use which outside crate.
//!
//! It reads the crates' manifests; `layers` looks at the files inside a crate.

use anyhow::{Context, Result};

use super::{File, Finding};

/// (crate, the workspace crates it may depend on).
const ARROWS: &[(&str, &[&str])] = &[
    ("hart", &[]),
    ("machine", &["hart"]),
    ("vmlog", &["machine"]),
    ("messages", &["vmlog", "machine"]),
    ("replica", &["messages", "vmlog", "machine", "hart"]),
    ("os", &["replica", "machine", "hart"]),
    ("link", &["os", "replica"]),
    ("arbiter", &["block", "etcd", "link", "os", "replica"]),
    ("block", &[]),
    ("qcow2", &[]),
    ("disk", &["block", "link", "os", "qcow2", "replica", "machine"]),
    (
        "disk-server",
        &["arbiter", "block", "disk", "link", "os", "replica"],
    ),
    ("etcd", &[]),
    ("store", &["etcd", "os", "replica"]),
    ("cable", &["link"]),
    ("ports", &["cable", "link", "os", "replica"]),
    ("gateway", &["cable", "link", "os"]),
    ("report", &["arbiter", "disk", "link", "os", "replica", "machine"]),
    ("console", &["report", "os", "replica"]),
    ("control", &["os", "replica", "report"]),
    ("caller", &["control", "os", "replica", "report"]),
    ("health", &["control", "disk", "ports", "report", "replica"]),
    ("plan", &["report", "messages"]),
    (
        "membership",
        &["arbiter", "link", "machine", "messages", "os", "report", "store"],
    ),
    (
        "controller",
        &[
            "arbiter",
            "caller",
            "control",
            "etcd",
            "machine",
            "membership",
            "messages",
            "os",
            "plan",
            "report",
            "store",
        ],
    ),
    (
        "agent",
        &[
            "arbiter",
            "caller",
            "control",
            "controller",
            "link",
            "membership",
            "messages",
            "os",
            "plan",
            "report",
            "store",
        ],
    ),
    (
        "doctor",
        &[
            "agent",
            "arbiter",
            "link",
            "membership",
            "os",
            "replica",
            "report",
        ],
    ),
    ("profile", &["report", "hart"]),
    (
        "host",
        &[
            "arbiter", "cable", "console", "control", "disk", "health", "link", "os", "ports", "report",
            "replica", "machine", "hart",
        ],
    ),
    ("toy", &["replica", "machine"]),
    ("toy-outside", &["toy", "replica", "machine"]),
    ("toy-site", &["plan", "report", "messages", "toy"]),
    (
        "sim",
        &[
            "toy-outside",
            "toy-site",
            "plan",
            "report",
            "toy",
            "replica",
            "machine",
            "hart",
        ],
    ),
    ("model", &[]),
    ("rehearsal", &[]),
    ("cloud-init", &[]),
    ("image", &["rehearsal"]),
    ("terminal", &["os", "replica"]),
    (
        "demo",
        &[
            "agent",
            "caller",
            "control",
            "image",
            "link",
            "membership",
            "os",
            "report",
            "terminal",
        ],
    ),
    (
        "cli",
        &[
            "agent",
            "arbiter",
            "cable",
            "console",
            "caller",
            "cloud-init",
            "control",
            "demo",
            "disk-server",
            "doctor",
            "gateway",
            "host",
            "image",
            "link",
            "membership",
            "os",
            "ports",
            "profile",
            "report",
            "terminal",
            "replica",
            "machine",
            "hart",
        ],
    ),
    ("isa-programs", &[]),
];

/// Outside crates that the deterministic crates may use: pure functions of their arguments, each with a
/// decision note.
const PURE: &[&str] = &[
    "bitflags",
    "crc32c",
    "libc",
    "lz4_flex",
    "sha2",
    "thiserror",
    "flate2",
    "vm-fdt",
    "xxhash-rust",
    "zerocopy",
];

/// The deterministic crates: those below the real world.
pub const DETERMINISTIC: &[&str] = &[
    "hart",
    "machine",
    "vmlog",
    "messages",
    "replica",
    "toy",
    "toy-outside",
    "toy-site",
    "sim",
    "plan",
    "block",
];

pub fn check(files: &[File], findings: &mut Vec<Finding>) -> Result<()> {
    let names: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(file) = files.iter().find(|file| file.path == path) else {
            continue;
        };
        let manifest: toml::Table = file
            .text
            .parse()
            .with_context(|| format!("cannot parse {path}"))?;
        let Some(dependencies) = manifest.get("dependencies").and_then(toml::Value::as_table) else {
            continue;
        };
        for dependency in dependencies.keys() {
            let dependency = dependency.as_str();
            if names.contains(&dependency) {
                if !allowed.contains(&dependency) {
                    findings.push(Finding {
                        place: path.clone(),
                        message: format!(
                            "{name} may not depend on {dependency}: share by moving down the arrow"
                        ),
                    });
                }
            } else if DETERMINISTIC.contains(name) && !PURE.contains(&dependency) {
                findings.push(Finding {
                    place: path.clone(),
                    message: format!("{name} takes {dependency}: only pure crates with a decision note (L3)"),
                });
            }
        }
    }
    Ok(())
}
