//! `Giver`: an agent of the site, as a host that joins calls it. Everything that it says comes from a host of
//! the token's site: whoever else listens there gets nothing but the beginning of a handshake.

use std::net::{IpAddr, SocketAddr};

use hyper::Method;
use link::Key;
use rustls::AlertDescription;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::gate;
use super::offer::{KeyGiven, MarkSeen, Newcomer, Offer};
use super::token::Token;
use crate::client::{CallError, Connection, Question};
use crate::identity::IdentityError;
use crate::limits::JOIN_PATIENCE;
use crate::problem::Problem;

/// A connection to an agent of the site, for one host that joins.
#[derive(Debug)]
pub struct Giver {
    runtime: Runtime,
    connection: Connection,
    place: SocketAddr,
    here: IpAddr,
}

/// Why a host does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody of the site answers there.
    #[error("{0}")]
    Nobody(String),
    /// The agent does not take the token; the sentence says what to do.
    #[error("{0}")]
    Token(String),
    /// The agent does not take this host; it says why.
    #[error("{}", .0.detail)]
    Problem(Problem),
    /// What it says is not understood.
    #[error(
        "the agent gives an answer that this program does not know ({0}); use the program of its release"
    )]
    Unknown(String),
    /// TLS cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This host gives no means to call.
    #[error("this host gives no means to call ({0})")]
    Host(std::io::Error),
}

impl Giver {
    /// Calls the agent at this address.
    ///
    /// # Errors
    /// Nobody answers there who is of the token's site. Whether the token is good is seen at the first
    /// question.
    pub fn call(place: SocketAddr, token: &Token) -> Result<Giver, JoinError> {
        let tls = gate::client(token)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(JoinError::Host)?;
        let opened = runtime.block_on(async {
            let opening = async {
                let nobody = |error: std::io::Error| {
                    JoinError::Nobody(format!("no agent answers at {place} ({error})"))
                };
                let tcp = TcpStream::connect(place).await.map_err(nobody)?;
                let here = tcp.local_addr().map_err(nobody)?.ip();
                let opened = TlsConnector::from(tls).connect(place.ip().into(), tcp).await;
                let stream = opened.map_err(|error| not_of_site(place, &error))?;
                let connection = Connection::over(stream, place.to_string(), place.to_string()).await;
                let connection = connection.map_err(|error| refusal(place, error))?;
                Ok((connection, here))
            };
            let late = || {
                JoinError::Nobody(format!(
                    "no agent answers at {place} (for {} s)",
                    JOIN_PATIENCE.as_secs()
                ))
            };
            let opened = tokio::time::timeout(JOIN_PATIENCE, opening).await;
            opened.unwrap_or_else(|_| Err(late()))
        });
        let (connection, here) = opened?;
        Ok(Giver {
            runtime,
            connection,
            place,
            here,
        })
    }

    /// The address of this host from which the agent was reached.
    #[must_use]
    pub fn here(&self) -> IpAddr {
        self.here
    }

    /// What this host must know of the site, if the site takes it.
    ///
    /// # Errors
    /// The token is not good, or this host's name or address is taken, or its program is too different.
    pub fn offer(&mut self, newcomer: &Newcomer) -> Result<Offer, JoinError> {
        self.ask("/v1/joining/offer", newcomer)
    }

    /// Does the agent see the mark of this name at the site's arbiter?
    ///
    /// # Errors
    /// As those of [`Giver::offer`].
    pub fn sees(&mut self, mark: &str) -> Result<bool, JoinError> {
        let seen: MarkSeen = self.ask("/v1/joining/mark", &mark)?;
        Ok(seen.seen)
    }

    /// Uses the token up, and gives the site's key.
    ///
    /// # Errors
    /// As those of [`Giver::offer`].
    pub fn key(mut self, newcomer: &Newcomer) -> Result<Key, JoinError> {
        let given: KeyGiven = self.ask("/v1/joining/key", newcomer)?;
        Key::from_hex(&given.key).ok_or_else(|| JoinError::Unknown("no key".into()))
    }

    fn ask<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, JoinError> {
        let unknown = |error: serde_json::Error| JoinError::Unknown(error.to_string());
        let question = Question {
            method: Method::POST,
            path: path.to_owned(),
            body: Some(serde_json::to_vec(body).map_err(unknown)?),
            key: None,
            generation: None,
        };
        let asked = self
            .runtime
            .block_on(self.connection.ask(&question, JOIN_PATIENCE));
        let answer = asked.map_err(|error| refusal(self.place, error))?;
        if answer.is_good() {
            return serde_json::from_slice(&answer.body).map_err(unknown);
        }
        Err(JoinError::Problem(
            serde_json::from_slice(&answer.body).map_err(unknown)?,
        ))
    }
}

/// Why the agent does not speak with a host that has shown its token.
fn refusal(place: SocketAddr, error: CallError) -> JoinError {
    let CallError::Refused { alert, .. } = error else {
        return JoinError::Nobody(error.to_string());
    };
    const ANOTHER: &str = "`lockstep agent token` on that host prints another one";
    JoinError::Token(match alert {
        AlertDescription::UnknownCA => format!(
            "the agent at {place} does not know this token: only the agent that has given it does, until it \
             ends; {ANOTHER}"
        ),
        AlertDescription::CertificateExpired => format!("the token's time is over; {ANOTHER}"),
        AlertDescription::CertificateRevoked => {
            format!("a host has joined with this token already, and it is good for one; {ANOTHER}")
        }
        AlertDescription::AccessDenied => format!(
            "the agent at {place} was called with too many wrong tokens and looks at none for a minute; try \
             again then"
        ),
        other => format!("the agent at {place} refuses the token ({other:?}); {ANOTHER}"),
    })
}

/// Why the other end is not believed.
fn not_of_site(place: SocketAddr, error: &std::io::Error) -> JoinError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    JoinError::Nobody(match inner {
        Some(rustls::Error::InvalidCertificate(_)) => format!(
            "who answers at {place} is no host of the site that the token is of; nothing was told to it"
        ),
        _ => format!("no agent that takes tokens answers at {place} ({error})"),
    })
}
