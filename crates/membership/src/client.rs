//! `Connection`: a call to an agent, by its socket on this host or by TLS on another one. The command line
//! calls its own host's agent so, and agents call each other.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::identity::server_name;
use crate::limits::{ANSWER_BYTES_MAX, PASSAGE_PATIENCE, PROBE_EVERY, PROBES};

/// What a connection becomes that leads on to the process of a VM, as the header `Upgrade` says it.
pub const PASSAGE: &str = "lockstep";

/// Where an agent is called.
#[derive(Clone, Debug)]
pub enum Where {
    /// At this socket of this host.
    Socket(PathBuf),
    /// At this address, as the agent of the host of this name.
    Host {
        /// The address.
        address: SocketAddr,
        /// Name of the host.
        name: String,
        /// What the caller shows, and wants to be shown.
        tls: Arc<ClientConfig>,
    },
}

/// What an agent is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body, which is JSON; `None`: there is none.
    pub body: Option<Vec<u8>>,
    /// Number by which a repeated question is known; `None`: repeating it does no harm.
    pub key: Option<String>,
    /// The generation that what is changed must have; `None`: any.
    pub generation: Option<u64>,
}

impl Question {
    /// A question that changes nothing.
    #[must_use]
    pub fn get(path: &str) -> Question {
        Question {
            method: Method::GET,
            path: path.to_owned(),
            body: None,
            key: None,
            generation: None,
        }
    }
}

/// What an agent has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code of HTTP.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Was the question answered as it was meant?
    #[must_use]
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An agent that gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("no agent answers at {place} ({reason})")]
    Nobody {
        /// Where it was called.
        place: String,
        /// What happened.
        reason: String,
    },
    /// It was reached, and has not answered in time or has hung up.
    #[error("the agent at {place} gives no answer ({reason})")]
    Silent {
        /// Where it was called.
        place: String,
        /// What happened.
        reason: String,
    },
    /// It does not speak with this caller.
    #[error("the agent at {place} refuses to speak with this host ({alert:?})")]
    Refused {
        /// Where it was called.
        place: String,
        /// What it has said last.
        alert: AlertDescription,
    },
}

impl CallError {
    /// What happened, without where.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            CallError::Nobody { reason, .. } | CallError::Silent { reason, .. } => reason,
            CallError::Refused { .. } => "it refuses to speak with this host",
        }
    }
}

/// A connection to an agent, for one question after the other.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    place: String,
    authority: String,
}

impl Where {
    /// As people call it.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Where::Socket(path) => path.display().to_string(),
            Where::Host { address, name, .. } => format!("{name} ({address})"),
        }
    }
}

impl Connection {
    /// Calls an agent.
    ///
    /// # Errors
    /// Nobody listens there, or somebody who is not of the site.
    pub async fn open(to: &Where) -> Result<Connection, CallError> {
        let place = to.place();
        let nobody = |reason: &dyn std::fmt::Display| CallError::Nobody {
            place: place.clone(),
            reason: reason.to_string(),
        };
        match to {
            Where::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| nobody(&error))?;
                Connection::over(stream, place.clone(), "localhost".into()).await
            }
            Where::Host { address, name, tls } => {
                let tcp = TcpStream::connect(address)
                    .await
                    .map_err(|error| nobody(&error))?;
                // Answers are small, and somebody waits for them.
                tcp.set_nodelay(true).map_err(|error| nobody(&error))?;
                notice_death(&tcp).map_err(|error| nobody(&error))?;
                let Some(server) = server_name(name) else {
                    return Err(nobody(&"a certificate cannot have that name"));
                };
                let stream = TlsConnector::from(tls.clone()).connect(server, tcp).await;
                let stream = stream.map_err(|error| nobody(&error))?;
                Connection::over(stream, place.clone(), name.clone()).await
            }
        }
    }

    /// Speaks over a stream that leads to an agent.
    ///
    /// # Errors
    /// It leads nowhere.
    pub(crate) async fn over<S>(stream: S, place: String, authority: String) -> Result<Connection, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                // It ends with the sender, or with the agent.
                tokio::spawn(connection.with_upgrades());
                Ok(Connection {
                    sender,
                    place,
                    authority,
                })
            }
            Err(error) => Err(CallError::Nobody {
                place,
                reason: error.to_string(),
            }),
        }
    }

    /// Asks, and waits for the answer for at most `patience`.
    ///
    /// # Errors
    /// There is none; the connection is of no use any more.
    pub async fn ask(&mut self, question: &Question, patience: Duration) -> Result<Answer, CallError> {
        match tokio::time::timeout(patience, self.exchange(question)).await {
            Ok(answer) => answer.map_err(|(reason, alert)| match alert {
                Some(alert) => CallError::Refused {
                    place: self.place.clone(),
                    alert,
                },
                None => self.silent(reason),
            }),
            Err(_) => Err(self.silent(format!("for {} ms", patience.as_millis()))),
        }
    }

    async fn exchange(&mut self, question: &Question) -> Result<Answer, Trouble> {
        let mut request = self.request(question.method.clone(), &question.path);
        if let Some(key) = &question.key {
            request = request.header("Idempotency-Key", key.as_str());
        }
        if let Some(generation) = question.generation {
            request = request.header(header::IF_MATCH, format!("\"{generation}\""));
        }
        if question.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(question.body.clone().unwrap_or_default()));
        let request = request.body(body).map_err(|error| trouble(&error))?;
        let (status, body) = self.send(request).await?;
        whole(status, body).await
    }

    /// Asks for what changes (`Listening`), and gives the status and the answer that goes on. `last`: the
    /// `id` of the last event that was heard before, or empty.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn listen(&mut self, path: &str, last: &str) -> Result<(u16, Incoming), CallError> {
        let mut request = self.request(Method::GET, path);
        if !last.is_empty() {
            request = request.header("Last-Event-ID", last);
        }
        let request = request.body(Full::default()).map_err(|error| trouble(&error));
        let sent = match request {
            Ok(request) => self.send(request).await,
            Err(trouble) => Err(trouble),
        };
        sent.map_err(|(reason, _)| self.silent(reason))
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority.as_str())
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Incoming), Trouble> {
        self.sender.ready().await.map_err(|error| trouble(&error))?;
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| trouble(&error))?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    /// Asks that this connection become one that leads on to the process of a VM; else there is an answer
    /// that says why it does not.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn lead_on(mut self, path: &str) -> Result<Result<Upgraded, Answer>, CallError> {
        let request = self
            .request(Method::GET, path)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PASSAGE)
            .body(Full::default());
        let asked = async {
            let request = request.map_err(|error| trouble(&error))?;
            self.sender.ready().await.map_err(|error| trouble(&error))?;
            let response = self.sender.send_request(request).await;
            let response = response.map_err(|error| trouble(&error))?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let upgraded = hyper::upgrade::on(response).await;
                return upgraded.map(Ok).map_err(|error| trouble(&error));
            }
            whole(response.status().as_u16(), response.into_body())
                .await
                .map(Err)
        };
        match tokio::time::timeout(PASSAGE_PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|(reason, _)| self.silent(reason)),
            Err(_) => Err(self.silent(format!("for {} ms", PASSAGE_PATIENCE.as_millis()))),
        }
    }

    fn silent(&self, reason: String) -> CallError {
        CallError::Silent {
            place: self.place.clone(),
            reason,
        }
    }
}

/// Why there is no answer, and what the other end has said as its last word in TLS, if it has.
type Trouble = (String, Option<AlertDescription>);

/// Looks through an error and all that is behind it.
fn trouble(error: &(dyn Error + 'static)) -> Trouble {
    let mut alert = None;
    let mut behind = Some(error);
    while let Some(error) = behind {
        // An `io::Error` hides what it was made of from `source`.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(rustls::Error::AlertReceived(said)) = inner.and_then(|inner| inner.downcast_ref()) {
            alert = Some(*said);
        }
        behind = error.source();
    }
    (error.to_string(), alert)
}

/// The whole of an answer.
pub(crate) async fn whole(status: u16, body: Incoming) -> Result<Answer, Trouble> {
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| trouble(&*error))?.to_bytes();
    Ok(Answer { status, body })
}

/// Has the kernel find out within some 20 s that the other host is gone, however long nothing is said.
///
/// # Errors
/// The kernel does not take it.
pub fn notice_death(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Asks an agent one question on a connection of its own.
///
/// # Errors
/// There is no answer within `patience`.
pub async fn question(to: &Where, question: &Question, patience: Duration) -> Result<Answer, CallError> {
    let asked = async { Connection::open(to).await?.ask(question, patience).await };
    let answer = tokio::time::timeout(patience, asked).await;
    answer.unwrap_or_else(|_| {
        Err(CallError::Silent {
            place: to.place(),
            reason: format!("for {} ms", patience.as_millis()),
        })
    })
}

/// Asks an agent one question from a thread that may wait.
///
/// # Errors
/// There is no answer within `patience`, or this host gives no means to ask.
pub fn ask(to: &Where, question: &Question, patience: Duration) -> Result<Answer, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CallError::Nobody {
        place: to.place(),
        reason: error.to_string(),
    })?;
    runtime.block_on(self::question(to, question, patience))
}
