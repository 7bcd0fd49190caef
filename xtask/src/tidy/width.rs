//! How wide a line may be: 110 characters, in code as in prose (docs/style.md C6).
//!
//! rustfmt keeps code within that width, but leaves comments and texts in quotes alone, and nothing else
//! looks at documents and scripts. This rule reads every line of all of them. It counts characters, not
//! bytes, and lets pass what cannot be broken: in a document a row of a table and a line of a listing, which
//! begins with four spaces, and everywhere a line that is one word, such as an address.

use super::ratchet::Ratchet;
use super::{File, Finding};

/// Characters of a line.
const COLUMNS_MAX: usize = 110;

/// Files that still have wider lines: (path, how many). The numbers may only go down.
const WIDE: &[(&str, usize)] = &[];

const RATCHET: Ratchet = Ratchet {
    known: WIDE,
    list: "width.rs",
    message: "wider than 110 columns: break the line",
};

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| is_written_by_hand(file)) {
        let wide = file.text.lines().enumerate();
        let wide = wide.filter(|(_, line)| is_too_wide(&file.path, line));
        let lines: Vec<usize> = wide.map(|(index, _)| index + 1).collect();
        RATCHET.check(file, &lines, findings);
    }
}

/// Code, documents, settings and scripts; a script may do without an ending if it names its interpreter.
fn is_written_by_hand(file: &File) -> bool {
    let ending = file.path.rsplit_once('.').map_or("", |(_, ending)| ending);
    matches!(ending, "rs" | "md" | "py" | "toml" | "sh") || file.text.starts_with("#!")
}

fn is_too_wide(path: &str, line: &str) -> bool {
    let is_document = path.ends_with(".md");
    let is_table_row = is_document && line.trim_start().starts_with('|');
    let is_listing = is_document && line.starts_with("    ");
    let is_one_word = line
        .trim_start_matches(['/', '!', '#', ' ', '-'])
        .split_whitespace()
        .nth(1)
        .is_none();
    line.chars().count() > COLUMNS_MAX && !is_table_row && !is_listing && !is_one_word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_of(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&[file], &mut findings);
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_line_of_111_characters_is_found_and_one_of_110_is_not() {
        let prose = "é ".repeat(55);
        assert!(findings_of("docs/new.md", &prose).is_empty());
        assert_eq!(
            findings_of("docs/new.md", &format!("short\n{prose}!")),
            ["docs/new.md:2"]
        );
        assert_eq!(
            findings_of("bench/new", &format!("#!/bin/sh\n{prose}!")),
            ["bench/new:2"]
        );
    }

    #[test]
    fn what_cannot_be_broken_may_be_wide() {
        let cells = format!("| {}|", "cell ".repeat(30));
        let address = format!("/// <https://example.org/{}>", "x".repeat(120));
        assert!(findings_of("docs/new.md", &cells).is_empty());
        let listing = format!("    {}", "word ".repeat(30));
        assert!(findings_of("docs/new.md", &listing).is_empty());
        assert!(findings_of("crates/new/src/lib.rs", &address).is_empty());
        assert!(findings_of("bench/results/new.txt", &"x ".repeat(99)).is_empty());
    }
}
