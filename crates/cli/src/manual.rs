//! `lockstep man`: the manual pages, made from the same text as `--help`.
//!
//! With a directory there is a page for each command, each under its name, so that every page that another
//! one refers to exists. Without one a single page with all commands is printed, which refers to no other
//! page.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;

/// Writes the pages into `directory`, or prints one page.
pub fn run(directory: Option<&Path>) -> Result<()> {
    let root = root();
    let Some(directory) = directory else {
        let page = laid_out(&single(&root)?);
        std::io::stdout().write_all(page.as_bytes())?;
        return Ok(());
    };
    let failed = || format!("cannot write the manual pages into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    let pages = all(&root);
    for command in &pages {
        let man = Man::new(command.clone());
        let mut page = Vec::new();
        man.render(&mut page)?;
        let path = directory.join(man.get_filename());
        std::fs::write(path, laid_out(&page)).with_context(failed)?;
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
    let command = command.mut_args(|arg| arg.hide_short_help(false));
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_all_flags)
    })
}

/// A page whose lines are neither stretched nor hyphenated, so that commands stand as they are typed.
fn laid_out(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page);
    let (title, rest) = page.split_once(".SH ").unwrap_or((&page, ""));
    format!("{title}.ad l\n.nh\n.SH {rest}")
        .replace(".SH EXTRA", ".SH NOTES")
        .replace(".SS EXTRA", ".SS NOTES")
}

/// The command and all below it that the help shows.
fn all(command: &Command) -> Vec<Command> {
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    std::iter::once(command.clone())
        .chain(below.flat_map(all))
        .collect()
}

/// One page with all commands, each with its flags.
fn single(root: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(root.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    for command in all(root).into_iter().skip(1) {
        let name = command.get_display_name().unwrap_or_default().replace('-', " ");
        writeln!(page, ".SH {}", name.to_uppercase())?;
        let man = Man::new(command);
        for section in [
            Man::render_synopsis_section,
            Man::render_description_section,
            Man::render_options_section,
            Man::render_extra_section,
        ] {
            let mut part = Vec::new();
            section(&man, &mut part)?;
            // The sections of a command are parts of its own section here.
            page.extend(String::from_utf8_lossy(&part).replace(".SH ", ".SS ").bytes());
        }
    }
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}
