//! The arbiter in etcd under examination, with real servers, and what can go wrong with etcd alone: keys of
//! others, users without rights, certificates, compaction, the loss of a majority, old claims.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use arbiter::limits::CLAIMS_LISTED;
use arbiter::{
    Arbiter, Cell, Cells, Closing, Created, EtcdArbiter, EtcdCells, EtcdPlace, Mark, Process, sees, start,
};
use etcd::{Client, Keys, Operation, Settings};
use replica::{Epoch, Verdict, VmName};

use crate::pki::Pki;
use crate::server::Cluster;
use crate::servers::Server;
use crate::{LOST, Place, arbiter, claim, claim_after, expect, last, vm};

/// What the names of an arbiter's keys begin with, unless another prefix is asked for.
const PREFIX: &str = "/lockstep/arbiter/1/";
/// Milliseconds that no call takes which is answered.
const LONG_MS: u64 = 600_000;

/// One server.
pub struct Alone(RefCell<Cluster>);

fn etcd(text: &str) -> EtcdPlace {
    match text.parse::<arbiter::Place>().unwrap() {
        arbiter::Place::Etcd(place) => *place,
        other => panic!("{other}"),
    }
}

/// The servers of a cluster, as they stand behind `etcd://`.
fn servers(cluster: &Cluster) -> String {
    let bare = |endpoint: &String| endpoint.split_once("://").unwrap().1.to_owned();
    cluster.endpoints().iter().map(bare).collect::<Vec<_>>().join(",")
}

impl Alone {
    fn servers(&self) -> String {
        servers(&self.0.borrow())
    }

    /// A client that knows nothing of arbiters.
    fn client(&self) -> Client {
        let endpoints = self.0.borrow().endpoints();
        Client::new(Settings {
            deadline: Duration::from_millis(LONG_MS),
            ..Settings::new(&[&endpoints[0]])
        })
        .unwrap()
    }

    /// Writes a key, whatever it held.
    fn put(&self, key: &str, value: &[u8]) {
        let put = Operation::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        };
        self.client().transact(&[], &[put], &[]).unwrap();
    }

    /// The names of all keys, in their order.
    fn keys(&self) -> Vec<String> {
        let range = self.client().range(&Keys::Prefix(Vec::new()), 10_000).unwrap();
        let names = range
            .found
            .into_iter()
            .map(|found| String::from_utf8(found.key).unwrap());
        names.collect()
    }
}

impl Place for Alone {
    type Cells = EtcdCells;

    fn new() -> Alone {
        Alone(RefCell::new(Cluster::start(1)))
    }

    fn cells(&self) -> EtcdCells {
        EtcdCells::open(&etcd(&self.address())).unwrap()
    }

    fn address(&self) -> String {
        format!("etcd://{},deadline_ms={LONG_MS}", self.servers())
    }

    fn go_away(&self) {
        self.kill();
    }

    fn come_back(&self) {
        self.restart();
    }

    fn spoil(&self, cell: Cell, bytes: &[u8]) {
        let name = match cell {
            Cell::Id => "id".into(),
            Cell::Claim(epoch) => format!("claim/{:020}", epoch.0),
            Cell::End(epoch) => format!("end/{:020}", epoch.0),
        };
        self.put(&format!("{PREFIX}web/{name}"), bytes);
    }
}

impl Server for Alone {
    fn socket(&self) -> SocketAddr {
        self.servers().parse().unwrap()
    }

    fn by_way_of(&self, address: SocketAddr, deadline: Duration) -> EtcdCells {
        let place = etcd(&format!("etcd://{address},deadline_ms={}", deadline.as_millis()));
        loop {
            // On a slow machine the server may answer too late.
            if let Ok(cells) = EtcdCells::open(&place) {
                return cells;
            }
        }
    }

    fn kill(&self) {
        self.0.borrow_mut().kill(0);
    }

    fn restart(&self) {
        self.0.borrow_mut().restart(0);
    }

    fn stand(&self, still: bool) {
        self.0.borrow().stand(0, still);
    }
}

#[test]
fn nothing_stays_behind_but_claims_ends_and_the_identity() {
    let place = Alone::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    expect(&mut arbiter, &claim(1, 2), LOST);
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    let keys = [
        "/lockstep/arbiter/1/web/claim/00000000000000000001",
        "/lockstep/arbiter/1/web/end/00000000000000000001",
        "/lockstep/arbiter/1/web/id",
    ];
    assert_eq!(place.keys(), keys);
}

#[test]
fn a_cluster_that_cannot_be_used_is_said_so_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none").display().to_string();
    for (text, sentence) in [
        (
            "etcd://127.0.0.1:9".to_owned(),
            "cannot be used; both hosts must reach it",
        ),
        (format!("etcds://127.0.0.1:9,ca={none}"), "none cannot be read"),
        (
            format!("etcd://127.0.0.1:9,user=u,password_file={none}"),
            "with etcd's password cannot be read",
        ),
        (
            "etcd://no-such-host.invalid:1".to_owned(),
            "no-such-host.invalid had no address at the start",
        ),
    ] {
        let error = EtcdArbiter::open(&etcd(&text), Process::here(None)).unwrap_err();
        let told = os::error::chain(&error);
        assert!(told.contains(sentence), "{told}");
        assert!(!error.is_refusal());
    }
}

#[test]
fn servers_are_called_by_the_names_that_they_had_at_the_start() {
    let place = Alone::new();
    // The server's own address cannot be had by a name here, but a name leads to a relay before it.
    let relay = crate::relay::Relay::before(place.socket());
    let by_name = format!("etcd://localhost:{}", relay.address().port());
    let mut arbiter = EtcdArbiter::open(&etcd(&by_name), Process::here(None)).unwrap();
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    assert_eq!(last(&mut crate::arbiter(&place)), Some((1, 1)));
}

#[test]
fn a_mark_is_seen_at_its_cluster_alone_and_its_vms_are_told() {
    let (here, there) = (Alone::new(), Alone::new());
    let places = [&here, &there].map(|place| place.address().parse::<arbiter::Place>().unwrap());
    let mark = Mark::leave(&places[0]).unwrap();
    assert!(sees(&places[0], mark.name()).unwrap());
    assert!(!sees(&places[1], mark.name()).unwrap());
    assert!(!sees(&places[0], "web/id").unwrap());
    drop(mark);
    assert_eq!(here.keys(), [""; 0]);
    let mut arbiter = arbiter(&here);
    for name in ["web", "shop"] {
        let name = VmName::new(name).unwrap();
        assert_eq!(arbiter.claim(&name, &claim(1, 1)).verdict, Verdict::Won);
    }
    let names = places[0].vms().unwrap();
    assert_eq!(
        names.iter().map(VmName::as_str).collect::<Vec<_>>(),
        ["shop", "web"]
    );
}

#[test]
fn keys_of_others_are_no_claims() {
    let place = Alone::new();
    let claims = format!("{PREFIX}web/claim/");
    for name in [
        "1",
        "00000000000000000xyz",
        "000000000000000000009",
        "99999999999999999999",
    ] {
        place.put(&format!("{claims}{name}"), b"x");
    }
    place.put(&format!("{PREFIX}webx/claim/00000000000000000004"), b"x");
    place.put("/lockstep/1/vms/web/spec", b"x");
    let mut arbiter = arbiter(&place);
    assert_eq!(arbiter.last(&vm()).unwrap(), None);
    let webx = VmName::new("webx").unwrap();
    assert_eq!(place.cells().last(&webx).unwrap(), Some(Epoch(4)));
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 1, &mut |_| {}).unwrap(),
        Epoch(1)
    );
    // Behind so many keys of others the last claim is not looked for.
    for number in 0..CLAIMS_LISTED {
        place.put(&format!("{claims}x{number}"), b"x");
    }
    let error = arbiter.last(&vm()).unwrap_err().to_string();
    assert!(
        error.contains("that are no claims of Lockstep; look at them"),
        "{error}"
    );
    expect(&mut arbiter, &claim(2, 1), Verdict::Unreachable);
}

#[test]
fn old_claims_are_removed_but_never_the_newest_ones_nor_the_identity() {
    let place = Alone::new();
    let mut cells = place.cells();
    for epoch in (1..=250).map(Epoch) {
        for cell in [Cell::Claim(epoch), Cell::End(epoch)] {
            assert_eq!(cells.create(&vm(), cell, b"old").unwrap(), Created::Now);
        }
        cells.collect(&vm());
    }
    let mut arbiter = arbiter(&place);
    for epoch in 251..=300 {
        expect(&mut arbiter, &claim(epoch, 1), Verdict::Won);
    }
    let numbers = |kind: &str| -> Vec<u64> {
        let start = format!("{PREFIX}web/{kind}/");
        let keys = place.keys();
        let digits = keys.iter().filter_map(|key| key.strip_prefix(&start));
        digits.map(|digits| digits.parse().unwrap()).collect()
    };
    assert_eq!(numbers("claim"), (45..=300).collect::<Vec<u64>>());
    assert_eq!(numbers("end"), (45..=250).collect::<Vec<u64>>());
    assert!(place.keys().contains(&format!("{PREFIX}web/id")));
    // What is left is as true as before.
    assert_eq!(last(&mut arbiter), Some((300, 1)));
    expect(&mut arbiter, &claim(280, 2), LOST);
    expect(&mut arbiter, &claim(7, 2), LOST);
    expect(&mut arbiter, &claim_after(301, 2, 1), Verdict::Won);
}

#[test]
fn what_etcd_forgets_of_earlier_revisions_is_no_claim() {
    let place = Alone::new();
    let mut arbiter = arbiter(&place);
    for epoch in 1..=3 {
        expect(&mut arbiter, &claim(epoch, 1), Verdict::Won);
    }
    let newest = place
        .client()
        .range(&Keys::Prefix(Vec::new()), 1)
        .unwrap()
        .revision;
    place.0.borrow().compact(newest.0);
    assert_eq!(last(&mut arbiter), Some((3, 1)));
    expect(&mut arbiter, &claim(2, 2), LOST);
    expect(&mut arbiter, &claim(2, 1), Verdict::Won);
}

#[test]
fn one_server_of_three_may_die_and_without_two_nothing_is_decided() {
    let mut cluster = Cluster::start(3);
    let text = format!("etcd://{},deadline_ms=2000", servers(&cluster));
    let mut ours = EtcdArbiter::open(&etcd(&text), Process::here(None)).unwrap();
    let mut others = EtcdArbiter::open(&etcd(&text), Process::here(None)).unwrap();
    // While a leader is chosen, or where the machine is slow, nobody decides.
    let until_decided = |arbiter: &mut EtcdArbiter, epoch, owner| {
        loop {
            match arbiter.claim(&vm(), &claim(epoch, owner)).verdict {
                Verdict::Unreachable => {}
                verdict => return verdict,
            }
        }
    };
    assert_eq!(until_decided(&mut ours, 1, 1), Verdict::Won);
    cluster.kill(0);
    assert_eq!(until_decided(&mut others, 1, 2), LOST);
    assert_eq!(until_decided(&mut others, 2, 2), Verdict::Won);
    cluster.kill(1);
    for _ in 0..2 {
        expect(&mut ours, &claim(2, 1), Verdict::Unreachable);
        expect(&mut others, &claim(3, 2), Verdict::Unreachable);
    }
    assert!(ours.last(&vm()).is_err() && ours.check(&vm(), Epoch(1), 1).is_err());
    cluster.restart(1);
    assert_eq!(until_decided(&mut ours, 2, 1), LOST);
    // The question for epoch 3 may have been done since.
    let ours_won = until_decided(&mut ours, 3, 1) == Verdict::Won;
    let others_won = until_decided(&mut others, 3, 2) == Verdict::Won;
    assert_ne!(ours_won, others_won);
}

#[test]
fn a_user_needs_the_right_to_its_prefix_and_no_other() {
    let place = Alone::new();
    let dir = tempfile::tempdir().unwrap();
    let ask = |path: &str, body: &str| place.0.borrow().ask(path, body);
    ask("/v3/auth/role/add", "{\"name\":\"shop\"}");
    // From "/shop/" to before "/shop0", in Base64.
    let right = "{\"permType\":\"READWRITE\",\"key\":\"L3Nob3Av\",\"range_end\":\"L3Nob3Aw\"}";
    ask(
        "/v3/auth/role/grant",
        &format!("{{\"name\":\"shop\",\"perm\":{right}}}"),
    );
    ask("/v3/auth/user/add", "{\"name\":\"shop\",\"password\":\"secret\"}");
    ask("/v3/auth/user/grant", "{\"user\":\"shop\",\"role\":\"shop\"}");
    ask("/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}");
    ask("/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    ask("/v3/auth/enable", "{}");

    let (good, wrong) = (dir.path().join("good"), dir.path().join("wrong"));
    fs::write(&good, "secret\n").unwrap();
    fs::write(&wrong, "guess\n").unwrap();
    let open = |options: &str| {
        let text = format!("{}{options}", place.address());
        EtcdArbiter::open(&etcd(&text), Process::here(None))
    };
    let user = |file: &std::path::Path| format!(",user=shop,password_file={}", file.display());
    for options in [
        ",prefix=/shop/".to_owned(),
        format!(",prefix=/shop/{}", user(&wrong)),
        user(&good),
        format!(",prefix=/shops/{}", user(&good)),
    ] {
        let told = os::error::chain(&open(&options).unwrap_err());
        assert!(
            told.contains("its user must be allowed to read and write there"),
            "{told}"
        );
        assert!(told.contains("refuses"), "{told}");
    }
    let mut arbiter = open(&format!(",prefix=/shop/{}", user(&good))).unwrap();
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    assert_eq!(last(&mut arbiter), Some((1, 1)));
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    // A server forgets its tokens when it ends, and the password is known.
    place.kill();
    place.restart();
    fs::remove_file(&good).unwrap();
    expect(&mut arbiter, &claim(2, 1), Verdict::Won);
}

#[test]
fn servers_with_certificates_are_asked_by_those_who_have_one() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let cluster = Cluster::start_with(1, "https", &|addresses| pki.options(addresses));
    let (ca, client) = (pki.ca.display(), pki.client());
    let base = format!("etcds://{},ca={ca},deadline_ms={LONG_MS}", servers(&cluster));
    let shown = format!(
        ",certificate={},certificate_key={}",
        client.certificate.display(),
        client.key.display()
    );
    let mut arbiter = EtcdArbiter::open(&etcd(&format!("{base}{shown}")), Process::here(None)).unwrap();
    assert!(EtcdArbiter::open(&etcd(&base), Process::here(None)).is_err());
    // Files are read once, at the start.
    fs::remove_file(client.key).unwrap();
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    assert_eq!(last(&mut arbiter), Some((1, 1)));
}
