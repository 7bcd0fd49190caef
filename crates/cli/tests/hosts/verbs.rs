//! Commands that reach a VM's process from whichever host they are given at.

use super::Cluster;

#[test]
fn a_snapshot_comes_to_the_host_where_it_is_asked_for() {
    let cluster = Cluster::new(44);
    cluster.at("c", "snapshot web {kept}").with(5);
    cluster.at("a", "create {web.toml}").with(0);
    cluster.await_known();
    let text = cluster.at("c", "snapshot web {kept}").with(4);
    assert!(text.contains("web is not seen to run"), "{text}");
    cluster.at("a", "start web --on a --wait-for protected").with(0);
    let text = cluster.at("c", "snapshot web {kept} --disks-hook true").with(4);
    assert!(
        text.contains("it has no disks"),
        "what the process says comes too: {text}"
    );
    let text = cluster.at("c", "snapshot web {kept} --json").with(0);
    assert!(text.contains("\"disks\":0"), "{text}");
    let length = std::fs::metadata(cluster.site.path("kept")).unwrap().len();
    assert!(text.contains(&format!("\"bytes\":{length}")), "{text}");
    let text = cluster.at("c", "snapshot web {kept}").with(4);
    assert!(text.contains("is there already"), "{text}");
    cluster.at("a", "snapshot web {kept} --replace").with(0);
    // What came is whole: a VM goes on from it.
    let site = &cluster.site;
    let mut copy = site.begins("run --from {kept} --name copy --serial none");
    while site.ends("status copy").0.status.code() != Some(0) {
        assert!(copy.child.try_wait().unwrap().is_none(), "it has ended");
    }
    let text = cluster.at("b", "events web").with(0);
    assert_eq!(text.matches("\"snapshot-taken\"").count(), 2, "{text}");
}

#[test]
fn the_disks_are_kept_at_the_host_where_the_snapshot_is_asked_for() {
    let cluster = Cluster::new(48);
    let disk = cluster.site.path("web.disk");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let file = cluster.site.path("web.toml");
    let toml = std::fs::read_to_string(&file).unwrap() + &format!("disk = \"{}\"\n", disk.display());
    std::fs::write(&file, toml).unwrap();
    cluster.at("a", "create {web.toml} --unprotected").with(0);
    cluster.at("a", "start web --on a").with(0);
    cluster.await_known();
    let text = cluster
        .at("b", "snapshot web {kept} --json --disks-hook false")
        .with(1);
    assert!(text.contains("`--disks-hook` has failed"), "{text}");
    assert!(!cluster.site.path("kept").exists());
    let text = cluster
        .at("b", "snapshot web {kept} --json --disks-hook true")
        .with(0);
    assert!(
        text.contains("\"disks\":1") && text.contains("\"disks_kept\":true"),
        "{text}"
    );
}

#[test]
fn a_test_kills_a_half_and_ends_when_the_vm_is_protected_again() {
    let cluster = Cluster::new(46);
    cluster.at("a", "create {web.toml}").with(0);
    cluster.at("a", "start web --on a").with(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let probe = listener.local_addr().unwrap();
    cluster.at("a", "wait web --for protected").with(0);
    cluster.at("a", "test failover web").with(2);
    let before = cluster.web("a");
    let text = cluster
        .at("c", &format!("test failover web --yes --json --probe {probe}"))
        .with(0);
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let host = |of: &serde_json::Value, half: &str| of[half]["host"].as_str().unwrap().to_owned();
    assert_eq!(shown["killed_host"], host(&before, "primary"));
    assert_eq!(shown["killed_pid"], before["primary"]["pid"]);
    assert_eq!(shown["live_host"], host(&before, "backup"));
    let at = |name: &str| shown[name].as_f64().unwrap();
    assert!(
        0.0 < at("suspected_ms") && at("suspected_ms") <= at("asked_ms"),
        "{shown}"
    );
    // As if the host had died: nobody tells of the death, so the lease is waited for.
    assert!(
        at("asked_ms") > 100.0 && at("asked_ms") <= at("live_ms"),
        "{shown}"
    );
    assert!(at("live_ms") < at("protected_ms"), "{shown}");
    assert!(shown["probe"]["tried"].as_u64().unwrap() > 0, "{shown}");
    let after = cluster.web("a");
    assert_eq!(
        after["epoch"].as_u64(),
        before["epoch"].as_u64().map(|epoch| epoch + 1)
    );
    let text = cluster.at("b", "test backup web --yes").with(0);
    let killed = format!("killing the backup of web on {}", host(&after, "backup"));
    assert!(
        text.contains(&killed) && text.contains("protected again, backup "),
        "{text}"
    );
    assert_eq!(host(&cluster.web("a"), "primary"), host(&after, "primary"));
    let operation = cluster.web("a")["operation"].clone();
    assert_eq!(
        (&operation["kind"], &operation["state"]),
        (&"test backup".into(), &"done".into())
    );
    let text = cluster.at("a", "events").with(0);
    assert!(text.contains("\"test-killed\""), "{text}");
}

#[test]
fn a_test_is_refused_without_a_third_host_and_made_with_anyway() {
    let cluster = Cluster::new(47);
    cluster.at("a", "create {web.toml}").with(0);
    cluster.at("a", "drain c").with(0);
    cluster.at("a", "start web --on a --wait-for protected").with(0);
    let text = cluster.at("a", "test failover web --yes").with(4);
    assert!(
        text.contains("no third host is left") && text.contains("c is being drained"),
        "{text}"
    );
    let text = cluster.at("a", "test failover web --yes --anyway").with(0);
    assert!(
        text.contains("live on b after ") && text.contains("protected again, backup a"),
        "{text}"
    );
    cluster.at("a", "unprotect web --yes").with(0);
    let text = cluster.at("a", "test backup web --yes").with(4);
    assert!(
        text.contains("only a VM that is protected outlives its test"),
        "{text}"
    );
}

#[test]
fn a_vm_whose_host_is_gone_is_released_from_another_one_and_starts_there() {
    let mut cluster = Cluster::new(45);
    let text = cluster.at("b", "release web --epoch 1 --yes").with(2);
    assert!(
        text.contains("no agent looks after web; say with `--arbiter PLACE`"),
        "{text}"
    );
    cluster.at("a", "create {web.toml} --unprotected").with(0);
    cluster.await_known();
    let text = cluster.at("b", "release web --epoch 1 --yes").with(4);
    assert!(text.contains("knows no VM 'web'"), "{text}");
    cluster.at("a", "start web --on a").with(0);
    cluster.at("b", "release web --epoch 1").with(2);
    let text = cluster.at("b", "release web --epoch 2 --yes").with(4);
    assert!(
        text.contains("epoch 2 is not the last one of web, that is epoch 1"),
        "{text}"
    );
    let text = cluster.at("b", "release web --epoch 1 --yes").with(4);
    assert!(text.contains("that process lives; stop it instead"), "{text}");
    cluster.host_dies("a");
    // What an agent knows of a host that has just died is still that it lives.
    let text = loop {
        let said = cluster.at("b", "release web --epoch 1 --yes");
        if said.0.status.success() {
            break said.with(0);
        }
        let text = said.with(4);
        assert!(text.contains("its process on a answers"), "{text}");
    };
    assert!(
        text.contains("epoch 1 of web is released; `lockstep start web`"),
        "{text}"
    );
    let text = cluster.at("c", "release web --epoch 1 --yes").with(0);
    assert!(text.contains("is closed already: released by "), "{text}");
    let text = cluster.at("c", "start web --on b").with(0);
    assert!(text.contains("web runs on b"), "{text}");
}
