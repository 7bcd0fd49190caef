//! `Names`: the addresses of servers. An address is taken as it is. A name is looked up each time that a
//! connection is made, on a thread, since the system's lookup has no deadline; or all names were looked up
//! once at the start, for a process that can do no such thing later.
//!
//! Nothing here has sent any part of a request, and its errors say so ([`NotConnected`]).

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::limits::ADDRESSES_MAX;

/// The error of a connection that was not made.
#[derive(Debug)]
pub struct NotConnected(pub ureq::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for NotConnected {}

/// What was found under a name.
type Found = Result<Vec<IpAddr>, String>;

/// The addresses of servers.
#[derive(Debug, Default)]
pub struct Names {
    usual: DefaultResolver,
    /// What was found under each name at the start; `None`: names are looked up when they are needed.
    fixed: Option<Vec<(String, Found)>>,
}

impl Names {
    /// Looks the names of these servers up, now and for good, on this thread.
    pub fn fixed(endpoints: &[String]) -> Names {
        let mut fixed: Vec<(String, Found)> = Vec::new();
        for uri in endpoints
            .iter()
            .filter_map(|endpoint| endpoint.parse::<Uri>().ok())
        {
            let host = uri.host().unwrap_or_default();
            if literal(host).is_none() && !fixed.iter().any(|(name, _)| name == host) {
                fixed.push((host.to_owned(), look_up(host)));
            }
        }
        Names {
            usual: DefaultResolver::default(),
            fixed: Some(fixed),
        }
    }
}

fn look_up(host: &str) -> Found {
    let addresses = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut found: Vec<IpAddr> = Vec::new();
    for address in addresses.map(|address| address.ip()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found.truncate(ADDRESSES_MAX);
    Ok(found)
}

/// The address that this host is already, without a lookup.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let host = uri.host().unwrap_or_default();
        // The wish to look a name up is no part of the request either.
        let not_connected = |error| ureq::Error::Other(Box::new(NotConnected(error)));
        let found = match (literal(host), &self.fixed) {
            (Some(address), _) => vec![address],
            (None, None) => return self.usual.resolve(uri, config, timeout).map_err(not_connected),
            (None, Some(fixed)) => match fixed.iter().find(|(name, _)| name == host) {
                Some((_, Ok(found))) if !found.is_empty() => found.clone(),
                Some((_, Err(why))) => {
                    let why = std::io::Error::other(format!("{host} had no address at the start: {why}"));
                    return Err(not_connected(ureq::Error::Io(why)));
                }
                _ => return Err(not_connected(ureq::Error::HostNotFound)),
            },
        };
        let mut addresses = self.empty();
        for address in found {
            addresses.push(SocketAddr::new(address, uri.port_u16().unwrap_or(usual)));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_once_and_addresses_never() {
        let endpoints = [
            "http://127.0.0.1:1",
            "http://[::1]:2",
            "http://localhost:3",
            "https://localhost",
        ];
        let names = Names::fixed(&endpoints.map(String::from));
        let fixed = names.fixed.unwrap();
        let [(name, Ok(found))] = &fixed[..] else {
            panic!("{fixed:?}");
        };
        assert_eq!(name, "localhost");
        assert!(
            found.iter().all(IpAddr::is_loopback) && !found.is_empty(),
            "{found:?}"
        );
    }
}
