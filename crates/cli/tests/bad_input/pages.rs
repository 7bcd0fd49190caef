//! What the program says of itself: help, manual pages, completions, version.

use super::*;

#[test]
fn the_help_tells_defaults_under_headings_with_examples() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args(arguments)
            .env("COLUMNS", "80")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{arguments:?} is {widest} wide");
        text
    };
    // Words that are told apart by any white space, since lines end anywhere.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let long = words(&help(&["primary", "--help"]));
    for (flag, default) in [
        ("--name", "vm"),
        ("--memory", "512M"),
        ("--harts", "1"),
        ("--net", "none"),
        ("--serial", "stdio"),
        ("--timeout-ms", "500"),
        ("--on-panic", "keep"),
        ("--firmware", "this host's OpenSBI"),
        ("--mac", "from the VM's name"),
        ("--cloud-init", "none"),
        ("--append", "empty"),
        ("--engine", "translator"),
    ] {
        let (_, rest) = long.split_once(&format!("{flag} <")).expect(flag);
        let (_, rest) = rest.split_once("[default: ").expect(flag);
        assert!(rest.starts_with(&format!("{default}]")), "{flag}: {rest:.30}");
    }
    for part in [
        "Machine:",
        "Devices:",
        "Pair:",
        "Output:",
        "Rights:",
        "Diagnosis:",
        "Examples:",
        "--zeal",
    ] {
        assert!(long.contains(part), "{part}");
    }
    let short = help(&["primary", "-h"]);
    assert!(
        !short.contains("--zeal") && !short.contains("Diagnosis:"),
        "{short}"
    );
    assert!(short.contains("[aliases: --cpus, --smp]") || words(&short).contains("[aliases: --cpus, --smp]"));
    for command in [
        "demo", "run", "record", "replay", "primary", "backup", "gateway", "log",
    ] {
        assert!(help(&[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    assert_contains(
        &String::from_utf8(lockstep(&["completions", "bash"]).stdout).unwrap(),
        &["lockstep"],
    );
    let page = String::from_utf8(lockstep(&["man"]).stdout).unwrap();
    assert_contains(&page, &[".TH", ".SH LOCKSTEP BACKUP", "arbiter"]);
    assert_eq!(pages_named_in(&page), Vec::<String>::new());
}

/// The pages of this program that a page refers to, such as `lockstep-run` for `lockstep\-run(1)`.
fn pages_named_in(page: &str) -> Vec<String> {
    let page = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
    let words = page.split_whitespace().filter_map(|word| word.split_once("(1)"));
    let names = words.map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with("lockstep")).collect()
}

#[test]
fn every_command_has_a_manual_page_and_no_page_refers_to_one_that_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let man = directory.path().join("man1");
    let output = lockstep(&["man", &man.display().to_string()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut referred = 0;
    for entry in std::fs::read_dir(&man).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(".SH NAME"));
        // A flag that only `--help` shows has its text here, too.
        if path.ends_with("lockstep-primary.1") {
            assert_contains(
                &page,
                &["No encryption, no authentication", "Drop caches at random"],
            );
        }
        for name in pages_named_in(&page) {
            assert!(man.join(format!("{name}.1")).exists(), "{name}(1)");
            referred += 1;
        }
    }
    for command in [
        "",
        "-demo",
        "-run",
        "-primary",
        "-image-appliance",
        "-log-dump",
        "-version",
    ] {
        assert!(man.join(format!("lockstep{command}.1")).exists(), "{command}");
    }
    assert!(referred > 10);
}

#[test]
fn the_version_names_commit_protocol_log_format_and_machine_model() {
    let version: serde_json::Value =
        serde_json::from_slice(&lockstep(&["version", "--json"]).stdout).unwrap();
    assert_eq!(version["protocol"], replica::peer::joining::PROTOCOL);
    assert_eq!(version["log_format"], replica::log::codec::VERSION);
    assert_contains(version["machine_model"].as_str().unwrap(), &["virt rv64imafdc"]);
    let commit = version["commit"].as_str().unwrap();
    let lines = String::from_utf8(lockstep(&["version"]).stdout).unwrap();
    assert_contains(&lines, &[commit, "protocol", "format of logs", "machine model"]);
    assert_contains(
        &String::from_utf8(lockstep(&["--version"]).stdout).unwrap(),
        &[commit],
    );
}
