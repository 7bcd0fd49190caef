//! Reads the words of a shell script: what stands in them literally, and what is to be replaced.
//!
//! The second half of the reader in `syntax`, which reads commands. Whether a word means something to the
//! grammar is decided there; here nothing may be replaced, only taken apart.

use super::forms::{Change, NotUnderstood, Piece, Word};
use super::syntax::{Reader, read};

impl Reader {
    /// The word that stands next, if one does.
    pub(super) fn word(&mut self) -> Result<Option<Word>, NotUnderstood> {
        let mut word = Word::new();
        while let Some(c) = self.peek() {
            match c {
                _ if c.is_whitespace() || ";&|<>()".contains(c) => break,
                '\\' => {
                    self.take();
                    match self.take() {
                        Some('\n') => {}
                        Some(c) => word.push(Piece::Quoted(c.to_string())),
                        None => return Err(NotUnderstood),
                    }
                }
                '\'' => {
                    self.take();
                    word.push(Piece::Quoted(self.until('\'')?));
                }
                '"' => {
                    self.take();
                    self.in_quotes(&mut word)?;
                }
                '$' | '`' => word.push(self.deeper(|reader| reader.replacement(false))?),
                _ => {
                    self.take();
                    match word.last_mut() {
                        Some(Piece::Literal(text)) => text.push(c),
                        _ => word.push(Piece::Literal(c.to_string())),
                    }
                }
            }
        }
        // An array, which POSIX does not have.
        let is_array = self.peek() == Some('(')
            && matches!(word.last(), Some(Piece::Literal(text)) if text.ends_with('='));
        if is_array {
            return Err(NotUnderstood);
        }
        Ok((!word.is_empty()).then_some(word))
    }

    fn until(&mut self, end: char) -> Result<String, NotUnderstood> {
        let mut text = String::new();
        loop {
            match self.take() {
                Some(c) if c == end => return Ok(text),
                Some(c) => text.push(c),
                None => return Err(NotUnderstood),
            }
        }
    }

    fn in_quotes(&mut self, word: &mut Word) -> Result<(), NotUnderstood> {
        let mut text = String::new();
        loop {
            match self.peek().ok_or(NotUnderstood)? {
                '"' => {
                    self.take();
                    word.push(Piece::Quoted(text));
                    return Ok(());
                }
                '$' | '`' => {
                    word.push(Piece::Quoted(std::mem::take(&mut text)));
                    word.push(self.deeper(|reader| reader.replacement(true))?);
                }
                '\\' => {
                    self.take();
                    match self.take().ok_or(NotUnderstood)? {
                        '\n' => {}
                        c if "$`\"\\".contains(c) => text.push(c),
                        c => text.extend(['\\', c]),
                    }
                }
                c => {
                    self.take();
                    text.push(c);
                }
            }
        }
    }

    /// What begins with `$` or with a backquote.
    fn replacement(&mut self, is_quoted: bool) -> Result<Piece, NotUnderstood> {
        if self.takes("`") {
            let mut text = String::new();
            loop {
                match self.take().ok_or(NotUnderstood)? {
                    '`' => break,
                    '\\' => text.extend(self.take()),
                    c => text.push(c),
                }
            }
            let list = read(&text)?.list;
            return Ok(Piece::Commands { list, is_quoted });
        }
        self.take();
        if self.takes("((") {
            let mut depth = 2;
            while depth > 0 {
                match self.take().ok_or(NotUnderstood)? {
                    '\'' => drop(self.until('\'')?),
                    '\\' => drop(self.take()),
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
            }
            return Ok(Piece::Unknown);
        }
        if self.takes("(") {
            let list = self.list(&[])?;
            self.takes(")").then_some(()).ok_or(NotUnderstood)?;
            return Ok(Piece::Commands { list, is_quoted });
        }
        if self.takes("{") {
            return self.braces(is_quoted);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok(Piece::Quoted("$".to_owned()));
        }
        let change = Change::None;
        Ok(Piece::Variable {
            name,
            change,
            is_quoted,
        })
    }

    /// The name of a variable, as far as one stands next.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let is_special = name.is_empty() && (c.is_ascii_digit() || "@*#?$!-".contains(c));
            if !is_special && !c.is_ascii_alphanumeric() && c != '_' {
                break;
            }
            name.push(c);
            self.take();
            if is_special {
                break;
            }
        }
        name
    }

    /// What stands between the braces of `${name...}`.
    fn braces(&mut self, is_quoted: bool) -> Result<Piece, NotUnderstood> {
        let name = self.name();
        if self.takes("}") {
            let change = Change::None;
            return Ok(Piece::Variable {
                name,
                change,
                is_quoted,
            });
        }
        let operators = [":-", ":=", ":+", "-", "=", "+", "##", "#", "%%", "%"];
        let operator = operators.into_iter().find(|operator| self.takes(operator));
        let mut word = Word::new();
        while !self.takes("}") {
            match self.peek().ok_or(NotUnderstood)? {
                '"' => {
                    self.take();
                    self.in_quotes(&mut word)?;
                }
                '$' | '`' => word.push(self.deeper(|reader| reader.replacement(true))?),
                c => {
                    self.take();
                    let c = if c == '\\' {
                        self.take().ok_or(NotUnderstood)?
                    } else {
                        c
                    };
                    word.push(Piece::Literal(c.to_string()));
                }
            }
        }
        let change = match operator {
            _ if name.is_empty() => return Ok(Piece::Unknown),
            Some(":-" | ":=" | "-" | "=") => Change::Default(word),
            Some(":+" | "+") => Change::Alternative(word),
            Some(cut @ ("#" | "##" | "%" | "%%")) => Change::Without {
                pattern: word,
                from_end: cut.starts_with('%'),
                longest: cut.len() == 2,
            },
            _ => return Ok(Piece::Unknown),
        };
        Ok(Piece::Variable {
            name,
            change,
            is_quoted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Reader::new(text).word().unwrap().unwrap()
    }

    #[test]
    fn words_keep_apart_what_is_text_and_what_is_replaced() {
        let name = |piece: &Piece| match piece {
            Piece::Variable { name, is_quoted, .. } => format!("{name} {is_quoted}"),
            other => format!("{other:?}"),
        };
        let pieces = word("a\"b $x\"${y:-z}'$q'");
        assert_eq!(pieces[0], Piece::Literal("a".into()));
        assert_eq!(pieces[1], Piece::Quoted("b ".into()));
        assert_eq!([name(&pieces[2]), name(&pieces[4])], ["x true", "y false"]);
        assert_eq!(pieces[5], Piece::Quoted("$q".into()));
        assert_eq!(word("${#x}")[0], Piece::Unknown);
        assert_eq!(word("$((1 + 2))")[..], [Piece::Unknown]);
        assert_eq!(word("$(($(sed 's/(x/y/' | (z))))")[..], [Piece::Unknown]);
        assert!(matches!(&word("`id -u`")[0], Piece::Commands { list, .. } if list.len() == 1));
    }
}
