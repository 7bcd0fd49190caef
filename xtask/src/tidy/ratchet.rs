//! A ratchet: places that break a rule already are counted for each file, and the count may only go down.
//!
//! A rule that comes late would otherwise have to wait until the whole repository keeps it. A file above its
//! count has all its places printed; a file below it has the number in the list lowered.

use super::{File, Finding};

/// A rule with the files that break it already.
pub struct Ratchet {
    /// Files that break the rule: (path, how often).
    pub known: &'static [(&'static str, usize)],
    /// File of xtask in which the list stands.
    pub list: &'static str,
    /// What is wrong at a place, and what to do.
    pub message: &'static str,
}

impl Ratchet {
    /// Adds what is to be said of the `lines` of a file that break the rule.
    pub fn check(&self, file: &File, lines: &[usize], findings: &mut Vec<Finding>) {
        let known = self.known.iter().find(|(path, _)| *path == file.path);
        let known = known.map_or(0, |&(_, count)| count);
        if lines.len() > known {
            findings.extend(lines.iter().map(|line| Finding {
                place: format!("{}:{line}", file.path),
                message: self.message.to_owned(),
            }));
        } else if lines.len() < known {
            findings.push(Finding {
                place: file.path.clone(),
                message: format!(
                    "breaks a rule {} times, {known} are known: lower the number in {}",
                    lines.len(),
                    self.list
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(lines: &[usize]) -> Vec<String> {
        let ratchet = Ratchet {
            known: &[("a.md", 2)],
            list: "list.rs",
            message: "broken",
        };
        let file = File {
            path: "a.md".to_owned(),
            text: String::new(),
        };
        let mut findings = Vec::new();
        ratchet.check(&file, lines, &mut findings);
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn the_number_that_is_known_passes_and_both_more_and_fewer_are_found() {
        assert!(findings(&[3, 7]).is_empty());
        assert_eq!(findings(&[3, 7, 9]), ["a.md:3", "a.md:7", "a.md:9"]);
        assert_eq!(findings(&[3]), ["a.md"]);
    }
}
