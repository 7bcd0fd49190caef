//! `Client`: calls to a cluster. Each goes to the server that answered last, and from there around.
//!
//! A read may be asked of the next server whenever one does not answer. A change goes to the next server only
//! if it is sure that the one before has not got it, or has not carried it out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Failure, Http, Patience, Status};
use crate::limits::{ANSWER_LEN_MAX, LEASE_TTL_MAX, LEASE_TTL_MIN};
use crate::names::Names;
use crate::wire::{self, Compare, Keys, Lease, Operation, Outcome, Range, Revision};
use crate::{EtcdError, Settings, Watch};

/// gRPC's status of an answer that came too late for the server itself, and the like: nothing is known.
const UNKNOWN_OUTCOMES: &[u64] = &[1, 2, 4, 10, 13, 14, 15];
/// gRPC's status of what does not exist.
const NOT_FOUND: u64 = 5;
/// gRPC's status of a caller who has not said who he is, or no longer validly.
const UNAUTHENTICATED: u64 = 16;

/// A cluster of etcd servers. One client may be used by many threads at once.
#[derive(Debug)]
pub struct Client {
    http: Http,
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Index of the server that is asked first: the one that has answered last, unless it has failed since.
    answers: usize,
    /// What the cluster gave for the user's password; `None`: nothing yet, or nothing that is still good.
    token: Option<String>,
}

/// Whether a request may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing, or twice is as good as once.
    Harmless,
    /// It changes something, and what came in between must not be undone.
    Never,
}

/// What one server makes of a request.
type AtOne<'a, T> = &'a dyn Fn(&str, Option<&str>, Patience) -> Result<T, Failure>;

impl Client {
    /// A client with these settings, whose files are read now. No server is asked yet.
    ///
    /// # Errors
    /// [`EtcdError::Settings`]: the settings are no good, or one of their files.
    pub fn new(settings: Settings) -> Result<Client, EtcdError> {
        Client::with_names(settings, Names::default())
    }

    /// As [`Client::new`], for a process that will open no file and start no thread any more: names of
    /// servers are looked up now and never again, on this thread, however long the system takes for that.
    ///
    /// # Errors
    /// As those of [`Client::new`]. A server whose name has no address now is one that never answers.
    pub fn at_fixed_addresses(settings: Settings) -> Result<Client, EtcdError> {
        settings.check()?;
        let names = Names::fixed(&settings.endpoints);
        Client::with_names(settings, names)
    }

    fn with_names(settings: Settings, names: Names) -> Result<Client, EtcdError> {
        settings.check()?;
        Ok(Client {
            http: Http::new(settings.tls()?, names),
            settings,
            state: Mutex::default(),
        })
    }

    /// Another client of the same cluster, with connections of its own.
    ///
    /// # Errors
    /// As those of [`Client::new`]: the files are read again.
    pub fn another(&self) -> Result<Client, EtcdError> {
        Client::new(self.settings.clone())
    }

    /// How the cluster is called, in the middle of a sentence.
    #[must_use]
    pub fn name(&self) -> String {
        format!("etcd at {}", self.settings.endpoints.join(", "))
    }

    /// Ends all calls and watches of this client at once, and any that come later.
    pub fn shut_down(&self) {
        self.http.shut_down();
    }

    /// Reads keys as the cluster has agreed on them by now, at most `limit` (at least 1) of them.
    ///
    /// # Errors
    /// No server answers, or it refuses.
    pub fn range(&self, keys: &Keys, limit: usize) -> Result<Range, EtcdError> {
        let mut body = keys.json();
        body["limit"] = json!(limit.to_string());
        self.call("/v3/kv/range", &body, Repeat::Harmless, wire::range)
    }

    /// As [`Client::range`], but the last of these keys, the greatest first, without their values.
    ///
    /// # Errors
    /// As those of [`Client::range`].
    pub fn greatest(&self, keys: &Keys, limit: usize) -> Result<Range, EtcdError> {
        let mut body = keys.json();
        body["limit"] = json!(limit.to_string());
        body["sort_order"] = json!("DESCEND");
        body["sort_target"] = json!("KEY");
        body["keys_only"] = json!(true);
        self.call("/v3/kv/range", &body, Repeat::Harmless, wire::range)
    }

    /// Does `then` if all conditions hold, else `otherwise`; all of it at once, or nothing.
    ///
    /// # Errors
    /// [`EtcdError::Unanswered`]: nobody knows whether it was done. Else it was not.
    pub fn transact(
        &self,
        conditions: &[Compare],
        then: &[Operation],
        otherwise: &[Operation],
    ) -> Result<Outcome, EtcdError> {
        let list = |operations: &[Operation]| operations.iter().map(Operation::json).collect::<Vec<_>>();
        let body = json!({
            "compare": conditions.iter().map(Compare::json).collect::<Vec<_>>(),
            "success": list(then),
            "failure": list(otherwise),
        });
        self.call("/v3/kv/txn", &body, Repeat::Never, wire::outcome)
    }

    /// A new lease of `ttl`, rounded up to seconds, which must be 2 seconds to a day.
    ///
    /// # Errors
    /// As those of [`Client::transact`]. A lease that nobody knows of runs out.
    pub fn grant(&self, ttl: Duration) -> Result<Lease, EtcdError> {
        if !(LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&ttl) {
            return Err(EtcdError::Settings(format!(
                "a lease of {} ms cannot be had: {} s to {} s can",
                ttl.as_millis(),
                LEASE_TTL_MIN.as_secs(),
                LEASE_TTL_MAX.as_secs()
            )));
        }
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let body = json!({"TTL": seconds.to_string()});
        self.call("/v3/lease/grant", &body, Repeat::Harmless, |answer| {
            wire::lease(answer, "ID")?
        })
    }

    /// Has a lease run for its whole time again; `false`: there is no such lease any more.
    ///
    /// # Errors
    /// No server answers, or it refuses.
    pub fn keep_alive(&self, lease: Lease) -> Result<bool, EtcdError> {
        let body = json!({"ID": lease.0.to_string()});
        self.call("/v3/lease/keepalive", &body, Repeat::Harmless, |answer| {
            Some(wire::number(answer.get("result")?, "TTL")? > 0)
        })
    }

    /// Ends a lease, and with it its keys. One that is over already is no error.
    ///
    /// # Errors
    /// As those of [`Client::transact`].
    pub fn revoke(&self, lease: Lease) -> Result<(), EtcdError> {
        let body = json!({"ID": lease.0.to_string()});
        match self.call("/v3/lease/revoke", &body, Repeat::Harmless, wire::header) {
            Err(EtcdError::Refused { code: NOT_FOUND, .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Watches keys from `first` on, the revision of the first change that is wanted. What has happened since
    /// may be known no more: the watch says so, perhaps only at its first [`Watch::wait`].
    ///
    /// # Errors
    /// [`EtcdError::Compacted`]: it is known no more. Or no server answers, or it refuses.
    pub fn watch(&self, keys: &Keys, first: Revision) -> Result<Watch, EtcdError> {
        let mut create = keys.json();
        create["start_revision"] = json!(first.0.to_string());
        create["progress_notify"] = json!(true);
        let body = json!({"create_request": create});
        self.around(Repeat::Harmless, &|endpoint, token, patience| {
            let lines = self.http.stream(endpoint, "/v3/watch", &body, token, patience)?;
            match Watch::begin(endpoint.to_owned(), lines) {
                // Another server may be able to.
                Err(EtcdError::Ended { reason, .. }) => Err(Failure::Unanswered(reason)),
                begun => Ok(begun),
            }
        })?
    }

    /// Makes a request, and reads its answer by `read`, to which an answer that is not etcd's is `None`.
    fn call<T>(
        &self,
        path: &str,
        body: &Value,
        repeat: Repeat,
        read: fn(&Value) -> Option<T>,
    ) -> Result<T, EtcdError> {
        self.around(repeat, &|endpoint, token, patience| {
            let answer = self.http.post(endpoint, path, body, token, patience)?;
            read(&answer).ok_or_else(|| match crate::http::status(&answer) {
                Some(status) => Failure::Status(status),
                None => Failure::Unanswered("its answer is not etcd's".into()),
            })
        })
    }

    /// Asks one server after the other until one answers, or the time is up.
    fn around<T>(&self, repeat: Repeat, ask: AtOne<'_, T>) -> Result<T, EtcdError> {
        let endpoints = &self.settings.endpoints;
        let end = Instant::now() + self.settings.deadline;
        let first = self.state().answers;
        let mut reasons = Vec::new();
        for turn in 0..endpoints.len() {
            let index = (first + turn) % endpoints.len();
            let endpoint = &endpoints[index];
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                reasons.push(format!("{endpoint}: no time was left to ask"));
                continue;
            }
            // The servers that come later need their share, unless this one's answer is all that counts.
            let share = left / u32::try_from(endpoints.len() - turn).unwrap_or(1);
            let patience = Patience {
                connect: share,
                answer: if repeat == Repeat::Harmless { share } else { left },
            };
            let reason = match self.with_token(endpoint, patience, ask) {
                Ok(answer) => {
                    self.state().answers = index;
                    return Ok(answer);
                }
                Err(Failure::TooLarge) => {
                    return Err(EtcdError::TooLarge {
                        endpoint: endpoint.clone(),
                        limit: ANSWER_LEN_MAX,
                    });
                }
                Err(Failure::NotConnected(reason)) => reason,
                // A server says this before it looks at the request.
                Err(Failure::Status(status)) if status.message.ends_with(": no leader") => status.message,
                Err(Failure::Status(Status { code, message })) if !UNKNOWN_OUTCOMES.contains(&code) => {
                    return Err(EtcdError::Refused {
                        endpoint: endpoint.clone(),
                        message,
                        code,
                    });
                }
                Err(Failure::Unanswered(reason) | Failure::Status(Status { message: reason, .. })) => {
                    if repeat == Repeat::Never {
                        // Whoever asks again shall not wait for the same server again.
                        self.state().answers = (index + 1) % endpoints.len();
                        return Err(EtcdError::Unanswered {
                            endpoint: endpoint.clone(),
                            reason,
                        });
                    }
                    reason
                }
            };
            reasons.push(format!("{endpoint}: {reason}"));
        }
        Err(EtcdError::Away {
            reasons: reasons.join("; "),
        })
    }

    /// Asks a server with the user's token, and once more with a new one if the token is no longer good.
    fn with_token<T>(&self, endpoint: &str, patience: Patience, ask: AtOne<'_, T>) -> Result<T, Failure> {
        let begin = Instant::now();
        let token = self.token(endpoint, patience)?;
        let patience = rest(patience, begin);
        match ask(endpoint, token.as_deref(), patience) {
            Err(Failure::Status(status)) if token.is_some() && is_old_token(&status) => {
                self.state().token = None;
                let patience = rest(patience, begin);
                let token = self.token(endpoint, patience)?;
                ask(endpoint, token.as_deref(), rest(patience, begin))
            }
            other => other,
        }
    }

    /// The token of the user; `None`: there is no user. A failure here has changed nothing.
    fn token(&self, endpoint: &str, patience: Patience) -> Result<Option<String>, Failure> {
        let Some(user) = &self.settings.user else {
            return Ok(None);
        };
        if let Some(token) = &self.state().token {
            return Ok(Some(token.clone()));
        }
        let body = json!({"name": user.name, "password": user.password});
        let answer = self
            .http
            .post(endpoint, "/v3/auth/authenticate", &body, None, patience);
        let answer = answer.map_err(|failure| match failure {
            // The request itself was not sent yet, whatever has become of this one.
            Failure::Unanswered(reason) => Failure::NotConnected(reason),
            Failure::Status(Status { code, message }) if UNKNOWN_OUTCOMES.contains(&code) => {
                Failure::NotConnected(message)
            }
            other => other,
        })?;
        let token = answer.get("token").and_then(Value::as_str).map(str::to_owned);
        let token = token.ok_or_else(|| Failure::NotConnected("it gives no token".into()))?;
        self.state().token = Some(token.clone());
        Ok(Some(token))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in there is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of a patience that began at this time.
fn rest(patience: Patience, begin: Instant) -> Patience {
    let gone = begin.elapsed();
    Patience {
        connect: patience.connect.saturating_sub(gone),
        answer: patience.answer.saturating_sub(gone),
    }
}

/// Says a server so of a token that it does not know, or that was given before users were changed?
fn is_old_token(status: &Status) -> bool {
    status.code == UNAUTHENTICATED || status.message.contains("revision of auth store is old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_when_it_is_unknown_or_from_before_a_change_of_users() {
        let status = |code, message: &str| Status {
            code,
            message: message.into(),
        };
        assert!(is_old_token(&status(16, "etcdserver: invalid auth token")));
        assert!(is_old_token(&status(
            3,
            "etcdserver: revision of auth store is old"
        )));
        assert!(!is_old_token(&status(7, "etcdserver: permission denied")));
    }
}
