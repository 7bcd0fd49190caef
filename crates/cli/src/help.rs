//! What the help and the manual pages say beside the flags: examples, what ends a command, exit codes, files,
//! related pages. The words stand in help.txt, by page and section. `args` puts [`short`] behind `-h` and
//! [`long`] behind `--help`; `manual` prints all [`sections`].
//!
//! In help.txt `= PAGE` begins a page and `== TITLE` a section. Its text is paragraphs, items
//! (`- WORD: TEXT`) and lines that stay as they are, after four spaces. Examples are commands as they are
//! typed, with at most 71 columns, so that they fit the manual page, which is indented, on a terminal of 80.

/// Headings under which flags stand in the help.
pub const MACHINE: &str = "Machine";
pub const DEVICES: &str = "Devices";
pub const PAIR: &str = "Pair";
pub const OUTPUT: &str = "Output";
pub const RIGHTS: &str = "Rights";
pub const DIAGNOSIS: &str = "Diagnosis";

/// All pages.
const PAGES: &str = include_str!("help.txt");

/// A piece of a section's text.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Paragraph(String),
    /// A word or several, and what is said of them.
    Item(String, String),
    /// A line that stays as it is.
    Line(String),
}

/// The sections of the page of this name, such as `lockstep-run`, each with its title.
pub fn sections(page: &str) -> Vec<(&'static str, Vec<Block>)> {
    // Both halves of a pair end alike.
    let page = page.replace("lockstep-backup", "lockstep-primary");
    let pages = || PAGES.split("\n= ").map(|text| text.trim_start_matches("= "));
    let is_it = |text: &&str| text.lines().next() == Some(page.as_str());
    let text = pages().find(is_it).or_else(|| pages().last());
    let parts = text.unwrap_or_default().split("\n== ").skip(1);
    parts
        .filter_map(|part| part.split_once('\n'))
        .map(|(title, text)| (title, blocks(text)))
        .collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let item = line.strip_prefix("- ").and_then(|line| line.split_once(": "));
        match (line.strip_prefix("    "), item, blocks.last_mut()) {
            (Some(line), ..) => blocks.push(Block::Line(line.into())),
            (None, Some((word, text)), _) => blocks.push(Block::Item(word.into(), text.into())),
            _ if line.is_empty() => {}
            (.., Some(Block::Paragraph(text) | Block::Item(_, text))) if is_open => {
                *text += &format!(" {line}");
            }
            _ => blocks.push(Block::Paragraph(line.into())),
        }
        is_open = !line.is_empty();
    }
    blocks
}

/// The end of `-h`: the examples, if there are any.
pub fn short(page: &str) -> String {
    part(page, "EXAMPLES", "Examples:")
}

/// The end of `--help`: examples, what ends the command, and exit codes.
pub fn long(page: &str) -> String {
    let ends = part(page, "WHAT ENDS IT", "What ends it:");
    let codes = part(page, "EXIT STATUS", "Exit codes:");
    let parts = [short(page), ends, codes];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// A section as a part of the help; empty if there is none.
fn part(page: &str, wanted: &str, heading: &str) -> String {
    let is_wanted = |(title, _): &(&str, Vec<Block>)| *title == wanted;
    let section = sections(page).into_iter().find(is_wanted);
    section.map_or(String::new(), |(_, blocks)| {
        heading.to_owned() + &blocks.iter().map(said).collect::<String>()
    })
}

/// A piece as lines of the help, which wraps them.
fn said(block: &Block) -> String {
    match block {
        Block::Paragraph(text) => format!("\n{text}"),
        Block::Item(word, text) => format!("\n  {word}: {text}"),
        Block::Line(line) => format!("\n  {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_paragraphs_items_and_lines() {
        let text = "one\ntwo\n\nthree\n- word: is\nsaid\n- other: too\n    a line";
        let expected = [
            Block::Paragraph("one two".into()),
            Block::Paragraph("three".into()),
            Block::Item("word".into(), "is said".into()),
            Block::Item("other".into(), "too".into()),
            Block::Line("a line".into()),
        ];
        assert_eq!(blocks(text), expected);
    }

    #[test]
    fn a_page_without_words_of_its_own_has_the_usual_exit_codes() {
        let titles = |page: &str| -> Vec<&str> { sections(page).iter().map(|(title, _)| *title).collect() };
        assert_eq!(titles("lockstep-version"), ["EXIT STATUS", "SEE ALSO"]);
        assert_eq!(titles("lockstep-backup"), titles("lockstep-primary"));
        assert!(long("lockstep-demo").ends_with("\n  130: stopped by Ctrl-C"));
    }
}
