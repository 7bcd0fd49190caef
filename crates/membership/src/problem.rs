//! `Problem`: why a request was not done, as RFC 9457 has it: a sentence for people, a code for programs, and
//! every reason.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

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

/// Why a request was not done (RFC 9457). Nothing was changed, unless the sentence says so.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemObject {
    /// The path at which this agent explains the code.
    r#type: String,
    /// What the code means, in words that are the same each time.
    title: String,
    /// The status code of HTTP, as in the head of the answer.
    status: u16,
    /// What is the matter with this request, as a sentence for people.
    detail: String,
    /// What is the matter, in a word for programs.
    code: String,
    /// Every reason for it, where there is more than one sentence to say.
    reasons: Vec<report::Reason>,
}

/// Every code: the word, the status of HTTP, the title.
pub const CODES: &[(&str, u16, &str)] = &[
    ("bad-request", 400, "The request cannot be read"),
    ("not-allowed", 403, "The caller may not do that"),
    ("no-such-thing", 404, "There is nothing of this name"),
    (
        "no-such-method",
        405,
        "The path is there, and not for this method",
    ),
    ("too-large", 413, "The request has more bytes than it may"),
    ("not-json", 415, "The body is not said to be JSON"),
    ("no-vm", 404, "There is no VM of this name"),
    ("no-host", 404, "There is no host of this name"),
    ("no-operation", 404, "There is no operation of this number"),
    ("busy", 409, "Something else is under way"),
    ("not-now", 409, "The VM is in no state for that"),
    ("console-taken", 409, "Somebody else types at the VM's console"),
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
    ("host-refused", 409, "This host does not take the VM"),
    ("not-taken", 409, "The site does not take this host"),
    ("changed", 412, "Somebody else has changed it meanwhile"),
    ("too-many", 429, "More ask for that at once than may"),
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
            403 | 409 | 412 | 422 | 429 => 4,
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
        let sent = ProblemObject {
            r#type: format!("/problems/{}", self.code),
            title: known.map_or(String::new(), |(_, _, title)| (*title).to_owned()),
            status: self.status,
            detail: self.detail,
            code: self.code,
            reasons: self.reasons,
        };
        let mut response = (status, Json(sent)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Sets of problems that routes have in common, for the description of the API.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($code:literal)+;)+) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Described>> {
                    described(&[$($code),+])
                }
            }
        )+
    };
}

problems! {
    /// Problems of a question with a query.
    OfQuery: "bad-request";
    /// Problems of a question about something with a name.
    OfThing: "bad-request" "no-such-thing";
    /// Problems of a question about a VM.
    OfVm: "bad-request" "no-vm" "not-now";
    /// Problems of a question about an operation.
    OfOperationLook: "bad-request" "no-operation";
    /// Problems of a listener.
    OfWatch: "bad-request" "too-many";
    /// Problems of an agent that asks how this host is.
    OfLocal: "bad-request" "not-now";
    /// Problems of an agent that asks for a reservation.
    OfReservation: "bad-request" "not-allowed" "host-refused" "too-large" "not-json";
    /// Problems of a person who asks for a token.
    OfToken: "bad-request" "not-allowed" "not-now" "not-taken" "too-large" "not-json" "bug";
    /// Problems of who asks how hosts find each other.
    OfPeers: "bad-request" "bug" "directory-away";
    /// Problems of a change that is about no thing that is there.
    OfChange: "bad-request" "not-allowed" "not-now" "changed" "too-large" "not-json" "bug" "directory-away";
    /// Problems of a change of a VM.
    OfVmChange: "bad-request" "not-allowed" "no-vm" "no-host" "host-refused" "busy" "not-now" "changed"
        "too-large" "not-json" "key-reused" "bug" "directory-away";
    /// Problems of a test of a VM.
    OfTest: "bad-request" "not-allowed" "no-vm" "busy" "not-now" "no-spare-host" "changed" "too-large"
        "not-json" "key-reused" "bug" "directory-away";
    /// Problems of the end of a record of the arbiter.
    OfRelease: "bad-request" "not-allowed" "no-vm" "not-now" "changed" "too-large" "not-json" "bug"
        "directory-away" "arbiter-away";
    /// Problems of what leads on to the process of a VM.
    OfPassage: "bad-request" "no-vm" "no-host" "busy" "not-now" "bug" "agent-away";
    /// Problems of a person who wants to a VM's console.
    OfConsole: "bad-request" "no-vm" "no-host" "busy" "console-taken" "not-now" "bug" "agent-away";
    /// Problems of a change of a host.
    OfHost: "bad-request" "not-allowed" "no-host" "changed" "too-large" "not-json" "bug" "directory-away";
    /// Problems of the end of an operation.
    OfOperation: "bad-request" "not-allowed" "no-operation" "decided" "changed" "too-large" "not-json" "bug"
        "directory-away";
}

/// The answers with these codes, by their statuses.
fn described(codes: &[&str]) -> BTreeMap<String, RefOr<Described>> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (word, status, title) in CODES.iter().filter(|(word, ..)| codes.contains(word)) {
        let text = texts.entry(status.to_string()).or_default();
        if !text.is_empty() {
            text.push_str("; ");
        }
        *text += &format!("`{word}`: {title}");
    }
    let content = || Content::new(Some(Ref::from_schema_name("Problem")));
    let answers = texts.into_iter().map(|(status, text)| {
        let answer = ResponseBuilder::new().description(text);
        let answer = answer.content("application/problem+json", content()).build();
        (status, RefOr::T(answer))
    });
    answers.collect()
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
