//! `ClientError`: why a client has no connection, or why it ends.

/// Why there is no connection, or why it ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server is too old.
    #[error("the server speaks only the oldstyle form of NBD, which has no names of exports")]
    Oldstyle,
    /// The server does not speak the protocol.
    #[error("the server does not speak NBD as it should: {0}")]
    Protocol(&'static str),
    /// There is no such export.
    #[error("the server has no such export: {0}")]
    Unknown(String),
    /// The server does not let this client in.
    #[error("the server refuses: {0}")]
    Refused(String),
}
