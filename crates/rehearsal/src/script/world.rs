//! What a maintainer script can see and change while it is rehearsed: the accounts and the files of a guest.
//!
//! `rehearsal` walks through a script, `conditions` asks this world, `account_tools` and `file_tools` change
//! it as the programs of the same names would. Nothing outside of the guest's tree may be seen or changed.

use crate::accounts::Accounts;
use crate::tree::{Node, Tree};

/// Number of symbolic links that are followed at the end of a path.
const LINKS_MAX: usize = 8;

/// A guest's accounts and files.
pub struct World<'a> {
    /// The users and groups.
    pub accounts: &'a mut Accounts,
    /// The files.
    pub tree: &'a mut Tree,
}

/// A word of a command; `None` if what it says depends on more than is known here.
pub type Argument = Option<String>;

/// What a script would do in a real installation that was not done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Makes or changes users and groups.
    Accounts,
    /// Puts files into place or changes them: a default site, a configuration.
    Files,
    /// Sets owners, modes or capabilities.
    Owners,
    /// Makes keys or certificates.
    Keys,
    /// Runs a program that is known for nothing else.
    Program,
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command was done, or has nothing to do in an appliance. Whether it succeeds, if that is known.
    Done(Option<bool>),
    /// The command would do this, and it was not done.
    Left(Deed),
}

impl Outcome {
    /// The command was done.
    pub const DONE: Self = Self::Done(Some(true));
    /// The command has nothing to do here, and nobody knows what it would answer.
    pub const UNKNOWN: Self = Self::Done(None);

    /// Done if `done`, else left.
    pub fn of(done: Option<()>, deed: Deed) -> Self {
        done.map_or(Self::Left(deed), |()| Self::DONE)
    }
}

impl World<'_> {
    /// The path in the tree that an absolute path names, links at its end not followed.
    pub fn path(&self, absolute: &str) -> Option<String> {
        let is_absolute = absolute.starts_with('/');
        self.tree.resolve(absolute).filter(|_| is_absolute)
    }

    /// The path in the tree that an absolute path names, all links followed.
    pub fn target(&self, absolute: &str) -> Option<String> {
        let mut path = self.path(absolute)?;
        for _ in 0..LINKS_MAX {
            let Some(Node::Symlink(target)) = self.tree.get(&path) else {
                return Some(path);
            };
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let absolute = match target.strip_prefix('/') {
                Some(_) => target.clone(),
                None => format!("/{directory}/{target}"),
            };
            path = self.path(&absolute)?;
        }
        None
    }

    /// What stands at an absolute path, all links followed.
    pub fn node(&self, absolute: &str) -> Option<&Node> {
        self.tree.get(&self.target(absolute)?)
    }

    /// Is it a directory, with all links followed?
    pub fn is_directory(&self, absolute: &str) -> bool {
        absolute == "/" || matches!(self.node(absolute), Some(Node::Directory { .. }))
    }
}

/// The options of a command and the rest of its words. An option that is not known here, or whose value is
/// not, makes the whole command unknown.
pub struct Words<'a> {
    /// The options with their values; an option without a value has an empty one.
    pub options: Vec<(&'a str, &'a str)>,
    /// The words that are no options.
    pub operands: Vec<&'a str>,
}

impl<'a> Words<'a> {
    /// Takes the arguments apart. `flags`: options without a value. `valued`: options with one, which stands
    /// behind `=` or in the next word.
    pub fn read(arguments: &'a [Argument], flags: &[&'a str], valued: &[&'a str]) -> Option<Self> {
        let (mut options, mut operands) = (Vec::new(), Vec::new());
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let word = word.as_deref()?;
            if word == "--" {
                for word in words.by_ref() {
                    operands.push(word.as_deref()?);
                }
            } else if !word.starts_with('-') || word == "-" {
                operands.push(word);
            } else if flags.contains(&word) {
                options.push((word, ""));
            } else if let Some((option, value)) = word.split_once('=')
                && let Some(option) = valued.iter().find(|known| **known == option)
            {
                options.push((option, value));
            } else if let Some(option) = valued.iter().find(|known| **known == word) {
                options.push((option, words.next()?.as_deref()?));
            } else {
                // Short options without values may stand together.
                let letters = word
                    .strip_prefix('-')
                    .filter(|letters| !letters.starts_with('-'))?;
                for letter in letters.chars() {
                    let known = flags.iter().find(|flag| **flag == format!("-{letter}"))?;
                    options.push((known, ""));
                }
            }
        }
        Some(Self { options, operands })
    }

    /// Is one of these options given?
    pub fn has(&self, names: &[&str]) -> bool {
        self.value(names).is_some()
    }

    /// The value of the last of these options.
    pub fn value(&self, names: &[&str]) -> Option<&'a str> {
        let given = self.options.iter().rev();
        given
            .clone()
            .find(|(option, _)| names.contains(option))
            .map(|(_, value)| *value)
    }
}
