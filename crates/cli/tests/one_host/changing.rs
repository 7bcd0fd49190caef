//! `--dry-run`, `set` and `edit`.

use super::*;

/// The revisions of the site's store that people's wishes change: the names of its files have their numbers.
fn wishes(host: &Host) -> Vec<String> {
    let files = std::fs::read_dir(host.site.path("shared/directory")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let is_of_wishes = |name: &String| {
        [",spec.", ",operation.", "drain,"]
            .iter()
            .any(|part| name.contains(part))
    };
    let mut names: Vec<String> = names.filter(is_of_wishes).collect();
    names.sort();
    names
}

/// Tries commands, none of which changes anything. One that is refused says what it says without a trial.
fn try_all(host: &Host, trials: &[(&str, i32, &str)]) {
    let before = wishes(host);
    for (words, code, part) in trials {
        let said = host.says(&format!("{words} --dry-run"), *code);
        assert!(said.contains(part), "`{words} --dry-run`: {said}");
        assert_eq!(wishes(host), before, "`{words} --dry-run` changes something");
        if *code == 4 {
            assert_eq!(host.says(words, 4), said, "`{words}`");
        }
    }
}

#[test]
fn a_trial_says_what_would_be_done_and_changes_nothing() {
    let host = Host::new(48);
    try_all(
        &host,
        &[
            ("create {web.toml}", 0, "web would be created"),
            ("start web", 1, "there is no VM called web"),
            ("drain b", 1, "there is no host called b"),
        ],
    );
    host.says("create {web.toml}", 0);
    assert_ne!(wishes(&host), Vec::<String>::new());
    try_all(
        &host,
        &[
            ("create {web.toml}", 0, "web is as in the file"),
            ("start web", 0, "web would be started on a"),
            ("start web --on d", 1, "there is no host called d"),
            ("pause web", 4, "does not run"),
            ("failover web", 4, "is not seen to run"),
            ("stop web --hard", 0, "web is off"),
            ("set web memory=32M", 0, "memory of web would be changed"),
            ("set web memory=16M", 0, "web is as you want it"),
            ("cancel 0", 1, "there is no operation 0"),
            ("drain a", 0, "a would be drained, and holds no VM"),
            ("undrain a", 0, "is not being drained"),
            ("delete web", 0, "web would be deleted"),
        ],
    );
    host.says("start web", 0);
    try_all(
        &host,
        &[
            ("start web", 0, "web runs already, on a"),
            ("stop web", 4, "--hard"),
            ("stop web --hard", 0, "`stop` of web would begin"),
            ("reset web", 0, "`reset` of web would begin"),
            ("pause web", 0, "web would be paused"),
            ("resume web", 0, "web runs already"),
            (
                "protect web",
                0,
                "no host can take the backup at present\nno    a runs the primary",
            ),
            ("move-backup web", 0, "no host can take the backup at present"),
            ("protection suspend web", 0, "`unprotect` of web would begin"),
            ("unprotect web", 0, "`unprotect` of web would begin"),
            ("failover web", 4, "web has no backup"),
            ("move web --to a", 0, "web is on a already"),
            ("drain a", 0, "no host can take web at present, so it would stay"),
            ("delete web --yes", 4, "web runs on a"),
        ],
    );
    let (status, _, plan) = host.asks("POST", "/v1/vms/web/reset?dry_run=true", "", "");
    assert_eq!((status, plan["dry_run"].as_bool()), (200, Some(true)), "{plan}");
}

#[test]
fn settings_are_changed_one_by_one_and_the_rest_of_the_text_stays() {
    let host = Host::new(49);
    host.says("create {web.toml}", 0);
    let says = |words: &str, code: i32, part: &str| {
        let said = host.says(words, code);
        assert!(said.contains(part), "`{words}`: {said}");
    };
    let text = || {
        let (_, _, settings) = host.asks("GET", "/v1/vms/web/settings", "", "");
        settings["toml"].as_str().unwrap().to_owned()
    };
    says("set web memory=32M", 0, "memory of web is changed\n");
    says("set web memory=32M", 0, "web is as you want it");
    assert!(text().starts_with("# Waits.\n"), "{}", text());
    assert!(text().contains("memory = \"32M\" # enough\n"), "{}", text());
    says(
        "set web harts=2 timeout_ms=900",
        0,
        "harts, timeout_ms of web are changed\n",
    );
    says("set web timeout_ms=", 0, "timeout_ms of web is changed\n");
    assert!(!text().contains("timeout_ms"), "{}", text());
    says("start web", 0, "web runs on a");
    says(
        "set web harts=1 protect=false",
        0,
        "harts of web is changed, and takes effect when it is started the next time; it is to have no backup",
    );
    says("set web protect=false", 0, "web is as you want it");
    says("status web", 0, "web: unprotected");
    says("set web harts=nine", 2, "`harts` is a number, such as 2");
    says("set web memry=1G", 2, "there is no setting `memry`");
    says("set web memory", 2, "give KEY=VALUE");
    says("set web protect=yes", 2, "`protect` is true or false");
    says("set web name=other", 2, "a VM keeps its name: web");
    says("set web arbiter=/x", 2, "`arbiter` is the site's business");
    says(
        "set weeb memory=1G",
        1,
        "there is no VM called weeb; there is web",
    );
    let body = format!("{{\"toml\":{}}}", Value::from(text()));
    let json = "content-type: application/json\r\n";
    let (status, head, _) = host.asks("GET", "/v1/vms/web/settings", "", "");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert_eq!(status, 200);
    let more = format!("{json}if-match: {tag}\r\n");
    let (status, _, said) = host.asks("PUT", "/v1/vms/web/settings", &more, &body);
    assert_eq!((status, said["already"].as_bool()), (200, Some(true)), "{said}");
    let more = format!("{json}if-match: \"1\"\r\n");
    let (status, _, said) = host.asks("PUT", "/v1/vms/web/settings", &more, &body);
    assert_eq!((status, said["code"].as_str()), (412, Some("changed")), "{said}");
}

#[test]
fn a_text_that_is_edited_is_stored_if_it_is_good_and_kept_if_not() {
    let host = Host::new(50);
    host.says("create {web.toml}", 0);
    let edits = |editor: &str, code: i32| {
        let mut command = host.command("edit web");
        command.env("EDITOR", editor).env_remove("VISUAL");
        Ended(command.output().unwrap()).with(code)
    };
    assert_eq!(edits("true", 0), "nothing was changed\n");
    assert!(edits("false", 1).contains("the editor `false` has failed"));
    assert_eq!(edits("sed -i s/16M/64M/", 0), "memory of web is changed\n");
    assert!(edits("sed -i s/Waits/Waits_on/", 0).contains("and none of them"));
    for (editor, sentence) in [
        ("sed -i s/memory/memry/", "line 4: there is no setting `memry`"),
        ("sed -i s/64M/tall/", "line 4: `memory`"),
        ("sed -i s/web/wob/", "a VM keeps its name"),
    ] {
        let said = edits(editor, 2);
        assert!(said.contains(sentence), "{editor}: {said}");
        let kept = said
            .lines()
            .find_map(|line| line.split_once("the text is kept in "));
        let (_, kept) = kept.unwrap();
        assert!(std::fs::read_to_string(kept).unwrap().starts_with("# Waits_on."));
        std::fs::remove_file(kept).unwrap();
    }
    let (_, _, settings) = host.asks("GET", "/v1/vms/web/settings", "", "");
    assert!(
        settings["toml"]
            .as_str()
            .unwrap()
            .contains("memory = \"64M\" # enough")
    );
}
