//! What the words of a script say once everything in them is replaced: the half of a rehearsal that is about
//! text.
//!
//! `rehearsal` asks for the words of each command here. A word in which something is not known is `None`: the
//! words of a command may be fewer or more than expected, but never guessed.

use super::forms::{Change, Node, Piece, Word, matches};
use super::rehearsal::Rehearsal;
use super::world::Argument;

impl Rehearsal<'_, '_> {
    /// What `cut -dX -fN` prints of a line that it reads; `None`: it is another command, or cannot be known.
    pub(super) fn cut(&mut self, node: &Node, line: &str) -> Option<String> {
        let Node::Simple(simple) = node else {
            return None;
        };
        let words: Vec<Argument> = simple.words.iter().flat_map(|word| self.fields(word)).collect();
        let words: Vec<String> = words.into_iter().collect::<Option<_>>()?;
        let words = Some(words)
            .filter(|words| words.first().is_some_and(|name| name == "cut"))?
            .concat();
        let (delimiter, field) = words.strip_prefix("cut-d")?.split_once("-f")?;
        let index = field.parse::<usize>().ok()?.checked_sub(1)?;
        Some(
            line.trim_end()
                .split(delimiter)
                .nth(index)
                .unwrap_or_default()
                .to_owned(),
        )
    }

    /// The value of a word as one text.
    pub(super) fn joined(&mut self, word: &Word) -> Argument {
        let mut text = Some(String::new());
        for piece in word {
            let value = match piece {
                Piece::Literal(value) | Piece::Quoted(value) => Some(value.clone()),
                piece => self.replaced(piece),
            };
            match (&mut text, value) {
                (Some(text), Some(value)) => text.push_str(&value),
                _ => text = None,
            }
        }
        text
    }

    /// The words that a word becomes: none, one or several.
    pub(super) fn fields(&mut self, word: &Word) -> Vec<Argument> {
        let arguments = self.arguments.last().cloned().unwrap_or_default();
        let mut fields: Vec<Argument> = Vec::new();
        // The word that is being put together, and whether it is one even if it stays empty.
        let (mut field, mut is_field): (Argument, bool) = (Some(String::new()), false);
        for piece in word {
            let (value, splits) = match piece {
                Piece::Literal(text) if text.contains(['*', '?', '[']) && text.len() > 1 => {
                    match self.files(text).filter(|_| word.len() == 1) {
                        Some(found) => return found.into_iter().map(Some).collect(),
                        None => (None, false),
                    }
                }
                Piece::Literal(text) | Piece::Quoted(text) => (Some(text.clone()), false),
                Piece::Variable { name, .. } if name == "@" => {
                    fields.extend(arguments.iter().cloned());
                    continue;
                }
                Piece::Variable { is_quoted, .. } | Piece::Commands { is_quoted, .. } => {
                    (self.replaced(piece), !is_quoted)
                }
                Piece::Unknown => (None, false),
            };
            let Some(value) = value else {
                (field, is_field) = (None, true);
                continue;
            };
            let parts: Vec<&str> = if splits {
                value.split_whitespace().collect()
            } else {
                vec![&value]
            };
            for (index, part) in parts.into_iter().enumerate() {
                if index > 0 {
                    fields.push(field.replace(String::new()));
                }
                is_field = true;
                if let Some(text) = &mut field {
                    text.push_str(part);
                }
            }
        }
        if is_field {
            fields.push(field);
        }
        fields
    }

    /// The files that a pattern stands for; the pattern itself if there is none. Only the last part of the
    /// pattern may be one, else the answer is not known.
    fn files(&self, pattern: &str) -> Option<Vec<String>> {
        let (directory, name) = pattern.rsplit_once('/')?;
        if directory.contains(['*', '?', '[']) || name.contains('[') || !directory.starts_with('/') {
            return None;
        }
        let place = self.world.target(directory)?;
        let names = self
            .world
            .tree
            .below(&place)
            .filter_map(|path| path.strip_prefix(&place)?.strip_prefix('/'));
        let found = names.filter(|file| !file.contains('/') && matches(name, file));
        let found: Vec<String> = found.map(|file| format!("{directory}/{file}")).collect();
        Some(if found.is_empty() {
            vec![pattern.to_owned()]
        } else {
            found
        })
    }

    /// The value that a piece is replaced by.
    fn replaced(&mut self, piece: &Piece) -> Argument {
        match piece {
            Piece::Variable { name, change, .. } => {
                let value = self.variable(name);
                self.changed(value, change)
            }
            Piece::Commands { list, .. } => self.output_of(list),
            _ => None,
        }
    }

    fn variable(&self, name: &str) -> Argument {
        let arguments = self.arguments.last().map(Vec::as_slice).unwrap_or_default();
        match name {
            "#" => Some(arguments.len().to_string()),
            "@" | "*" => {
                let words: Option<Vec<&str>> = arguments.iter().map(|word| word.as_deref()).collect();
                words.map(|words| words.join(" "))
            }
            "?" | "$" | "!" | "-" | "0" => None,
            _ => match name.parse::<usize>() {
                Ok(number) => arguments
                    .get(number - 1)
                    .cloned()
                    .unwrap_or_else(|| Some(String::new())),
                Err(_) => {
                    let value = self.variables.get(name).cloned();
                    value.unwrap_or_else(|| Some(String::new()))
                }
            },
        }
    }

    fn changed(&mut self, value: Argument, change: &Change) -> Argument {
        match change {
            Change::None => value,
            Change::Default(word) => match value?.as_str() {
                "" => self.joined(word),
                set => Some(set.to_owned()),
            },
            Change::Alternative(word) => match value?.as_str() {
                "" => Some(String::new()),
                _ => self.joined(word),
            },
            Change::Without {
                pattern,
                from_end,
                longest,
            } => {
                let (value, pattern) = (value?, self.joined(pattern)?);
                let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
                cuts.push(value.len());
                // The first cut that fits is the one: near for the shortest, far for the longest.
                if *from_end != *longest {
                    cuts.reverse();
                }
                let part = |at: usize| if *from_end { &value[at..] } else { &value[..at] };
                let rest = |at: usize| if *from_end { &value[..at] } else { &value[at..] };
                let cut = cuts.into_iter().find(|at| matches(&pattern, part(*at)));
                Some(cut.map_or(value.as_str(), rest).to_owned())
            }
        }
    }
}
