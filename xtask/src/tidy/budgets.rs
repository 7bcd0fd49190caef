//! How large a crate may be: a crate over its budget is designed again, the budget is not raised.
//!
//! A file's lines count up to its tests.

use super::{File, Finding};

/// (crate, lines of its `src` without tests).
const BUDGETS: &[(&str, usize)] = &[
    ("hart", 14_000),
    ("machine", 7_000),
    ("replica", 7_000),
    ("arbiter", 1_000),
    ("disk", 4_000),
    ("gateway", 6_000),
    ("host", 5_000),
    ("image", 4_000),
    ("link", 4_000),
    ("os", 2_500),
    ("report", 2_000),
    ("sim", 7_000),
    ("cli", 4_000),
];

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for &(name, budget) in BUDGETS {
        let prefix = format!("crates/{name}/src/");
        let lines: usize = files
            .iter()
            .filter(|file| file.path.starts_with(&prefix) && file.path.ends_with(".rs"))
            .map(|file| {
                let tests = |line: &&str| line.trim_start().starts_with("#[cfg(test)]");
                file.text.lines().take_while(|line| !tests(line)).count()
            })
            .sum();
        if lines > budget {
            findings.push(Finding {
                place: format!("crates/{name}"),
                message: format!("{lines} lines without tests, {budget} are its budget: design it again"),
            });
        }
    }
}
