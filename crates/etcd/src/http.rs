//! `Http`: one request to one server, and its answer as JSON. What the answer means is `client`'s business.
//!
//! For whoever changes something, the important thing about a request that has failed is whether a server
//! may have got it. The HTTP client does not say: a connector around its own marks the errors of connections
//! that were never made.

use std::io::{BufReader, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::config::Config;
use ureq::config::ConfigBuilder;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::typestate::{RequestScope, WithBody};
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};
use ureq::{Agent, Body, BodyReader};

use crate::limits::{ANSWER_LEN_MAX, WATCH_QUIET_MAX};
use crate::names::{Names, NotConnected};

/// Makes requests, and keeps connections for the next ones.
#[derive(Clone, Debug)]
pub struct Http {
    agent: Agent,
}

/// Why there is no answer of etcd.
#[derive(Debug)]
pub enum Failure {
    /// There was no connection, so the server has not seen the request.
    NotConnected(String),
    /// The request was sent, or a part of it, and no answer of etcd came.
    Unanswered(String),
    /// The answer is too long.
    TooLarge,
    /// Etcd's own error.
    Status(Status),
}

/// An error as etcd words it.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// Number of gRPC's status.
    pub code: u64,
    /// Etcd's words.
    pub message: String,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until there is a connection, with its TLS.
    pub connect: Duration,
    /// Until the answer is there; of a watch, until it begins.
    pub answer: Duration,
}

/// A request whose patience is still to be said.
type RequestConfig = ConfigBuilder<RequestScope<WithBody>>;

/// The lines of a watch.
pub type Lines = BufReader<BodyReader<'static>>;

impl Http {
    /// A client with this TLS, to which servers' names lead so.
    pub fn new(tls: TlsConfig, names: Names) -> Http {
        let config = Config::builder()
            .tls_config(tls)
            // A proxy of the environment is for the web, not for the cluster that this host belongs to.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent("lockstep")
            .build();
        Http {
            agent: Agent::with_parts(config, Marking(DefaultConnector::default()), names),
        }
    }

    /// Sends `body` to `path` of a server, and reads the whole answer.
    pub fn post(
        &self,
        endpoint: &str,
        path: &str,
        body: &Value,
        token: Option<&str>,
        patience: Patience,
    ) -> Result<Value, Failure> {
        let request = self.request((endpoint, path), token, patience);
        let request = request.timeout_global(Some(patience.answer));
        let bytes = whole(&mut accepted(request.build().send(body.to_string()))?)?;
        // An answer of a stream's first line is one line, as a plain answer is.
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::Unanswered(format!("its answer is not etcd's: {error}")))
    }

    /// Sends `body` to `path` of a server, and gives the answer's lines as they come.
    pub fn stream(
        &self,
        endpoint: &str,
        path: &str,
        body: &Value,
        token: Option<&str>,
        patience: Patience,
    ) -> Result<Lines, Failure> {
        let request = self.request((endpoint, path), token, patience);
        let request = request
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_write(Some(patience.answer))
            .timeout_per_read(Some(WATCH_QUIET_MAX));
        let response = accepted(request.build().send(body.to_string()))?;
        Ok(BufReader::new(response.into_body().into_reader()))
    }

    /// Ends all requests, those that run and those that come.
    pub fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    /// How a request to `path` of a server begins, whatever is waited for.
    fn request(
        &self,
        (endpoint, path): (&str, &str),
        token: Option<&str>,
        patience: Patience,
    ) -> RequestConfig {
        let request = self
            .agent
            .post(format!("{}{path}", endpoint.trim_end_matches('/')))
            .content_type("application/json")
            // A server that has lost the others says so at once, instead of being silent.
            .header("Grpc-Metadata-hasleader", "true");
        let request = match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        };
        request.config().timeout_connect(Some(patience.connect))
    }
}

/// The answer to a request that the server has accepted.
fn accepted(answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Failure> {
    let mut response = answer.map_err(failure)?;
    let status = response.status();
    if status.is_success() {
        Ok(response)
    } else {
        Err(refusal(status.as_u16(), &whole(&mut response)?))
    }
}

fn whole(response: &mut Response<Body>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(ANSWER_LEN_MAX + 1);
    match reader.read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > ANSWER_LEN_MAX => Err(Failure::TooLarge),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::Unanswered(error.to_string())),
    }
}

/// What an answer says that is no success.
fn refusal(http: u16, bytes: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match status(&value) {
        Some(status) => Failure::Status(status),
        None => Failure::Unanswered(format!(
            "it answers with HTTP status {http}, which is not etcd's way"
        )),
    }
}

/// The error in an answer; `None`: it holds none.
pub fn status(value: &Value) -> Option<Status> {
    // In a stream the error is an object, elsewhere its fields stand in the answer itself.
    let inner = value.get("error").filter(|error| error.is_object());
    let error = inner.unwrap_or(value);
    let code = error.get("grpc_code").or_else(|| error.get("code"))?.as_u64()?;
    let message = error.get("message").or_else(|| error.get("error"))?.as_str()?;
    Some(Status {
        code,
        message: message.chars().take(crate::limits::WORDS_LEN_MAX).collect(),
    })
}

fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Other(inner) if inner.is::<NotConnected>() => Failure::NotConnected(inner.to_string()),
        // These come before a connection is looked for.
        ureq::Error::HostNotFound | ureq::Error::BadUri(_) => Failure::NotConnected(error.to_string()),
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            Failure::NotConnected(error.to_string())
        }
        error => Failure::Unanswered(error.to_string()),
    }
}

/// Marks the errors of connections that were not made.
#[derive(Debug)]
struct Marking(DefaultConnector);

impl Connector for Marking {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0
            .connect(details, chained)
            .map_err(|error| ureq::Error::Other(Box::new(NotConnected(error))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_is_found_in_a_plain_answer_and_in_a_stream() {
        let plain = json!({"error": "e", "message": "m", "code": 14});
        let expected = |message: &str, code| {
            Some(Status {
                code,
                message: message.into(),
            })
        };
        assert_eq!(status(&plain), expected("m", 14));
        let old = json!({"error": "e", "code": 5});
        assert_eq!(status(&old), expected("e", 5));
        let stream = json!({"error": {"grpc_code": 14, "http_code": 503, "message": "s"}});
        assert_eq!(status(&stream), expected("s", 14));
        for other in [
            json!({}),
            json!(null),
            json!({"code": "x"}),
            json!({"header": {"revision": "1"}}),
        ] {
            assert_eq!(status(&other), None, "{other}");
        }
    }
}
