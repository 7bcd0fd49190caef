//! The house rules of docs/style.md, checked.
//!
//! Each file here is a group of rules, which reads the files that git knows and prints where a rule is broken
//! and what to do instead. No rule changes a file.

mod arrows;
mod budgets;
mod citations;
mod layers;
mod ratchet;
mod source;
mod width;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One broken rule at one place.
pub struct Finding {
    /// `path` or `path:line`.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// One file of the repository that git knows.
pub struct File {
    /// Path relative to the root.
    pub path: String,
    /// Its content, if it is text.
    pub text: String,
}

/// Runs every rule over the files git tracks or would track.
pub fn check(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut findings = Vec::new();
    arrows::check(&files, &mut findings)?;
    budgets::check(&files, &mut findings);
    layers::check(&files, &mut findings);
    source::check(&files, &mut findings);
    width::check(&files, &mut findings);
    words::check(&files, &mut findings);
    citations::check(root, &files, &mut findings);
    for Finding { place, message } in &findings {
        println!("{place}: {message}");
    }
    if !findings.is_empty() {
        bail!("{} house rules broken", findings.len());
    }
    println!("{} files follow the house rules", files.len());
    Ok(())
}

fn files(root: &Path) -> Result<Vec<File>> {
    let listing = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    let mut files = Vec::new();
    for path in String::from_utf8_lossy(&listing.stdout).lines() {
        let full: PathBuf = root.join(path);
        // A file that is not text (a golden log, a picture) or that was just deleted has no rules to break.
        if let Ok(text) = std::fs::read_to_string(&full) {
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}
