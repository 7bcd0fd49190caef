//! What the reader of the output sees: how wide the terminal is, whether it shows UTF-8 and colours.
//!
//! The environment has the last word: COLUMNS, LC_ALL, LC_CTYPE, LANG, NO_COLOR, CLICOLOR_FORCE and TERM. The
//! rules stand in functions of values, so that they can be tested without a terminal.

use std::io::IsTerminal;

use rustix::termios::tcgetwinsize;

/// Columns of a reader of whom nothing is known.
const WIDTH_DEFAULT: usize = 80;

/// What standard output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal.
    pub width: usize,
    /// Are there more signs than those of ASCII?
    pub utf8: bool,
    /// Are colours wanted?
    pub colour: bool,
}

impl Screen {
    /// The screen behind standard output.
    pub fn of_stdout() -> Screen {
        let stdout = std::io::stdout();
        let size = tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Screen::new(size, stdout.is_terminal(), &|name| std::env::var(name).ok())
    }

    /// `columns`: what the terminal says of its width. `variable` gives the environment.
    fn new(columns: Option<usize>, is_terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> Screen {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let asked = set("COLUMNS").and_then(|text| text.parse().ok());
        let columns = asked.or(columns).filter(|&columns| columns > 0);
        let locale = set("LC_ALL")
            .or(set("LC_CTYPE"))
            .or(set("LANG"))
            .unwrap_or_default();
        let locale = locale.to_ascii_lowercase().replace('-', "");
        let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let is_plain = set("TERM").is_some_and(|term| term == "dumb");
        Screen {
            width: columns.unwrap_or(WIDTH_DEFAULT),
            utf8: locale.ends_with("utf8"),
            colour: set("NO_COLOR").is_none() && (forced || is_terminal && !is_plain),
        }
    }

    /// The text in green, if there are colours.
    pub fn green(&self, text: &str) -> String {
        self.coloured("32", text)
    }

    /// The text in red, if there are colours.
    pub fn red(&self, text: &str) -> String {
        self.coloured("31", text)
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(columns: Option<usize>, is_terminal: bool, environment: &[(&str, &str)]) -> Screen {
        let variable = |name: &str| {
            let pair = environment.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        Screen::new(columns, is_terminal, &variable)
    }

    #[test]
    fn the_environment_has_the_last_word() {
        assert_eq!(screen(None, false, &[]).width, 80);
        assert_eq!(screen(Some(132), true, &[]).width, 132);
        assert_eq!(screen(Some(132), true, &[("COLUMNS", "60")]).width, 60);
        assert_eq!(screen(Some(0), true, &[("COLUMNS", "many")]).width, 80);
        assert!(screen(None, true, &[("LANG", "de_DE.UTF-8")]).utf8);
        assert!(screen(None, true, &[("LC_ALL", "C.utf8"), ("LANG", "C")]).utf8);
        assert!(!screen(None, true, &[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).utf8);
        assert!(!screen(None, true, &[]).utf8);
        assert!(screen(None, true, &[]).colour && !screen(None, false, &[]).colour);
        assert!(!screen(None, true, &[("NO_COLOR", "1")]).colour);
        assert!(!screen(None, true, &[("TERM", "dumb")]).colour);
        assert!(screen(None, false, &[("CLICOLOR_FORCE", "1")]).colour);
    }
}
