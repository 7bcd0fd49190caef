//! `Listening`: the client's side of `GET /v1/watch`, for a program that may wait. It takes server-sent
//! events apart; what they mean is the caller's business.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Runtime;

use crate::client::{Answer, CallError, Connection, Where};
use crate::limits::ANSWER_BYTES_MAX;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where a listener that comes back goes on; empty: the event has none.
    pub id: String,
    /// Name of the event.
    pub event: String,
    /// Its data.
    pub data: String,
}

/// A call to an agent that tells of what changes.
#[derive(Debug)]
pub struct Listening {
    runtime: Runtime,
    body: Incoming,
    place: String,
    parser: Parser,
}

/// Why nobody can be listened to.
#[derive(Debug)]
pub enum ListenError {
    /// The agent says why itself, with a status other than 200.
    Refused(Answer),
    /// It gives no answer.
    Call(CallError),
}

impl Listening {
    /// Begins to listen at `path`. `last`: the `id` of the last event that was heard before, or empty.
    ///
    /// # Errors
    /// Nobody answers within `patience`, or the agent refuses.
    pub fn begin(to: &Where, path: &str, last: &str, patience: Duration) -> Result<Listening, ListenError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            ListenError::Call(CallError::Nobody {
                place: to.place(),
                reason: error.to_string(),
            })
        })?;
        let opened = runtime.block_on(async {
            let opened = tokio::time::timeout(patience, async {
                let mut connection = Connection::open(to).await?;
                connection.listen(path, last).await
            });
            opened.await.unwrap_or_else(|_| {
                Err(CallError::Silent {
                    place: to.place(),
                    reason: format!("for {} ms", patience.as_millis()),
                })
            })
        });
        let (status, body) = opened.map_err(ListenError::Call)?;
        if status != 200 {
            let answer = runtime.block_on(crate::client::whole(status, body));
            let answer = answer.map_err(|(reason, _)| {
                let place = to.place();
                ListenError::Call(CallError::Silent { place, reason })
            })?;
            return Err(ListenError::Refused(answer));
        }
        Ok(Listening {
            runtime,
            body,
            place: to.place(),
            parser: Parser::default(),
        })
    }

    /// The next event, as soon as there is one; `None`: none came within `patience`.
    ///
    /// # Errors
    /// The agent has hung up, or says what is no event.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Told>, CallError> {
        let (body, parser) = (&mut self.body, &mut self.parser);
        let heard = self.runtime.block_on(async {
            tokio::time::timeout(patience, async {
                loop {
                    if let Some(told) = parser.told.pop_front() {
                        return Ok(told);
                    }
                    match body.frame().await {
                        Some(Ok(frame)) => parser.take(frame.data_ref().map_or(&[], |data| &data[..]))?,
                        Some(Err(error)) => return Err(error.to_string()),
                        None => return Err("it has hung up".to_owned()),
                    }
                }
            })
            .await
        });
        match heard {
            Ok(Ok(told)) => Ok(Some(told)),
            Ok(Err(reason)) => Err(CallError::Silent {
                place: self.place.clone(),
                reason,
            }),
            Err(_) => Ok(None),
        }
    }
}

/// Takes events out of bytes as they come.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    open: Told,
    /// Has the open event any data yet?
    has_data: bool,
    told: VecDeque<Told>,
}

impl Parser {
    /// Takes in some bytes.
    ///
    /// # Errors
    /// An event is longer than an answer may be.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                self.take_line(line.trim_end_matches('\r'));
            } else {
                self.line.push(*byte);
            }
            if self.line.len() + self.open.data.len() > ANSWER_BYTES_MAX {
                return Err("it says more in an event than can be meant".to_owned());
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            let open = std::mem::take(&mut self.open);
            if std::mem::take(&mut self.has_data) {
                self.told.push_back(open);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.open.event),
            "id" => value.clone_into(&mut self.open.id),
            "data" => {
                if self.has_data {
                    self.open.data.push('\n');
                }
                self.open.data.push_str(value);
                self.has_data = true;
            }
            // A comment, or what a newer agent says.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": hello\n\nevent: vm\nid: a:7\ndata: {\"a\":\ndata: 1}\n\nretry: 5\nevent: ping\r\n\
                        data\r\n\r\nevent: unfinished\ndata: 1\n";

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let bytes = TEXT.as_bytes();
        for cut in 0..=bytes.len() {
            let mut parser = Parser::default();
            let (first, second) = bytes.split_at(cut);
            parser.take(first).unwrap();
            parser.take(second).unwrap();
            let told = |id: &str, event: &str, data: &str| Told {
                id: id.into(),
                event: event.into(),
                data: data.into(),
            };
            let expected = [told("a:7", "vm", "{\"a\":\n1}"), told("", "ping", "")];
            assert_eq!(parser.told, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut parser = Parser::default();
        let much = vec![b'x'; ANSWER_BYTES_MAX];
        assert!(parser.take(&much).is_ok());
        assert!(parser.take(b"x").is_err());
    }
}
