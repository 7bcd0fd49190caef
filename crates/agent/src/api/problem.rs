//! `Problem`: why a request was not done, as RFC 9457 has it: a sentence for people, a code for programs, and
//! every reason.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// Why a request was not done. Nothing was changed, unless the sentence says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Status code of HTTP.
    pub status: u16,
    /// What is the matter, as a sentence.
    pub detail: String,
    /// What is the matter, in a word for programs.
    pub code: String,
    /// Every reason.
    #[serde(default)]
    pub reasons: Vec<report::Reason>,
}

/// The same as it is sent, with the fields that follow from the code.
#[derive(Serialize)]
struct Sent<'a> {
    /// Where this agent explains the code.
    r#type: String,
    /// The code, in words.
    title: &'a str,
    #[serde(flatten)]
    problem: &'a Problem,
}

/// Every code: the word, the status of HTTP, the title.
const CODES: &[(&str, u16, &str)] = &[
    ("bad-request", 400, "The request cannot be read"),
    ("not-allowed", 403, "The caller may not do that"),
    ("no-such-thing", 404, "There is nothing of this name"),
    ("no-vm", 404, "There is no VM of this name"),
    ("no-host", 404, "There is no host of this name"),
    ("no-operation", 404, "There is no operation of this number"),
    ("busy", 409, "Something else is under way"),
    ("not-now", 409, "The VM is in no state for that"),
    (
        "no-spare-host",
        409,
        "No host is left that could take a new backup",
    ),
    ("decided", 409, "It is decided and cannot be cancelled any more"),
    (
        "key-reused",
        422,
        "The request's number belongs to another request",
    ),
    ("check-failed", 422, "A check has refused it"),
    ("host-refused", 409, "This host does not take the VM"),
    ("changed", 412, "Somebody else has changed it meanwhile"),
    ("bug", 500, "The agent has met what it cannot explain"),
    ("directory-away", 503, "The site's directory does not answer"),
    ("arbiter-away", 503, "The site's arbiter does not answer"),
    ("agent-away", 503, "Another host's agent does not answer"),
];

impl Problem {
    /// A problem of one of the codes.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Problem {
        let known = CODES.iter().find(|(word, _, _)| *word == code);
        let (code, status, _) = known.copied().unwrap_or(("bug", 500, "A bug"));
        Problem {
            status,
            detail: detail.into(),
            code: code.to_owned(),
            reasons: Vec::new(),
        }
    }

    /// The same with every reason.
    #[must_use]
    pub fn because(self, reasons: Vec<report::Reason>) -> Problem {
        Problem { reasons, ..self }
    }

    /// The exit code of a command that has met it: 4 refused, 2 wrong usage, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.status {
            409 | 412 | 422 => 4,
            400 => 2,
            _ => 1,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        let known = CODES.iter().find(|(word, _, _)| *word == self.code);
        let sent = Sent {
            r#type: format!("/problems/{}", self.code),
            title: known.map_or("", |(_, _, title)| title),
            problem: &self,
        };
        let mut response = (status, Json(sent)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// What a code means, for whoever follows a problem's `type`.
#[must_use]
pub fn explain(code: &str) -> Option<String> {
    let (code, status, title) = CODES.iter().find(|(word, _, _)| *word == code)?;
    Some(format!("{code} (status {status}): {title}.\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_one_of_its_kind_and_is_explained() {
        let mut words: Vec<&str> = CODES.iter().map(|(word, _, _)| *word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), CODES.len());
        for (word, status, _) in CODES {
            assert!(explain(word).unwrap().contains(&status.to_string()));
            assert_eq!(Problem::new(word, "").status, *status);
        }
        assert_eq!(Problem::new("nowhere", "").code, "bug");
    }
}
