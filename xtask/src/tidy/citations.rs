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

fn paths(root: &Path, map: &File, findings: &mut Vec<Finding>) {
    for (index, line) in map.text.lines().enumerate() {
        for path in line
            .split(['`', ' ', '(', ')', ','])
            .filter(|word| word.starts_with("crates/"))
        {
            let path = path.trim_end_matches(['.', ':', ';']);
            if !path.contains(['{', '*', '<']) && !root.join(path).exists() {
                findings.push(Finding {
                    place: format!("ARCHITECTURE.md:{}", index + 1),
                    message: format!("{path} does not exist"),
                });
            }
        }
    }
}
