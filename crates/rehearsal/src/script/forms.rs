//! The forms of a shell script, as far as maintainer scripts use them: commands, and the words in them.
//!
//! `syntax` and `words` read a text into these forms, and `rehearsal` walks through them. A form whose
//! meaning is not kept, like arithmetic, is a [`Piece::Unknown`], so that nobody may take it for text.

/// Commands one after the other.
pub type List = Vec<Node>;

/// One command with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A program, a function or a built-in command with its words.
    Simple(Simple),
    /// Commands that run at once, each reading what the one before it writes.
    Pipe(List),
    /// `! command`.
    Not(Box<Node>),
    /// `left && right`.
    And(Box<Node>, Box<Node>),
    /// `left || right`.
    Or(Box<Node>, Box<Node>),
    /// `if`, with a condition and a body for each `if` and `elif`, and what follows `else`.
    If {
        /// The conditions with what follows each.
        branches: Vec<(List, List)>,
        /// What is done if no condition holds.
        otherwise: List,
    },
    /// `case`.
    Case {
        /// The word that is compared.
        word: Word,
        /// Patterns, each with what is done when one of them matches.
        arms: Vec<(Vec<Word>, List)>,
    },
    /// `for`.
    For {
        /// The variable's name.
        name: String,
        /// The values that the variable gets, one after the other.
        words: Vec<Word>,
        /// What is done with each.
        body: List,
    },
    /// `while` and `until`.
    Loop {
        /// The commands on whose status it depends whether the loop goes on.
        condition: List,
        /// What is done each time.
        body: List,
    },
    /// Commands in braces, or in parentheses.
    Group(List),
    /// The definition of a function.
    Function {
        /// Name of the function.
        name: String,
        /// What is done when the function is called.
        body: Box<Node>,
    },
}

/// A command of words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simple {
    /// The assignments before the first word.
    pub assignments: Vec<(String, Word)>,
    /// The command's name and its arguments.
    pub words: Vec<Word>,
    /// The files to which the command writes.
    pub writes: Vec<Word>,
    /// The here-document that the command reads: its number among those of the script.
    pub here: Option<usize>,
}

/// A script that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// The commands.
    pub list: List,
    /// The here-documents; `None` for one in which something is to be replaced.
    pub heres: Vec<Option<String>>,
}

/// A text that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

/// A word, piece by piece.
pub type Word = Vec<Piece>;

/// One piece of a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text outside of quotes, in which `*`, `?` and `[` are patterns.
    Literal(String),
    /// Text in quotes.
    Quoted(String),
    /// `$name` or `${name...}`.
    Variable {
        /// Name of the variable, or the sign of a special one.
        name: String,
        /// What is done with the value.
        change: Change,
        /// Does the piece stand in double quotes?
        is_quoted: bool,
    },
    /// `$(commands)`, whose output is not known.
    Commands {
        /// The commands.
        list: List,
        /// Does the piece stand in double quotes?
        is_quoted: bool,
    },
    /// Something whose value cannot be known here.
    Unknown,
}

/// What `${name...}` does with the value of a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing: the value itself.
    None,
    /// `-`, `=` and their forms with a colon: the word in place of a value that is unset or empty.
    Default(Word),
    /// `+` and its form with a colon: the word in place of a value that is set.
    Alternative(Word),
    /// `#`, `##`, `%`, `%%`: the value without what the pattern matches.
    Without {
        /// The pattern.
        pattern: Word,
        /// Is it taken from the end?
        from_end: bool,
        /// Is as much as possible taken?
        longest: bool,
    },
}

impl Piece {
    /// The arguments of the script or function, each a word of its own.
    pub fn arguments() -> Self {
        Self::Variable {
            name: "@".to_owned(),
            change: Change::None,
            is_quoted: true,
        }
    }
}

/// Does the pattern, of `*`, `?` and literal characters, match the whole text?
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*-", "postgresql-", true),
            ("?b", "ab", true),
            ("abort-*", "configure", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
