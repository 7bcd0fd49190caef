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
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(directory) = directory else {
        let page = single(&root)?;
        std::io::stdout().write_all(&page)?;
        return Ok(());
    };
    let failed = || format!("cannot write the manual pages into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    let pages = all(&root);
    for command in &pages {
        Man::new(command.clone())
            .generate_to(directory)
            .with_context(failed)?;
    }
    say!(
        "{} pages are in {}; read one with `man {}`",
        pages.len(),
        directory.display(),
        directory.join("lockstep.1").display()
    );
    Ok(())
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
