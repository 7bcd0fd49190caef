//! `NbdPlace`: where an NBD disk is: `lockstep://HOST[:PORT]/EXPORT` at a disk server's own door, which asks
//! for the key, or `nbd://HOST[:PORT]/EXPORT` in the clear, as the NBD URI specification has it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use block::limits::NAME_LEN_MAX;

/// How the conversation with a server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all: whoever reaches the server can speak to it.
    Nbd,
    /// By the key that the VM has, as its other connections.
    Lockstep,
}

impl Scheme {
    const ALL: [Scheme; 2] = [Scheme::Nbd, Scheme::Lockstep];

    fn prefix(self) -> &'static str {
        match self {
            Scheme::Nbd => "nbd://",
            Scheme::Lockstep => "lockstep://",
        }
    }

    /// The port that is meant where none is said: IANA's for NBD, and the one beside it.
    fn port(self) -> u16 {
        match self {
            Scheme::Nbd => 10809,
            Scheme::Lockstep => 10810,
        }
    }

    fn of(text: &str) -> Option<(Scheme, &str)> {
        Scheme::ALL
            .into_iter()
            .find_map(|scheme| Some((scheme, text.strip_prefix(scheme.prefix())?)))
    }
}

/// Where an NBD disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdPlace {
    /// How the conversation is protected.
    pub scheme: Scheme,
    /// Name or address of the server; an IPv6 address without its brackets.
    pub host: String,
    /// The server's TCP port.
    pub port: u16,
    /// Name of the export.
    pub export: String,
}

/// A text that is no place of an NBD disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text} is no place of a disk; it has the form lockstep://HOST[:PORT]/EXPORT or nbd://HOST[:PORT]/EXPORT"
)]
pub struct PlaceError {
    /// The text.
    pub text: String,
}

impl NbdPlace {
    /// Is this text meant to be such a place?
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        Scheme::of(text).is_some()
    }

    /// The addresses of the server, at least one. Looking up a name may take some seconds.
    ///
    /// # Errors
    /// There is no such host.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found),
        }
    }
}

impl FromStr for NbdPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<NbdPlace, PlaceError> {
        let error = || PlaceError { text: text.into() };
        let (scheme, rest) = Scheme::of(text).ok_or_else(error)?;
        let (server, export) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match server.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (server, None),
            },
        };
        let port = port.map_or(Ok(scheme.port()), str::parse).map_err(|_| error())?;
        if host.is_empty() || host.contains(char::is_whitespace) || export.len() > NAME_LEN_MAX {
            return Err(error());
        }
        Ok(NbdPlace {
            scheme,
            host: host.into(),
            port,
            export: export.into(),
        })
    }
}

impl fmt::Display for NbdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NbdPlace {
            scheme,
            host,
            port,
            export,
        } = self;
        let prefix = scheme.prefix();
        match host.contains(':') {
            true => write!(f, "{prefix}[{host}]:{port}/{export}"),
            false => write!(f, "{prefix}{host}:{port}/{export}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_host_maybe_a_port_and_an_export_that_may_have_slashes() {
        for (text, whole) in [
            ("nbd://store/shop/vda", "nbd://store:10809/shop/vda"),
            ("nbd://10.0.0.1:99/a", "nbd://10.0.0.1:99/a"),
            ("nbd://[::1]:99/a", "nbd://[::1]:99/a"),
            ("nbd://[::1]", "nbd://[::1]:10809/"),
            ("lockstep://store/shop/vda", "lockstep://store:10810/shop/vda"),
        ] {
            assert_eq!(text.parse::<NbdPlace>().unwrap().to_string(), whole);
        }
        for text in ["nbd:///a", "nbd://h:x/a", "http://h/a", "/srv/a", "nbd://a b/c"] {
            let error = text.parse::<NbdPlace>().unwrap_err().to_string();
            assert!(error.contains("has the form lockstep://"), "{error}");
        }
    }
}
