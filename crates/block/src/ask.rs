//! What Lockstep says inside the NBD protocol: a client's [`Ask`] is the query of a metadata context, and a
//! fencing server's [`Answer`] is the name of the context that it gives.
//!
//! Any server must pass over a query of a namespace that it does not know (proto.md, "Metadata querying"),
//! and gives no context for it. So a client knows by the answer whether it is fenced; a server that accepts
//! any name of an export, as some do, cannot be mistaken for one that fences. The answer has another form
//! than the query, since an echo would prove nothing.
//!
//! Both are text, so that any NBD program which can ask for a metadata context can be used to look and test.

use std::fmt;
use std::str::FromStr;

use crate::limits::VM_LEN_MAX;

/// The namespace of metadata contexts, which an implementation may take for itself when it begins with `x-`.
pub const NAMESPACE: &str = "x-lockstep:";
const VERSION: &str = "1";

/// Who a client is: an epoch of the VM, the process that has it, and how often that process has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The epoch, by the VM's arbiter; 0 for a VM that has none.
    pub epoch: u64,
    /// The random number of the process.
    pub owner: u128,
    /// Counts the connections of the process, from 1: a later one replaces the earlier ones. Connections with
    /// one number stand beside each other.
    pub session: u64,
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read and write, as the owner of its epoch.
    Write,
    /// Read and write, as a VM without an arbiter, which nobody else may be using.
    Start,
    /// Read, as a backup.
    Read,
    /// Only see that the disk is there.
    Probe,
}

impl Mode {
    const WORDS: [(Mode, &str); 4] = [
        (Mode::Write, "write"),
        (Mode::Start, "start"),
        (Mode::Read, "read"),
        (Mode::Probe, "probe"),
    ];

    /// May a client of this mode write once it is admitted?
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Mode::Write | Mode::Start)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Mode::WORDS.iter().find(|(mode, _)| mode == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

/// What a client says of itself and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Name of the client's VM; at most [`VM_LEN_MAX`] bytes.
    pub vm: String,
    /// Which process of the VM it is.
    pub token: Token,
    /// What it wants to do.
    pub mode: Mode,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token {
            epoch,
            owner,
            session,
        } = self.token;
        write!(
            f,
            "{NAMESPACE}{VERSION};vm={};epoch={epoch};owner={owner:032x};session={session};mode={}",
            self.vm, self.mode
        )
    }
}

/// Why a query is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a query of x-lockstep has the form \
     x-lockstep:1;vm=NAME;epoch=NUMBER;owner=HEX;session=NUMBER;mode=write|start|read|probe"
)]
pub struct NotUnderstood;

impl FromStr for Ask {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Ask, NotUnderstood> {
        let mut fields = Fields::new(text)?;
        let vm = fields.next("vm")?;
        if vm.is_empty() || vm.len() > VM_LEN_MAX {
            return Err(NotUnderstood);
        }
        let token = Token {
            epoch: fields.number("epoch")?,
            owner: fields.hex("owner")?,
            session: fields.number("session")?,
        };
        let word = fields.next("mode")?;
        let found = Mode::WORDS.iter().find(|(_, candidate)| *candidate == word);
        let (mode, _) = found.ok_or(NotUnderstood)?;
        fields.end()?;
        Ok(Ask {
            vm: vm.to_owned(),
            token,
            mode: *mode,
        })
    }
}

/// What a fencing server says of itself and of the disks of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The random number of the server's state, made when the server was set up: another number is another
    /// server, whatever its address is.
    pub server: u128,
    /// Another number than before means that writes which were answered, and not flushed, may be lost.
    pub volatile: u128,
    /// The latest epoch of the VM that the server knows.
    pub epoch: u64,
    /// The process that has this epoch; 0: nobody has written yet.
    pub owner: u128,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer {
            server,
            volatile,
            epoch,
            owner,
        } = self;
        write!(
            f,
            "{NAMESPACE}{VERSION};fenced;server={server:032x};volatile={volatile:032x};epoch={epoch};\
             owner={owner:032x}"
        )
    }
}

impl FromStr for Answer {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Answer, NotUnderstood> {
        let mut fields = Fields::new(text)?;
        if fields.rest.next() != Some("fenced") {
            return Err(NotUnderstood);
        }
        let answer = Answer {
            server: fields.hex("server")?,
            volatile: fields.hex("volatile")?,
            epoch: fields.number("epoch")?,
            owner: fields.hex("owner")?,
        };
        fields.end()?;
        Ok(answer)
    }
}

/// The fields of a text behind its namespace and version, in their order.
struct Fields<'a> {
    rest: std::str::Split<'a, char>,
}

impl<'a> Fields<'a> {
    fn new(text: &'a str) -> Result<Fields<'a>, NotUnderstood> {
        let mut rest = text.strip_prefix(NAMESPACE).ok_or(NotUnderstood)?.split(';');
        if rest.next() != Some(VERSION) {
            return Err(NotUnderstood);
        }
        Ok(Fields { rest })
    }

    fn next(&mut self, name: &str) -> Result<&'a str, NotUnderstood> {
        let field = self.rest.next().ok_or(NotUnderstood)?;
        let value = field.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        value.ok_or(NotUnderstood)
    }

    fn number(&mut self, name: &str) -> Result<u64, NotUnderstood> {
        let text = self.next(name)?;
        // Rust's numbers may begin with a plus sign, and these may not.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().ok_or(NotUnderstood)
    }

    fn hex(&mut self, name: &str) -> Result<u128, NotUnderstood> {
        let text = self.next(name)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok());
        number.flatten().ok_or(NotUnderstood)
    }

    fn end(&mut self) -> Result<(), NotUnderstood> {
        match self.rest.next() {
            None => Ok(()),
            Some(_) => Err(NotUnderstood),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_its_answer_are_lines_that_people_can_type_and_read() {
        let text = "x-lockstep:1;vm=shop;epoch=7;owner=0000000000000000000000000000002a;session=3;mode=write";
        let ask = Ask {
            vm: "shop".into(),
            token: Token {
                epoch: 7,
                owner: 42,
                session: 3,
            },
            mode: Mode::Write,
        };
        assert_eq!(ask.to_string(), text);
        assert_eq!(text.parse(), Ok(ask));
        let answer = Answer {
            server: 1,
            volatile: 2,
            epoch: 7,
            owner: 42,
        };
        let text = answer.to_string();
        assert!(text.starts_with("x-lockstep:1;fenced;server="), "{text}");
        assert_eq!(text.parse(), Ok(answer));
    }

    #[test]
    fn what_is_no_query_of_this_version_is_not_understood() {
        let good = "x-lockstep:1;vm=a;epoch=7;owner=0000000000000000000000000000002a;session=3;mode=read";
        assert!(good.parse::<Ask>().is_ok());
        for (old, new) in [
            ("x-lockstep:1", "x-lockstep:2"),
            ("x-lockstep:", "base:"),
            ("vm=a", "vm="),
            ("epoch=7", "epoch=+7"),
            ("epoch=7", "epoch=18446744073709551616"),
            ("002a", "2a"),
            ("002a", "+02a"),
            ("session=3;", ""),
            ("mode=read", "mode=reader"),
            ("mode=read", "mode=read;more=1"),
        ] {
            let text = good.replace(old, new);
            assert_eq!(text.parse::<Ask>(), Err(NotUnderstood), "{text}");
        }
        assert_eq!(good.parse::<Answer>(), Err(NotUnderstood), "an echo is no answer");
    }
}
