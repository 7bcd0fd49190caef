//! The client with real etcd servers: what it says of their answers, of their absence and of their users.

mod pki;
mod server;
mod stranger;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use etcd::{
    Change, Client, Compare, EtcdError, KeyValue, Keys, Lease, Operation, Outcome, Revision, Settings, User,
};
use pki::Pki;
use server::Cluster;
use stranger::stranger;

/// A deadline that no call of a test reaches.
const LONG: Duration = Duration::from_secs(600);
/// A deadline for calls that nobody answers.
const SHORT: Duration = Duration::from_millis(300);

fn settings(endpoints: &[String], deadline: Duration) -> Settings {
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    Settings {
        deadline,
        ..Settings::new(&endpoints)
    }
}

fn client(endpoints: &[String], deadline: Duration) -> Client {
    Client::new(settings(endpoints, deadline)).unwrap()
}

fn put(client: &Client, key: &str, value: &str, lease: Option<Lease>) -> Result<Outcome, EtcdError> {
    let (key, value) = (key.into(), value.into());
    client.transact(&[], &[Operation::Put { key, value, lease }], &[])
}

fn get(client: &Client, key: &str) -> Option<KeyValue> {
    client.range(&Keys::One(key.into()), 1).unwrap().found.pop()
}

#[test]
fn transactions_compare_and_reads_find() {
    let cluster = Cluster::start(1);
    let client = client(&cluster.endpoints(), LONG);
    let write = |value: &str, revision| {
        let key: Vec<u8> = b"p/a".to_vec();
        let condition = Compare {
            key: key.clone(),
            revision,
        };
        let value = value.into();
        let then = Operation::Put {
            key: key.clone(),
            value,
            lease: None,
        };
        client
            .transact(&[condition], &[then], &[Operation::Get { key }])
            .unwrap()
    };
    assert_eq!(get(&client, "p/a"), None);
    let first = write("1", Revision(0));
    assert!(first.succeeded);
    let lost = write("2", Revision(0));
    assert!(!lost.succeeded);
    assert_eq!(
        (lost.found[0].revision, &lost.found[0].value[..]),
        (first.revision, &b"1"[..])
    );
    assert!(write("3", first.revision).succeeded);
    assert_eq!(get(&client, "p/a").unwrap().value, b"3");
    put(&client, "p/b", "", None).unwrap();
    put(&client, "q", "x", None).unwrap();
    let range = client.range(&Keys::Prefix(b"p/".to_vec()), 10).unwrap();
    let keys: Vec<_> = range.found.iter().map(|found| found.key.as_slice()).collect();
    assert_eq!((keys, range.more), (vec![&b"p/a"[..], b"p/b"], false));
    assert!(client.range(&Keys::Prefix(Vec::new()), 2).unwrap().more);
    client
        .transact(&[], &[Operation::Delete { key: b"q".to_vec() }], &[])
        .unwrap();
    assert_eq!(get(&client, "q"), None);
}

#[test]
fn leases_live_and_end() {
    let cluster = Cluster::start(1);
    let client = client(&cluster.endpoints(), LONG);
    let lease = client.grant(LONG).unwrap();
    put(&client, "a", "1", Some(lease)).unwrap();
    assert_eq!(get(&client, "a").unwrap().lease, Some(lease));
    assert!(client.keep_alive(lease).unwrap());
    client.revoke(lease).unwrap();
    client.revoke(lease).unwrap();
    assert_eq!(get(&client, "a"), None);
    assert!(!client.keep_alive(lease).unwrap());
    let error = put(&client, "a", "1", Some(lease)).unwrap_err();
    assert!(matches!(error, EtcdError::Refused { code: 5, .. }), "{error}");
    for ttl in [Duration::from_secs(1), Duration::from_secs(1 << 30)] {
        assert!(matches!(client.grant(ttl), Err(EtcdError::Settings(_))));
    }
}

#[test]
fn a_watch_tells_all_changes_and_says_what_is_compacted() {
    let cluster = Cluster::start(1);
    let client = client(&cluster.endpoints(), LONG);
    let keys = Keys::Prefix(b"p/".to_vec());
    let first = put(&client, "p/a", "1", None).unwrap().revision;
    put(&client, "q", "x", None).unwrap();
    client
        .transact(&[], &[Operation::Delete { key: b"p/a".to_vec() }], &[])
        .unwrap();
    let mut watch = client.watch(&keys, first).unwrap();
    let last = put(&client, "p/b", "2", None).unwrap().revision;
    let mut seen = Vec::new();
    let mut next = Revision(0);
    while next <= last {
        let batch = watch.wait().unwrap();
        seen.extend(batch.changes.into_iter().map(|change| match change {
            Change::Put(found) => format!("{}={}", text(&found.key), text(&found.value)),
            Change::Delete { key, .. } => text(&key),
        }));
        next = batch.next;
    }
    assert_eq!(seen, ["p/a=1", "p/a", "p/b=2"]);
    cluster.compact(last.0);
    // A server says so after it has said that it watches.
    let end = client.watch(&keys, first).and_then(|mut watch| watch.wait());
    assert_eq!(end, Err(EtcdError::Compacted(last)));
    client.watch(&keys, next).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_watch_that_is_shut_down_ends_at_once() {
    let cluster = Cluster::start(1);
    let client = client(&cluster.endpoints(), LONG);
    let mut watch = client.watch(&Keys::Prefix(Vec::new()), Revision(1)).unwrap();
    std::thread::scope(|scope| {
        let end = scope.spawn(move || watch.wait());
        client.shut_down();
        assert!(matches!(end.join().unwrap(), Err(EtcdError::Ended { .. })));
    });
    assert!(client.range(&Keys::Prefix(Vec::new()), 1).is_err());
}

#[test]
fn a_server_that_is_gone_or_stands_still_is_passed_over() {
    let mut cluster = Cluster::start(3);
    // A slow machine may need several calls.
    let client = client(&cluster.endpoints(), Duration::from_secs(3));
    let put_somehow = |value: &str| while put(&client, "a", value, None).is_err() {};
    let value = || loop {
        if let Ok(mut range) = client.range(&Keys::One(b"a".to_vec()), 1) {
            return range.found.pop().unwrap().value;
        }
    };
    put_somehow("1");
    // It holds a connection to that server, over which no answer comes.
    cluster.stand(0, true);
    assert_eq!(value(), b"1");
    cluster.stand(0, false);
    cluster.kill(0);
    put_somehow("2");
    assert_eq!(value(), b"2");
    // One of three has no majority. It says so, or is silent; nothing is written either way.
    cluster.kill(1);
    let alone = self::client(&cluster.endpoints()[2..], SHORT);
    let error = put(&alone, "a", "3", None).unwrap_err();
    assert!(
        matches!(error, EtcdError::Away { .. } | EtcdError::Unanswered { .. }),
        "{error}"
    );
    cluster.restart(1);
    cluster.restart(0);
    assert!([&b"2"[..], b"3"].contains(&&value()[..]));
}

#[test]
fn absence_is_known_within_the_deadline() {
    let mut cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let client = client(&endpoints, SHORT);
    cluster.stand(0, true);
    let begin = Instant::now();
    let error = put(&client, "a", "1", None).unwrap_err();
    // The kernel makes the connection, if it is in time, and then the server may have got the request.
    assert!(
        matches!(error, EtcdError::Away { .. } | EtcdError::Unanswered { .. }),
        "{error}"
    );
    let error = client.range(&Keys::One(b"a".to_vec()), 1).unwrap_err();
    assert!(matches!(error, EtcdError::Away { .. }), "{error}");
    // Far more than the deadlines, on any machine, and far less than for ever.
    assert!(begin.elapsed() < LONG);
    cluster.kill(0);
    let error = put(&client, "a", "1", None).unwrap_err();
    assert!(matches!(error, EtcdError::Away { .. }), "{error}");
    assert!(error.to_string().contains(&endpoints[0]), "{error}");
}

#[test]
fn what_is_no_etcd_is_told_from_etcd() {
    let reply = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"y".repeat(1 << 20);
    let words: BTreeSet<String> = [
        String::new(),
        "SSH-2.0-OpenSSH_9.2\r\n".into(),
        reply(""),
        reply("<html>"),
        reply("{}"),
        reply("[]"),
        reply("{\"header\":{\"revision\":\"-5\"}}"),
        reply(&"[".repeat(100_000)),
        reply("{\"result\":{\"created\":\"yes\"}}\n"),
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nx".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(),
        endless,
    ]
    .into();
    for word in words {
        let address = stranger(word.clone());
        let client = client(&[format!("http://{address}")], LONG);
        let start: String = word.chars().take(60).collect();
        let error = put(&client, "a", "1", None).unwrap_err();
        assert!(
            matches!(error, EtcdError::Unanswered { .. }),
            "{start:?}: {error}"
        );
        let error = client.range(&Keys::One(b"a".to_vec()), 1).unwrap_err();
        assert!(matches!(error, EtcdError::Away { .. }), "{start:?}: {error}");
        let error = client.watch(&Keys::One(b"a".to_vec()), Revision(1)).unwrap_err();
        assert!(matches!(error, EtcdError::Away { .. }), "{start:?}: {error}");
    }
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::new(directory.path());
    let stranger = tempfile::tempdir().unwrap();
    let stranger = Pki::new(stranger.path());
    let cluster = Cluster::start_with(1, "https", &|addresses| pki.options(addresses));
    let endpoints = cluster.endpoints();
    let with = |ca: &Pki, shown: Option<&Pki>| Settings {
        ca: Some(ca.ca.clone()),
        certificate: shown.map(Pki::client),
        ..settings(&endpoints, LONG)
    };
    let client = Client::new(with(&pki, Some(&pki))).unwrap();
    put(&client, "a", "1", None).unwrap();
    assert_eq!(get(&client, "a").unwrap().value, b"1");
    client
        .watch(&Keys::Prefix(Vec::new()), Revision(1))
        .unwrap()
        .wait()
        .unwrap();
    for settings in [
        with(&stranger, Some(&pki)),
        with(&pki, None),
        with(&pki, Some(&stranger)),
    ] {
        let client = Client::new(settings).unwrap();
        client.range(&Keys::One(b"a".to_vec()), 1).unwrap_err();
        put(&client, "a", "2", None).unwrap_err();
    }
    assert_eq!(get(&client, "a").unwrap().value, b"1");
    let mut mixed = with(&pki, Some(&pki));
    mixed.certificate.as_mut().unwrap().key = stranger.client().key;
    let error = Client::new(mixed).unwrap_err();
    assert!(
        error.to_string().contains("cannot be used for the certificate"),
        "{error}"
    );
    let mut absent = with(&pki, None);
    absent.ca = Some("/no/such/file".into());
    assert!(
        Client::new(absent)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    let mut empty = with(&pki, None);
    empty.ca = Some("/dev/null".into());
    assert!(
        Client::new(empty)
            .unwrap_err()
            .to_string()
            .contains("no certificate")
    );
}

#[test]
fn a_user_has_rights_and_a_token_that_is_renewed() {
    let mut cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let root = |password: &str| {
        let user = User {
            name: "root".into(),
            password: password.into(),
        };
        let user = Some(user);
        Client::new(Settings {
            user,
            ..settings(&endpoints, LONG)
        })
        .unwrap()
    };
    let anybody = client(&endpoints, LONG);
    cluster.ask("/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}");
    cluster.ask("/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    cluster.ask("/v3/auth/enable", "{}");
    let error = put(&anybody, "a", "1", None).unwrap_err();
    assert!(matches!(error, EtcdError::Refused { .. }), "{error}");
    let error = put(&root("wrong"), "a", "1", None).unwrap_err();
    assert!(matches!(error, EtcdError::Refused { .. }), "{error}");
    let client = root("secret");
    put(&client, "a", "1", None).unwrap();
    // A server forgets its tokens when it ends.
    cluster.kill(0);
    cluster.restart(0);
    put(&client, "a", "2", None).unwrap();
    assert_eq!(get(&client, "a").unwrap().value, b"2");
    client
        .watch(&Keys::Prefix(Vec::new()), Revision(1))
        .unwrap()
        .wait()
        .unwrap();
}
