//! Reads the text of a shell script into its `forms`: commands here, their words in `words`.
//!
//! `rehearsal` walks through what is read here. The grammar is that of POSIX.1-2024, XCU chapter 2, without
//! arithmetic, arrays and the conditions `[[ ]]` of bash: a text with those is refused as a whole, and
//! whoever asked must then say that the script was not understood. Reading must never take part of a text for
//! granted.

use super::forms::{List, Node, NotUnderstood, Piece, Script, Simple, Word};

/// Depth to which commands may be nested in each other.
const DEPTH_MAX: usize = 64;

type Read<T> = Result<T, NotUnderstood>;

/// Reads a script.
pub fn read(text: &str) -> Read<Script> {
    let mut reader = Reader::new(text);
    let list = reader.list(&[])?;
    if reader.peek().is_some() {
        return Err(NotUnderstood);
    }
    Ok(Script {
        list,
        heres: reader.heres,
    })
}

/// The words that have a meaning of their own where a command could begin.
const RESERVED: [&str; 13] = [
    "then", "else", "elif", "fi", "do", "done", "esac", "}", "in", "{", "!", "[[", "function",
];

/// A here-document whose text begins after the line that is being read.
struct Pending {
    end: String,
    strips_tabs: bool,
    is_literal: bool,
    number: usize,
}

pub(super) struct Reader {
    text: Vec<char>,
    at: usize,
    depth: usize,
    heres: Vec<Option<String>>,
    pending: Vec<Pending>,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.chars().collect(),
            at: 0,
            depth: 0,
            heres: Vec::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    pub(super) fn starts_with(&self, what: &str) -> bool {
        what.chars()
            .enumerate()
            .all(|(index, c)| self.text.get(self.at + index) == Some(&c))
    }

    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += 1;
        c
    }

    /// Takes `what` if it stands next.
    pub(super) fn takes(&mut self, what: &str) -> bool {
        let is_next = self.starts_with(what);
        if is_next {
            self.at += what.chars().count();
        }
        is_next
    }

    /// Reads something that may have others of its kind inside.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth == DEPTH_MAX {
            return Err(NotUnderstood);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Commands up to one of the reserved words `ends`, to a `)` or to the end of the text.
    pub(super) fn list(&mut self, ends: &[&str]) -> Read<List> {
        let mut list = List::new();
        loop {
            self.lines();
            if matches!(self.peek(), None | Some(')')) || self.starts_with(";;") || self.is_at(ends) {
                return Ok(list);
            }
            list.push(self.and_or()?);
            self.blanks();
            if !self.starts_with(";;") {
                // One of these may stand between two commands; a line's end is taken by `lines`.
                let _ = self.takes(";") || self.takes("&");
            }
        }
    }

    /// Passes over blanks and comments.
    fn blanks(&mut self) {
        loop {
            if self.takes("\\\n") || self.takes(" ") || self.takes("\t") || self.takes("\r") {
                continue;
            }
            if self.peek() != Some('#') {
                return;
            }
            while !matches!(self.peek(), None | Some('\n')) {
                self.at += 1;
            }
        }
    }

    /// Passes over blanks, comments and the ends of lines, with the here-documents that begin there.
    fn lines(&mut self) {
        loop {
            self.blanks();
            if !self.takes("\n") {
                return;
            }
            for pending in std::mem::take(&mut self.pending) {
                self.here(&pending);
            }
        }
    }

    fn here(&mut self, pending: &Pending) {
        let mut text = String::new();
        while self.peek().is_some() {
            let mut line = String::new();
            while let Some(c) = self.take().filter(|c| *c != '\n') {
                line.push(c);
            }
            let line = if pending.strips_tabs {
                line.trim_start_matches('\t')
            } else {
                &line
            };
            if line == pending.end {
                break;
            }
            text += line;
            text.push('\n');
        }
        let is_known = pending.is_literal || !text.contains(['$', '`', '\\']);
        if let Some(here) = self.heres.get_mut(pending.number) {
            *here = is_known.then_some(text);
        }
    }

    /// Does one of these reserved words stand next?
    fn is_at(&self, words: &[&str]) -> bool {
        words.iter().any(|word| {
            let after = self.text.get(self.at + word.chars().count());
            let is_whole = after.is_none_or(|c| c.is_whitespace() || ";&|()<>".contains(*c));
            is_whole && self.starts_with(word)
        })
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.is_at(&[word]) && self.takes(word)
    }

    /// The reserved word that must stand next.
    fn expect(&mut self, word: &str) -> Read<()> {
        self.lines();
        self.takes_word(word).then_some(()).ok_or(NotUnderstood)
    }

    fn and_or(&mut self) -> Read<Node> {
        let mut left = self.pipe()?;
        loop {
            self.blanks();
            let is_and = self.takes("&&");
            if !is_and && !self.takes("||") {
                return Ok(left);
            }
            self.lines();
            let (first, second) = (Box::new(left), Box::new(self.pipe()?));
            left = if is_and {
                Node::And(first, second)
            } else {
                Node::Or(first, second)
            };
        }
    }

    fn pipe(&mut self) -> Read<Node> {
        if self.takes_word("!") {
            self.blanks();
            return Ok(Node::Not(Box::new(self.deeper(Self::pipe)?)));
        }
        let mut parts = vec![self.deeper(Self::command)?];
        loop {
            self.blanks();
            if self.starts_with("||") || !self.takes("|") {
                break;
            }
            self.lines();
            parts.push(self.deeper(Self::command)?);
        }
        match parts.len() {
            1 => parts.pop().ok_or(NotUnderstood),
            _ => Ok(Node::Pipe(parts)),
        }
    }

    fn command(&mut self) -> Read<Node> {
        let node = if self.takes_word("if") {
            self.conditional()?
        } else if self.takes_word("case") {
            self.case()?
        } else if self.takes_word("for") {
            self.repetition()?
        } else if self.takes_word("while") || self.takes_word("until") {
            let condition = self.list(&["do"])?;
            Node::Loop {
                condition,
                body: self.body()?,
            }
        } else if self.takes_word("{") {
            let list = self.list(&["}"])?;
            self.expect("}")?;
            Node::Group(list)
        } else if self.starts_with("((") {
            return Err(NotUnderstood);
        } else if self.takes("(") {
            let list = self.list(&[])?;
            self.takes(")").then_some(()).ok_or(NotUnderstood)?;
            Node::Group(list)
        } else if self.is_at(&RESERVED) {
            return Err(NotUnderstood);
        } else {
            return self.simple();
        };
        // What a whole group of commands writes to, is taken for the group's own.
        let mut simple = Simple::default();
        while self.redirect(&mut simple)? {}
        if simple == Simple::default() {
            return Ok(node);
        }
        Ok(Node::Pipe(vec![node, Node::Simple(simple)]))
    }

    fn body(&mut self) -> Read<List> {
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    fn conditional(&mut self) -> Read<Node> {
        let (mut branches, mut otherwise) = (Vec::new(), List::new());
        loop {
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.takes_word("elif") {
                continue;
            }
            if self.takes_word("else") {
                otherwise = self.list(&["fi"])?;
            }
            self.expect("fi")?;
            return Ok(Node::If { branches, otherwise });
        }
    }

    fn case(&mut self) -> Read<Node> {
        self.blanks();
        let word = self.word()?.ok_or(NotUnderstood)?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.lines();
            if self.takes_word("esac") {
                return Ok(Node::Case { word, arms });
            }
            let _ = self.takes("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or(NotUnderstood)?);
                self.blanks();
                if !self.takes("|") {
                    break;
                }
            }
            self.takes(")").then_some(()).ok_or(NotUnderstood)?;
            arms.push((patterns, self.list(&["esac"])?));
            let _ = self.takes(";;");
        }
    }

    fn repetition(&mut self) -> Read<Node> {
        self.blanks();
        let name = self.word()?.and_then(|word| plain(&word)).ok_or(NotUnderstood)?;
        self.lines();
        let mut words = Vec::new();
        if self.takes_word("in") {
            self.blanks();
            while let Some(word) = self.word()? {
                words.push(word);
                self.blanks();
            }
        } else {
            words.push(vec![Piece::arguments()]);
        }
        let _ = self.takes(";");
        let body = self.body()?;
        Ok(Node::For { name, words, body })
    }

    fn simple(&mut self) -> Read<Node> {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            if self.redirect(&mut simple)? {
                continue;
            }
            if self.starts_with("(") {
                return self.function(&simple);
            }
            let Some(word) = self.word()? else { break };
            match assignment(&word).filter(|_| simple.words.is_empty()) {
                Some(assignment) => simple.assignments.push(assignment),
                None => simple.words.push(word),
            }
        }
        let is_empty = simple == Simple::default();
        (!is_empty).then_some(Node::Simple(simple)).ok_or(NotUnderstood)
    }

    fn function(&mut self, simple: &Simple) -> Read<Node> {
        let [word] = simple.words.as_slice() else {
            return Err(NotUnderstood);
        };
        let name = plain(word).ok_or(NotUnderstood)?;
        self.at += 1;
        self.blanks();
        self.takes(")").then_some(()).ok_or(NotUnderstood)?;
        self.lines();
        let body = Box::new(self.deeper(Self::command)?);
        Ok(Node::Function { name, body })
    }

    /// Takes a redirection if one stands next.
    fn redirect(&mut self, simple: &mut Simple) -> Read<bool> {
        self.blanks();
        let digits = self.text[self.at.min(self.text.len())..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .count();
        let sign = self.text.get(self.at + digits).copied();
        if !matches!(sign, Some('<' | '>')) {
            return Ok(false);
        }
        self.at += digits;
        let is_document = self.starts_with("<<") && !self.starts_with("<<<");
        let is_write = self.starts_with(">");
        let operators = ["<<<", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">", "&>"];
        let operator = operators.into_iter().find(|operator| self.takes(operator));
        self.blanks();
        let word = self.word()?.ok_or(NotUnderstood)?;
        if is_document {
            let number = self.heres.len();
            self.heres.push(None);
            simple.here = Some(number);
            let is_literal = !word.iter().all(|piece| matches!(piece, Piece::Literal(_)));
            self.pending.push(Pending {
                end: text_of(&word).ok_or(NotUnderstood)?,
                strips_tabs: operator == Some("<<-"),
                is_literal,
                number,
            });
        } else if is_write && operator != Some(">&") {
            simple.writes.push(word);
        }
        Ok(true)
    }
}

/// The text of a word in which nothing is replaced.
fn text_of(word: &Word) -> Option<String> {
    word.iter()
        .map(|piece| match piece {
            Piece::Literal(text) | Piece::Quoted(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// The text of a word that is a name.
fn plain(word: &Word) -> Option<String> {
    match word.as_slice() {
        [Piece::Literal(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Takes `NAME=value` apart.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Piece::Literal(first)) = word.first() else {
        return None;
    };
    let (name, value) = first.split_once('=')?;
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let mut pieces = vec![Piece::Quoted(value.to_owned())];
    pieces.extend(word.iter().skip(1).cloned());
    Some((name.to_owned(), pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(node: &Node) -> Vec<String> {
        match node {
            Node::Simple(simple) => simple
                .words
                .iter()
                .map(|word| text_of(word).unwrap_or_default())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_are_read_with_quotes_continued_lines_and_comments() {
        let script = read("a 'b c' \"d\" \\\n  e\\ f # comment\n\ng>/dev/null 2>&1").unwrap();
        assert_eq!(words(&script.list[0]), ["a", "b c", "d", "e f"]);
        assert_eq!(words(&script.list[1]), ["g"]);
    }

    #[test]
    fn conditions_cases_loops_and_functions_nest() {
        let text = "f() { if a && ! b; then c; elif d; then :; else e; fi; }\n\
                    case \"$1\" in configure|install) for x in 1 2; do f; done ;; *) exit 1 ;; esac\n\
                    while read -r x; do g; done < file | h || (i; j)\n";
        let list = read(text).unwrap().list;
        assert_eq!(list.len(), 3);
        assert!(matches!(&list[0], Node::Function { name, .. } if name == "f"));
        assert!(matches!(&list[1], Node::Case { arms, .. } if arms.len() == 2 && arms[0].0.len() == 2));
        assert!(matches!(&list[2], Node::Or(..)));
    }

    #[test]
    fn here_documents_are_taken_out_of_the_commands() {
        let script =
            read("cat <<EOF >/etc/x\nplain if\nEOF\ncat <<-'E'\n\t$x\n\tE\nb <<E\n$x\nE\nc").unwrap();
        assert_eq!(script.list.len(), 4);
        let heres: Vec<Option<&str>> = script.heres.iter().map(Option::as_deref).collect();
        assert_eq!(heres, [Some("plain if\n"), Some("$x\n"), None]);
    }

    #[test]
    fn what_is_not_understood_is_refused_whole() {
        for text in [
            "if a; then b",
            "a=(1 2)",
            "[[ a ]]",
            "((x))",
            "case x in",
            "a 'b",
            "fi",
            "f() ",
            "a | ",
            "a $(b",
            ";;",
        ] {
            assert_eq!(read(text), Err(NotUnderstood), "{text}");
        }
        for text in ["(", "$(", "${a:-", "! ", "f() ", "if "] {
            assert_eq!(read(&text.repeat(100_000)), Err(NotUnderstood), "{text}");
        }
    }
}
