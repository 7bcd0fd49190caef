//! `Line`: one finding.

use serde::Serialize;

use crate::limits::NAMES_MAX;

/// How a finding is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was looked at is as it should be.
    Ok,
    /// VMs run all the same, but not as well as they could, or not for as long.
    Warn,
    /// Something that a VM or a takeover needs does not work.
    No,
}

/// One finding of an examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How the finding is judged.
    pub verdict: Verdict,
    /// Name of the host that the finding is about; null: this host, as its user sees it.
    pub host: Option<String>,
    /// What the finding is about, in a word or two.
    pub about: &'static str,
    /// What was found, and what to do about it.
    pub sentence: String,
}

impl Verdict {
    /// The word that people and programs read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::No => "no",
        }
    }
}

impl Line {
    /// A finding that is as it should be.
    pub(crate) fn ok(about: &'static str, sentence: impl Into<String>) -> Line {
        Line::new(Verdict::Ok, about, sentence.into())
    }

    /// A finding that is worth a word.
    pub(crate) fn warn(about: &'static str, sentence: impl Into<String>) -> Line {
        Line::new(Verdict::Warn, about, sentence.into())
    }

    /// A finding that something does not work.
    pub(crate) fn no(about: &'static str, sentence: impl Into<String>) -> Line {
        Line::new(Verdict::No, about, sentence.into())
    }

    fn new(verdict: Verdict, about: &'static str, sentence: String) -> Line {
        Line {
            verdict,
            host: None,
            about,
            sentence,
        }
    }

    /// The same of another host.
    pub(crate) fn of(self, host: &str) -> Line {
        Line {
            host: Some(host.to_owned()),
            ..self
        }
    }
}

/// Some names as a sentence lists them.
pub(crate) fn names(all: &[String]) -> String {
    let some: Vec<&str> = all.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = all.len() - some.len();
    let text = some.join(", ");
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_lists_no_more_names_than_the_limit_says() {
        let all: Vec<String> = (0..NAMES_MAX + 2).map(|number| number.to_string()).collect();
        assert_eq!(names(&all[..2]), "0, 1");
        assert!(names(&all).ends_with("7 and 2 more"), "{}", names(&all));
    }
}
