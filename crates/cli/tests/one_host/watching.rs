//! `/v1/watch`, `status --watch` and `events --follow`.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::terminal::pseudo_terminal;

/// The events of a stream.
struct Stream(BufReader<UnixStream>);

impl Stream {
    fn begin(host: &Host, query: &str, last: &str) -> Stream {
        let mut stream = UnixStream::connect(host.socket()).unwrap();
        let last = match last {
            "" => String::new(),
            last => format!("last-event-id: {last}\r\n"),
        };
        write!(stream, "GET /v1/watch{query} HTTP/1.1\r\nhost: a\r\n{last}\r\n").unwrap();
        Stream(BufReader::new(stream))
    }

    /// Name, number and data of the next event.
    fn event(&mut self) -> (String, String, Value) {
        let (mut event, mut id) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream has ended");
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            } else if let Some(number) = line.strip_prefix("id: ") {
                number.clone_into(&mut id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (event, id, serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[test]
fn a_listener_gets_a_snapshot_then_changes_and_goes_on_where_it_was() {
    let host = Host::new(44);
    let mut stream = Stream::begin(&host, "?topics=vm,operation", "");
    let (event, id, all) = stream.event();
    assert_eq!(event, "snapshot");
    assert_eq!(all["vms"], serde_json::json!([]));
    assert_eq!(all["site"]["host"], "a");
    let (of, number) = id.split_once(':').unwrap();
    assert!(of == "a" && number.parse::<u64>().is_ok(), "{id}");
    host.says("create {web.toml}", 0);
    let (event, first, vm) = stream.event();
    assert_eq!((event.as_str(), vm["name"].as_str()), ("vm", Some("web")));
    host.says("start web", 0);
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|(event, _, told): &(String, String, Value)| {
            event != "operation" || told["state"] != "done"
        })
    {
        seen.push(stream.event());
    }
    drop(stream);
    let mut again = Stream::begin(&host, "?topics=vm,operation", &first);
    for told in seen {
        assert_eq!(again.event(), told);
    }
    let mut strange = Stream::begin(&host, "", "b:7");
    assert_eq!(strange.event().0, "reset");
    assert_eq!(strange.event().0, "snapshot");
    let (status, head, problem) = host.asks("GET", "/v1/watch?topics=cpu", "", "");
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("bad-request")),
        "{head}"
    );
}

#[test]
fn a_table_that_is_watched_goes_on_when_the_agent_has_died_and_ends_with_a_signal() {
    let mut host = Host::new(45);
    host.says("create {web.toml}", 0);
    let mut objects = Shown::begin(&host, "status web --watch --json");
    let mut lines = Shown::begin(&host, "status --watch");
    let mut errors = BufReader::new(lines.child.stderr.take().unwrap());
    objects.object(|vm| vm["name"] == "web");
    assert!(lines.line().starts_with("TIME "));
    lines.line_with("  web  ");
    host.says("start web", 0);
    objects.object(|vm| vm["guest"] == "running" && vm["primary"]["host"] == "a");
    lines.line_with("  web  running");
    host.agent_dies();
    let mut error = String::new();
    errors.read_line(&mut error).unwrap();
    assert!(error.contains("is called again and again"), "{error}");
    host.begin_agent();
    error.clear();
    errors.read_line(&mut error).unwrap();
    assert_eq!(error, "lockstep: the agent answers again\n");
    host.says("pause web", 0);
    objects.object(|vm| vm["guest"] == "paused");
    lines.line_with("  web  paused");
    host.says("stop web --hard --yes", 0);
    host.says("delete web --yes", 0);
    objects.object(|gone| gone["topic"] == "vm" && gone["name"] == "web");
    lines.line_with("  web  deleted");
    for shown in [&mut objects, &mut lines] {
        kill_process(Pid::from_child(&shown.child), Signal::INT).unwrap();
        assert_eq!(shown.child.wait().unwrap().code(), Some(130));
    }
    assert!(host.says("status web --watch", 1).contains("no VM called web"));
}

#[test]
fn a_table_on_a_terminal_is_drawn_anew_in_its_place() {
    let host = Host::new(46);
    let (user, end) = pseudo_terminal();
    let mut command = host.command("status --watch");
    let mut child = command.stdout(Stdio::from(end)).spawn().unwrap();
    drop(command);
    let mut shown = BufReader::new(user);
    let mut until = |words: &str| {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            shown.read_line(&mut line).unwrap();
        }
    };
    until("there is no VM");
    host.says("create {web.toml}", 0);
    until("\u{1b}[H");
    until("web");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn events_are_followed_over_the_death_of_the_agent() {
    let mut host = Host::new(47);
    let mut events = Shown::begin(&host, "events --follow");
    events.object(|event| event["kind"] == "agent-started");
    host.says("create {web.toml}", 0);
    host.says("start web", 0);
    let started = events.object(|event| event["kind"] == "started");
    assert_eq!(started["vm"], "web");
    host.agent_dies();
    host.begin_agent();
    events.object(|event| event["kind"] == "agent-started");
    assert!(host.says("events", 0).contains("agent-started"));
}
