//! `Way`: how a server is reached, and a short look at what it has.

use std::net::{SocketAddr, TcpStream};

use block::nbd::{Shape, Want};
use block::{Ask, Mode, Token};
use link::{KeyError, KeyFile, Security};
use replica::VmName;

use super::line::{Line, LineError};
use super::place::NbdPlace;
use super::socket::Socket;
use crate::limits::NBD_HANDSHAKE_PATIENCE;
use crate::lock::Holder;

/// Whose a disk is.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// The VM.
    pub vm: &'a VmName,
    /// How the VM's connections are protected; `None`: it has neither a key nor the word that it needs none.
    pub security: Option<&'a Security>,
}

/// How conversations with disk servers are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSecurity {
    /// The operator has not said how, so no disk may be at a server's own door.
    Unsaid,
    /// Not at all, as the operator has said.
    Insecure,
    /// By the key in this file.
    Key(KeyFile),
}

impl DiskSecurity {
    /// Reads the key.
    ///
    /// # Errors
    /// The key file is of no use.
    pub fn load(&self) -> Result<Option<Security>, KeyError> {
        Ok(match self {
            DiskSecurity::Unsaid => None,
            DiskSecurity::Insecure => Some(Security::Insecure),
            DiskSecurity::Key(file) => Some(Security::Key(file.load()?)),
        })
    }
}

/// How a server is reached.
#[derive(Debug)]
pub(super) struct Way {
    pub place: NbdPlace,
    pub addresses: Vec<SocketAddr>,
    /// How the server's door is passed; `None`: it has none.
    pub security: Option<Security>,
}

impl Way {
    /// Makes a connection; `begun` as in [`Socket::call`].
    pub fn call(&self, begun: &mut dyn FnMut(&TcpStream)) -> Result<Socket, LineError> {
        Ok(Socket::call(&self.addresses, self.security.as_ref(), begun)?)
    }

    /// Enters an export for a moment, as one who only looks at the disks of `holder`.
    pub fn look(&self, holder: &Holder) -> Result<Shape, LineError> {
        let ask = Ask {
            vm: holder.vm.to_string(),
            token: Token {
                epoch: holder.epoch.0,
                owner: holder.owner,
                session: 0,
            },
            mode: Mode::Probe,
        };
        let want = Want {
            export: self.place.export.clone(),
            ask: Some(ask),
        };
        let socket = self.call(&mut |_| {})?;
        socket.set_patience(NBD_HANDSHAKE_PATIENCE)?;
        let (line, _, shape) = Line::enter(socket, want, &mut None)?;
        line.say_goodbye();
        line.close();
        Ok(shape)
    }
}
