//! Tells the program of which commit it was built, for `lockstep version`, and the commit's day, for the
//! manual pages. A build outside a repository is given them in LOCKSTEP_COMMIT and LOCKSTEP_DATE, or says
//! that the commit is unknown and leaves the day out.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo:rerun-if-env-changed=LOCKSTEP_COMMIT");
    println!("cargo:rerun-if-env-changed=LOCKSTEP_DATE");
    // The log of HEAD changes with every commit and checkout.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let given = std::env::var("LOCKSTEP_COMMIT").ok();
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!(
        "cargo:rustc-env=LOCKSTEP_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    let given = std::env::var("LOCKSTEP_DATE").ok();
    let date = given.or_else(|| git(&["show", "--no-patch", "--format=%cs", "HEAD"]));
    println!("cargo:rustc-env=LOCKSTEP_DATE={}", date.as_deref().unwrap_or(""));
}
