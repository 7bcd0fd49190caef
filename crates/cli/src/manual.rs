//! `lockstep man`: the manual pages, made from the same text as `--help`.
//!
//! With a directory there is a page for each command, each under its name, so that every page that another
//! one refers to exists. Without one a single page with all commands is printed, which refers to no other
//! page.
//!
//! `clap_mangen` turns flags and commands into roff. What it leaves out is put in here: sections of their own
//! for exit codes, files and examples (`help` has the words), the other names of flags, defaults in one
//! place.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Cli;
use crate::help::{self, Block};

/// The day of the commit that the program was built of, as 2026-01-31; empty if nobody knows.
const DATE: &str = env!("LOCKSTEP_DATE");

/// Writes the pages into `directory`, or prints one page.
pub fn run(directory: Option<&Path>) -> Result<()> {
    let root = root();
    let Some(directory) = directory else {
        std::io::stdout().write_all(single(&root)?.as_bytes())?;
        return Ok(());
    };
    let failed = || format!("cannot write the manual pages into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    let pages = all(&root);
    for command in &pages {
        let path = directory.join(man(command).get_filename());
        std::fs::write(path, page(command)?).with_context(failed)?;
    }
    say!(
        "{} pages are in {}; read one with `man {}`",
        pages.len(),
        directory.display(),
        directory.join("lockstep.1").display()
    );
    Ok(())
}

/// The program's commands with everything that a manual page says of them.
fn root() -> Command {
    let mut root = with_all_flags(Cli::command().disable_help_subcommand(true));
    root.build();
    root
}

/// The command and all below it, with no flag that `-h` leaves out: of such a flag a page would have the name
/// and nothing else.
fn with_all_flags(command: Command) -> Command {
    let names = command.get_subcommands().map(|sub| sub.get_name().to_owned());
    let names: Vec<String> = names.collect();
    let command = command.mut_args(described);
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_all_flags)
    })
}

/// The flag with its default behind the first paragraph, where the defaults of all flags stand, and with its
/// other names.
fn described(arg: Arg) -> Arg {
    let text = arg.get_long_help().or(arg.get_help());
    let text = text.map(ToString::to_string).unwrap_or_default();
    let (first, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut paragraphs = vec![first.to_owned()];
    let default = arg.get_default_values().first();
    let default = default.map(|value| value.to_string_lossy().into_owned());
    if let Some(default) = &default {
        paragraphs[0] += &format!(" [default: {default}]");
    }
    paragraphs.extend((!rest.is_empty()).then(|| rest.to_owned()));
    if let Some(names) = arg.get_visible_aliases() {
        let names: Vec<String> = names.iter().map(|name| format!("`--{name}`")).collect();
        paragraphs.push(format!("Also called {}.", names.join(" and ")));
    }
    let arg = arg.long_help(paragraphs.join("\n\n")).hide_short_help(false);
    match (arg.is_positional(), default) {
        (true, _) => arg.help_heading("Arguments"),
        (false, Some(_)) => arg.hide_default_value(true),
        (false, None) => arg,
    }
}

/// The command and all below it that the help shows.
fn all(command: &Command) -> Vec<Command> {
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    std::iter::once(command.clone())
        .chain(below.flat_map(all))
        .collect()
}

/// The page's frame: what stands in its first and last line.
fn man(command: &Command) -> Man {
    Man::new(command.clone())
        .date(DATE)
        .source(concat!("lockstep ", env!("CARGO_PKG_VERSION")))
        .manual("Lockstep")
}

/// The name of a command's page, such as `lockstep-run`.
fn name_of(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

/// A section of a page.
struct Section {
    title: String,
    /// Is it a part of the section before it?
    is_below: bool,
    roff: String,
}

/// The text that a part of `clap_mangen` or a roff document writes, without its preamble.
fn rendered(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let is_preamble = |line: &&str| line.contains(".ds Aq");
    Ok(text
        .lines()
        .filter(|line| !is_preamble(line))
        .map(|line| format!("{line}\n"))
        .collect())
}

/// The sections of a text that `clap_mangen` wrote, each with its title.
fn split(text: &str) -> Vec<Section> {
    let parts = text.split(".SH ").filter_map(|part| part.split_once('\n'));
    let section = |(title, roff): (&str, &str)| Section {
        title: title.trim_matches('"').to_owned(),
        is_below: false,
        roff: roff.to_owned(),
    };
    parts.map(section).collect()
}

/// Everything that a page says of a command, in the order of man-pages(7).
fn sections(command: &Command) -> Result<Vec<Section>> {
    let man = man(command);
    let mut sections = split(&rendered(|out| man.render_name_section(out))?);
    sections.push(own("SYNOPSIS", |roff| synopsis(roff, command))?);
    sections.extend(split(&rendered(|out| man.render_description_section(out))?));
    sections.extend(options(&man)?);
    if command.has_subcommands() {
        let commands = split(&rendered(|out| man.render_subcommands_section(out))?);
        sections.extend(commands.into_iter().map(|section| Section {
            title: "COMMANDS".into(),
            ..section
        }));
    }
    for (title, blocks) in help::sections(&name_of(command)) {
        sections.push(own(title, |roff| {
            blocks.iter().for_each(|block| show(roff, block));
        })?);
    }
    Ok(sections)
}

/// A section with words of this program.
fn own(title: &str, fill: impl FnOnce(&mut Roff)) -> Result<Section> {
    let mut roff = Roff::new();
    fill(&mut roff);
    Ok(Section {
        title: title.into(),
        is_below: false,
        roff: rendered(|out| roff.to_writer(out))?
            .trim_start_matches(".PP\n")
            .into(),
    })
}

fn show(roff: &mut Roff, block: &Block) {
    match block {
        Block::Paragraph(text) => roff.control("PP", []).text([roman(text)]),
        Block::Item(word, text) => roff.control("TP", []).text([bold(word)]).text([roman(text)]),
        Block::Line(line) => roff.control("EX", []).text([roman(line)]).control("EE", []),
    };
}

/// Arguments, then flags; flags with a heading in the help stand below one here.
fn options(man: &Man) -> Result<Vec<Section>> {
    let mut sections = split(&rendered(|out| man.render_options_section(out))?);
    sections.sort_by_key(|section| section.title != "ARGUMENTS");
    for section in &mut sections {
        section.is_below = !["ARGUMENTS", "OPTIONS"].contains(&section.title.as_str());
        if section.is_below {
            section.title = section.title[..1].to_owned() + &section.title[1..].to_lowercase();
        }
    }
    Ok(sections)
}

fn synopsis(roff: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string().replace("Usage: ", "");
    let (name, rest) = usage.split_at(usage.find(['[', '<', '-']).unwrap_or(usage.len()));
    roff.text([bold(name.trim_end()), roman(" "), roman(rest)]);
}

/// The page of one command.
fn page(command: &Command) -> Result<String> {
    let mut page = title(command)?;
    for section in sections(command)? {
        let request = if section.is_below { "SS" } else { "SH" };
        page += &format!(".{request} {}\n{}", section.title, section.roff);
    }
    Ok(laid_out(&page))
}

/// One page with all commands, each with its flags.
fn single(root: &Command) -> Result<String> {
    let mut page = title(root)?;
    let commands = all(root);
    for command in &commands {
        let name = name_of(command).replace('-', " ");
        let is_root = command.get_name() == root.get_name();
        if !is_root {
            page += &format!(".SH {}\n", name.to_uppercase());
        }
        for section in sections(command)? {
            let title = section.title.as_str();
            let has_place = is_root || !["NAME", "SEE ALSO"].contains(&title);
            let request = if is_root { "SH" } else { "SS" };
            if has_place && title != "COMMANDS" {
                page += &format!(".{request} {title}\n{}", section.roff);
            }
        }
    }
    // What would be another page is another section here.
    for name in commands.iter().map(name_of) {
        page = page.replace(
            &format!("{}(1)", name.replace('-', "\\-")),
            &format!("`{}`", name.replace('-', " ")),
        );
    }
    Ok(laid_out(&page))
}

/// The first lines of a page; its other lines are neither stretched nor hyphenated, so that commands stand as
/// they are typed.
fn title(command: &Command) -> Result<String> {
    let mut title = Vec::new();
    man(command).render_title(&mut title)?;
    Ok(String::from_utf8_lossy(&title).into_owned() + ".ad l\n.nh\n")
}

/// The page without what roff would only excuse: empty lines and spaces at the ends of lines. What stands
/// between backquotes is bold.
fn laid_out(page: &str) -> String {
    let page = page
        .replace(".br\n\n.br\n", ".sp\n")
        .replace(".RS 14\n", ".RS 9\n")
        // Lines that stay as they are follow each other.
        .replace(".EE\n.EX\n", "");
    let line = |line: &str| match line.trim_end() {
        "" => ".sp\n".to_owned(),
        line if line.matches('`').count() % 2 == 1 => format!("{line}\n"),
        line => {
            let parts = line.split('`').enumerate();
            let parts = parts.map(|(at, part)| match at % 2 {
                0 => part.to_owned(),
                _ => format!("\\fB{part}\\fR"),
            });
            parts.collect::<String>() + "\n"
        }
    };
    page.lines().map(line).collect()
}
