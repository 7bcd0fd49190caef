//! What is said at a guest's console over a control socket: what the guest writes to its serial line, and
//! what a person types there.
//!
//! Behind the answer to the request the connection carries nothing but [`Word`]s, each a line of JSON; one
//! that says so is followed by bytes. One caller at a time types, all others watch. A caller that hears
//! nothing for some seconds knows that the process, its host or the way there is gone, for there is always
//! something to hear.

use serde::{Deserialize, Serialize};

use crate::limits::BY_LEN_MAX;
use crate::request_id::RequestId;

/// How a console is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleWish {
    /// Who asks, for the others at the console.
    #[serde(default)]
    pub by: String,
    /// A number that the person draws at random once: a further connection under it takes the place of the
    /// earlier one.
    pub session: RequestId,
    /// Does the person only watch?
    #[serde(default)]
    pub view: bool,
    /// Is whoever types there now to watch from here on?
    #[serde(default)]
    pub force: bool,
    /// So many of the last bytes of the guest come first, as far as they are kept.
    #[serde(default)]
    pub last: u64,
}

impl ConsoleWish {
    /// Who asks, as it can be shown on anybody's terminal: without control characters, and not too long.
    pub(crate) fn shown_name(&self) -> String {
        let shown = self.by.chars().filter(|sign| !sign.is_control());
        let shown: String = shown.take(BY_LEN_MAX).collect();
        match shown.is_empty() {
            true => "somebody".into(),
            false => shown,
        }
    }
}

/// What is said at a console. In a line the variant's name is the field `console`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "console", rename_all = "kebab-case")]
pub enum Word {
    /// Bytes of the guest follow this line.
    Bytes {
        /// How many, at most [`crate::limits::OUTPUT_LEN`].
        length: u64,
    },
    /// Bytes of the guest are missing here: the caller was too slow.
    Missed {
        /// How many.
        bytes: u64,
    },
    /// There is nothing to say, and the process lives.
    Alive,
    /// Somebody else types from here on, and this caller watches.
    Taken {
        /// Who types from here on.
        by: String,
    },
    /// The guest is not shown to the world by this process any more: that was the last word.
    Left,
    /// The caller to the VM: typed bytes follow this line.
    Typed {
        /// How many, at most [`crate::limits::TYPED_LEN_MAX`].
        length: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::line;

    #[test]
    fn a_name_shows_nothing_that_a_terminal_would_obey() {
        let name = |by: &str| {
            ConsoleWish {
                by: by.into(),
                ..ConsoleWish::default()
            }
            .shown_name()
        };
        assert_eq!(name("ada"), "ada");
        assert_eq!(name("\x1b[2Jada\r\n"), "[2Jada");
        assert_eq!(name(&"x".repeat(1_000)).len(), BY_LEN_MAX);
        assert_eq!(name("\n"), "somebody");
    }

    #[test]
    fn words_are_as_they_are_documented() {
        let document = include_str!("../../../docs/control.md");
        for word in [
            Word::Bytes { length: 12 },
            Word::Missed { bytes: 70_000 },
            Word::Alive,
            Word::Taken { by: "ada".into() },
            Word::Left,
            Word::Typed { length: 3 },
        ] {
            let text = String::from_utf8(line(&word)).unwrap();
            assert!(document.contains(text.trim_end()), "{text}");
            assert_eq!(serde_json::from_str::<Word>(&text).unwrap(), word);
        }
    }
}
