//! A comment at a field says something (docs/style.md C7).
//!
//! A single word (`/// Sets.`) repeats the field's name or is a riddle. The rule reads the documentation of
//! every field of every struct and enum.

use syn::visit::Visit;

use super::ratchet::Ratchet;
use super::{File, Finding};

/// Files that still have comments of one word: (path, how many). The numbers may only go down.
const TERSE: &[(&str, usize)] = &[];

const RATCHET: Ratchet = Ratchet {
    known: TERSE,
    list: "words.rs",
    message: "a comment of one word: say in a phrase with a noun what the field holds",
};

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let Ok(parsed) = syn::parse_file(&file.text) else {
            continue; // `source` says so.
        };
        let mut terse = Terse { lines: Vec::new() };
        terse.visit_file(&parsed);
        RATCHET.check(file, &terse.lines, findings);
    }
}

/// Collects the lines of comments of one word.
struct Terse {
    lines: Vec<usize>,
}

impl Terse {
    fn look(&mut self, attributes: &[syn::Attribute]) {
        let mut words = 0;
        let mut line = 0;
        for attribute in attributes {
            if let syn::Meta::NameValue(pair) = &attribute.meta
                && pair.path.is_ident("doc")
                && let syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) = &pair.value
            {
                words += text.value().split_whitespace().count();
                line = text.span().start().line;
            }
        }
        if words == 1 {
            self.lines.push(line);
        }
    }
}

impl<'ast> Visit<'ast> for Terse {
    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.look(&field.attrs);
        syn::visit::visit_field(self, field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_at_a_field_is_found_wherever_the_field_stands() {
        let text = "//! x\nstruct A {\n    /// Sets.\n    a: u8,\n    /// Number of sets.\n    b: u8,\n}\n\
                    enum B {\n    /// Alone.\n    C {\n        /// Which.\n        d: u8,\n    },\n}\n";
        let mut findings = Vec::new();
        let file = File {
            path: "crates/new/src/lib.rs".to_owned(),
            text: text.to_owned(),
        };
        check(&[file], &mut findings);
        let places: Vec<_> = findings.into_iter().map(|finding| finding.place).collect();
        assert_eq!(places, ["crates/new/src/lib.rs:3", "crates/new/src/lib.rs:11"]);
    }
}
