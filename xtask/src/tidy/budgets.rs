//! How large a crate may be: a crate over its budget is designed again, the budget is not raised.
//!
//! A file's lines count up to its tests, without comments and blank lines: nobody shall save words to keep a
//! budget.

use super::{File, Finding};

/// (crate, lines of code in its `src`).
const BUDGETS: &[(&str, usize)] = &[
    ("hart", 14_000),
    ("machine", 7_000),
    ("vmlog", 1_500),
    ("messages", 1_000),
    ("replica", 7_500),
    ("model", 1_500),
    ("arbiter", 2_000),
    ("block", 2_000),
    ("disk", 4_000),
    ("disk-server", 2_000),
    ("doctor", 1_500),
    ("etcd", 1_200),
    ("store", 1_500),
    ("agent", 4_500),
    ("controller", 5_000),
    ("membership", 2_000),
    ("cable", 1_000),
    ("caller", 1_500),
    ("cloud-init", 400),
    ("console", 1_500),
    ("control", 2_000),
    ("demo", 3_300),
    ("gateway", 7_000),
    ("health", 500),
    ("host", 5_100),
    ("image", 3_000),
    ("link", 4_000),
    ("os", 2_500),
    ("plan", 3_350),
    ("ports", 1_500),
    ("profile", 1_000),
    ("qcow2", 2_500),
    ("rehearsal", 3_500),
    ("report", 2_100),
    ("sim", 7_500),
    ("terminal", 300),
    ("toy-outside", 1_000),
    ("toy-site", 1_500),
    ("cli", 7_000),
];

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for &(name, budget) in BUDGETS {
        let prefix = format!("crates/{name}/src/");
        let lines: usize = files
            .iter()
            .filter(|file| file.path.starts_with(&prefix) && file.path.ends_with(".rs"))
            .map(|file| {
                let product = file
                    .text
                    .lines()
                    .map(str::trim_start)
                    .take_while(|line| !line.starts_with("#[cfg(test)]"));
                product
                    .filter(|line| !line.is_empty() && !line.starts_with("//"))
                    .count()
            })
            .sum();
        if lines > budget {
            findings.push(Finding {
                place: format!("crates/{name}"),
                message: format!(
                    "{lines} lines of code without tests, {budget} are its budget: design it again"
                ),
            });
        }
    }
}
