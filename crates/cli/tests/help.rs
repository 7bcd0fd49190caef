//! What `-h` and the manual pages say: the short help is short, and each page has its sections, every flag
//! once with all its names, and examples that can be copied.

use std::process::Command;

/// What the program prints, at 80 columns.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(arguments)
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where a part stands in a text.
fn place(text: &str, part: &str) -> usize {
    text.find(part)
        .unwrap_or_else(|| panic!("`{part}` is not in: {text}"))
}

#[test]
fn the_short_help_is_read_in_half_a_minute() {
    for (command, lines_max) in [("run", 50), ("primary", 60), ("gateway", 40), ("demo", 24)] {
        let short = printed(&[command, "-h"]);
        let lines = short.lines().count();
        assert!(lines <= lines_max, "{command} -h has {lines} lines");
        // Nobody has to be told twice: the whole sentences stand in the long help alone.
        let long = printed(&[command, "--help"]);
        assert!(long.contains("Exit codes:\n  0: "), "{command}");
        assert!(!short.contains("Exit codes") && !short.contains("What ends it"));
        assert!(short.contains("Examples:\n  lockstep ") || short.contains("Examples:\n  (umask"));
    }
}

#[test]
fn what_a_pair_needs_stands_first() {
    let short = printed(&["primary", "-h"]);
    for flag in ["--backup", "--key", "--arbiter"] {
        let flag = place(&short, &format!("{flag} <"));
        assert!(flag < place(&short, "Machine:"), "{short}");
        assert!(
            short[flag..].lines().next().unwrap().contains(" Needed: "),
            "{short}"
        );
    }
}

#[test]
fn the_short_help_of_a_replay_leaves_out_what_the_log_says() {
    let short = printed(&["replay", "-h"]);
    assert!(short.contains("--kernel") && short.contains("--from"), "{short}");
    for flag in ["--memory", "--name", "--on-panic", "--mac"] {
        assert!(!short.contains(flag), "{flag}: {short}");
    }
    assert!(printed(&["replay", "--help"]).contains("--memory"));
}

/// The pages by their names.
fn pages() -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    printed(&["man", &directory.path().display().to_string()]);
    let files = std::fs::read_dir(directory.path()).unwrap();
    let page = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.map(page).collect()
}

#[test]
fn a_manual_page_has_its_sections_in_the_usual_order() {
    let usual = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "ARGUMENTS",
        "OPTIONS",
        "COMMANDS",
        "WHAT ENDS IT",
        "EXIT STATUS",
        "ENVIRONMENT",
        "VM.TOML",
        "ARBITERS",
        "DISKS.TOML",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    for (name, page) in pages() {
        let titles: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .collect();
        let order = titles
            .iter()
            .map(|title| usual.iter().position(|usual| usual == title).expect(title));
        assert!(order.is_sorted(), "{name}: {titles:?}");
        for needed in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"] {
            assert!(titles.contains(&needed), "{name} has no {needed}");
        }
        let has_examples = printed(&help_of(&name)).contains("Examples:");
        assert_eq!(titles.contains(&"EXAMPLES"), has_examples || name == "lockstep");
        // The first and last line of the page say of which program it is.
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.ends_with("\"lockstep 0.1.0\" Lockstep"), "{title}");
        for line in page.lines() {
            assert!(!line.is_empty() && line.trim_end() == line, "{name}: `{line}`");
        }
    }
}

/// The words that print the help of a page's command.
fn help_of(page: &str) -> Vec<&str> {
    // A command may have a hyphen itself.
    match page {
        "lockstep-move-backup" => vec!["move-backup", "-h"],
        "lockstep-disk-server" => vec!["disk-server", "-h"],
        _ => page.split('-').skip(1).chain(["-h"]).collect(),
    }
}

#[test]
fn a_manual_page_has_every_flag_once_with_its_other_names_and_its_default() {
    let run = pages()
        .into_iter()
        .find(|(name, _)| name == "lockstep-run")
        .unwrap()
        .1;
    let heads: Vec<&str> = run.split(".TP\n").skip(1).collect();
    for flag in ["kernel", "serial", "engine", "events", "profile\\-every", "user"] {
        let head = format!("\\fB\\-\\-{flag}\\fR");
        let count = heads.iter().filter(|text| text.starts_with(&head)).count();
        assert_eq!(count, 1, "{flag}");
    }
    let text_of = |flag: &str| {
        let head = format!("\\fB\\-\\-{flag}\\fR");
        (*heads.iter().find(|text| text.starts_with(&head)).unwrap()).replace('\\', "")
    };
    assert!(text_of("harts").contains("Also called fB--cpusfR and fB--smpfR."));
    assert!(text_of("firmware").contains("fB--biosfR"));
    for (flag, default) in [("harts", "1"), ("engine", "translator"), ("memory", "512M")] {
        let text = text_of(flag);
        let (head, body) = text.split_once('\n').unwrap();
        assert!(!head.contains("default"), "{head}");
        assert!(body.contains(&format!("[default: {default}]")), "{body}");
    }
    // The settings of the file that all commands with a machine read.
    assert!(run.contains("timeout_ms = 500\n") && run.contains("on_panic = \"stop\"\n"));
}

#[test]
fn examples_of_a_manual_page_fit_a_terminal_of_80_columns() {
    for (name, page) in pages() {
        let blocks = page.split(".EX\n").skip(1);
        for block in blocks {
            let (block, _) = block.split_once(".EE\n").expect(&name);
            for line in block.lines() {
                let line = line.replace("\\-", "-").replace("\\*(Aq", "'");
                assert!(line.chars().count() <= 71, "{name}: {line}");
                assert!(!line.starts_with(['.', '\'']), "{name}: {line}");
            }
        }
    }
}
