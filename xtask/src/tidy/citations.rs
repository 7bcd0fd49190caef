//! Every requirement of docs/requirements.md is cited in code and in a test, and every path that
//! ARCHITECTURE.md names exists.
//!
//! Only the text is searched: whether the test proves the requirement is for a reviewer to say.

use std::path::Path;

use super::{File, Finding};

const REQUIREMENTS: &str = "docs/requirements.md";

pub fn check(root: &Path, files: &[File], findings: &mut Vec<Finding>) {
    if let Some(list) = files.iter().find(|file| file.path == REQUIREMENTS) {
        requirements(list, files, findings);
    }
    if let Some(map) = files.iter().find(|file| file.path == "ARCHITECTURE.md") {
        paths(root, map, findings);
    }
}

/// Checks the table's rows: a row starts with `| FT 2.2-c |`; a row whose last cell says `not built` needs no
/// citation.
fn requirements(list: &File, files: &[File], findings: &mut Vec<Finding>) {
    for (index, line) in list.text.lines().enumerate() {
        let mut cells = line.split('|').map(str::trim).filter(|cell| !cell.is_empty());
        let Some(id) = cells.next().filter(|cell| cell.starts_with("FT ")) else {
            continue;
        };
        if cells
            .next_back()
            .is_some_and(|cell| cell.starts_with("not built"))
        {
            continue;
        }
        let (mut code, mut test) = (false, false);
        for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
            let split = file.text.find("#[cfg(test)]").unwrap_or(file.text.len());
            let is_test_file = file.path.contains("/tests/");
            code |= !is_test_file && cites(&file.text[..split], id);
            test |= if is_test_file {
                cites(&file.text, id)
            } else {
                cites(&file.text[split..], id)
            };
        }
        for (cited, wanted) in [(code, "code"), (test, "a test")] {
            if !cited {
                findings.push(Finding {
                    place: format!("{REQUIREMENTS}:{}", index + 1),
                    message: format!("{id} is cited in no {}", wanted.trim_start_matches("a ")),
                });
            }
        }
    }
}

/// Whether `text` names the whole id, alone or in a list such as `FT 2.2-b, 2.3-b`.
fn cites(text: &str, id: &str) -> bool {
    let number = id.trim_start_matches("FT ");
    text.match_indices(number).any(|(at, _)| {
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let whole = !text[at + number.len()..].starts_with(|c: char| c.is_ascii_alphanumeric());
        whole && text[line_start..at].contains("FT ")
    })
}

/// Checks what ARCHITECTURE.md names: paths from the root, and in its walks files without `crates/`, `src`
/// and `.rs`, such as `ports/plug`.
fn paths(root: &Path, map: &File, findings: &mut Vec<Finding>) {
    let mut missing = |line: usize, path: &str| {
        findings.push(Finding {
            place: format!("ARCHITECTURE.md:{line}"),
            message: format!("{path} does not exist"),
        });
    };
    for (index, line) in map.text.lines().enumerate() {
        for path in line
            .split(['`', ' ', '(', ')', ','])
            .filter(|word| word.starts_with("crates/"))
        {
            let path = path.trim_end_matches(['.', ':', ';']);
            if !path.contains(['{', '*', '<']) && !root.join(path).exists() {
                missing(index + 1, path);
            }
        }
        for name in line.split('`').skip(1).step_by(2) {
            if is_short_path(root, name) && !is_file(root, name) {
                missing(index + 1, name);
            }
        }
    }
}

/// Is it the name of a crate, a slash, and more? A folder ends with a slash and is none.
fn is_short_path(root: &Path, name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '/' | '-');
    match name.split_once('/') {
        Some((first, rest)) => {
            let is_crate = root.join("crates").join(first).is_dir();
            is_crate && !rest.is_empty() && !rest.ends_with('/') && name.chars().all(plain)
        }
        None => false,
    }
}

fn is_file(root: &Path, name: &str) -> bool {
    let Some((first, rest)) = name.split_once('/') else {
        return false;
    };
    let inside = root.join("crates").join(first).join("src").join(rest);
    inside.with_extension("rs").is_file() || inside.join("mod.rs").is_file()
}
