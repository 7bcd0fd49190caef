//! Walks through a maintainer script as a shell would at a first installation, without running anything.
//!
//! `mod.rs` hands in the script of each package; what is asked is answered by `conditions`, and what is done
//! is done by `account_tools` and `file_tools` to the guest's accounts and files. Where it is not known which
//! way a script goes, both ways are walked, and files are then left alone. Whatever a script would do that
//! was not done is noted. No program of the host or of the guest may be run here, and no walk may be endless.

use std::collections::{BTreeMap, BTreeSet};

use super::forms::{List, Node, Script, Simple, Word, matches};
use super::syntax;
use super::world::{Argument, Deed, Outcome, World};
use super::{account_tools, conditions, file_tools};
use crate::tree;

/// Number of commands through which one script is followed.
const COMMANDS_MAX: usize = 20_000;

/// Depth to which functions may call each other.
const CALLS_MAX: usize = 20;

/// Programs and built-in commands that have nothing to do in an appliance: they only look, or they see to
/// services, caches, menus and the package system's own files, none of which an appliance has.
#[rustfmt::skip]
const IDLE: [&str; 83] = [
    "aa-status", "apparmor_parser", "awk", "basename", "break", "cat", "cd", "chroot", "cmp", "continue",
    "cut", "date", "deb-systemd-helper", "deb-systemd-invoke", "depmod", "df", "diff", "dirname", "dpkg",
    "dpkg-divert", "dpkg-maintscript-helper", "dpkg-query", "dpkg-trigger", "echo", "egrep", "expr",
    "fgrep", "find", "getcap", "getopts", "grep", "head", "hostname", "initctl", "install-info",
    "invoke-rc.d", "ischroot", "kill", "ldconfig", "logger", "ls", "md5sum", "mktemp", "mountpoint",
    "pgrep", "pidof", "printf", "ps", "pwd", "py3clean", "py3compile", "readlink", "realpath", "restorecon",
    "runit-helper", "runlevel", "sed", "seq", "service", "sha256sum", "sleep", "sort", "ss",
    "start-stop-daemon", "stat", "sync", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "tail", "tr",
    "trap", "true", "ucfq", "ucfr", "udevadm", "umask", "uname", "uniq", "update-initramfs",
    "update-passwd", "update-rc.d", "wc",
];

/// Programs that make keys and certificates.
#[rustfmt::skip]
const KEYS: [&str; 9] = [
    "certtool", "gnutls-certtool", "gpg", "make-ssl-cert", "openssl", "rndc-confgen", "ssh-keygen",
    "update-ca-certificates", "uuidgen",
];

/// Commands that run the command in their arguments.
const WRAPPERS: [&str; 6] = ["builtin", "env", "exec", "nice", "sudo", "xargs"];

/// Names of directories and devices in which nothing of a script lasts.
const PASSING: [&str; 3] = ["/dev/", "/proc/", "/tmp/"];

/// What was not done, and the commands that would have done it.
pub type Left = BTreeMap<Deed, BTreeSet<String>>;

/// How a walk goes on after a command.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    /// With the next command. Whether this one succeeded, if that is known.
    Next(Option<bool>),
    /// Not at all in this function.
    Return,
    /// Not at all.
    Exit,
}

/// A walk through one script.
pub struct Rehearsal<'a, 'w> {
    pub(super) world: &'a mut World<'w>,
    left: &'a mut Left,
    /// The variables that were set; `None` for a value that is not known.
    pub(super) variables: BTreeMap<String, Argument>,
    /// The arguments of the script, and of each function that is being called.
    pub(super) arguments: Vec<Vec<Argument>>,
    functions: BTreeMap<String, Node>,
    heres: Vec<Option<String>>,
    /// What the commands between the parentheses of `$( )` have printed so far, if that is known.
    pub(super) output: Argument,
    /// Does an installation come to this command for sure?
    is_certain: bool,
    commands: usize,
}

/// Walks through `script` of `package`, which is called with `arguments`.
pub fn walk(script: &Script, package: &str, arguments: &[&str], world: &mut World<'_>, left: &mut Left) {
    let known = |text: &str| Some(text.to_owned());
    let variables = [
        ("DPKG_MAINTSCRIPT_PACKAGE", known(package)),
        ("DPKG_ROOT", known("")),
        ("HOME", known("/root")),
        ("PATH", None),
    ];
    let mut rehearsal = Rehearsal {
        world,
        left,
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        arguments: vec![arguments.iter().map(|word| known(word)).collect()],
        functions: BTreeMap::new(),
        heres: script.heres.clone(),
        output: None,
        is_certain: true,
        commands: 0,
    };
    rehearsal.list(&script.list);
}

impl Rehearsal<'_, '_> {
    fn list(&mut self, list: &List) -> Flow {
        let mut status = Some(true);
        for node in list {
            match self.node(node) {
                Flow::Next(next) => status = next,
                end => return end,
            }
        }
        Flow::Next(status)
    }

    /// What commands print that have a shell of their own, whose end is not the end of the script.
    pub(super) fn output_of(&mut self, list: &List) -> Argument {
        let before = (self.variables.clone(), self.output.replace(String::new()));
        let _ = self.list(list);
        let printed = self.output.take();
        (self.variables, self.output) = before;
        printed.map(|text| text.trim_end_matches('\n').to_owned())
    }

    fn node(&mut self, node: &Node) -> Flow {
        self.commands += 1;
        if self.commands > COMMANDS_MAX {
            return Flow::Exit;
        }
        match node {
            Node::Simple(simple) => self.simple(simple),
            Node::Group(list) => self.list(list),
            Node::Pipe(list) => {
                // Each part has a shell of its own, so what it sets is lost.
                let before = self.variables.clone();
                let mut printed = self.output.take();
                for (index, part) in list.iter().enumerate() {
                    let read = self.output.replace(String::new()).filter(|_| index > 0);
                    match read.and_then(|read| self.cut(part, &read)) {
                        Some(text) => self.output = Some(text),
                        None => drop(self.node(part)),
                    }
                }
                match (&mut printed, self.output.take()) {
                    (Some(printed), Some(text)) => printed.push_str(&text),
                    _ => printed = None,
                }
                self.output = printed;
                self.variables = before;
                Flow::Next(None)
            }
            Node::Not(node) => match self.node(node) {
                Flow::Next(status) => Flow::Next(status.map(|status| !status)),
                end => end,
            },
            Node::And(left, right) | Node::Or(left, right) => {
                let goes_on = matches!(node, Node::And(..));
                match self.node(left) {
                    Flow::Next(Some(status)) if status == goes_on => self.node(right),
                    Flow::Next(None) => {
                        let status = self.perhaps(|walk| walk.node(right));
                        // Where only success leads on, or only failure, the other way is decided.
                        Flow::Next(status.filter(|status| *status != goes_on))
                    }
                    flow => flow,
                }
            }
            Node::If { branches, otherwise } => self.conditional(branches, otherwise),
            Node::Case { word, arms } => self.case(word, arms),
            Node::For { name, words, body } => self.repetition(name, words, body),
            Node::Loop { condition, body } => {
                self.perhaps(|walk| {
                    walk.list(condition);
                    walk.list(body)
                });
                Flow::Next(None)
            }
            Node::Function { name, body } => {
                self.functions.insert(name.clone(), (**body).clone());
                Flow::Next(Some(true))
            }
        }
    }

    /// Walks a way on which it is not known whether an installation goes there.
    fn perhaps(&mut self, walk: impl FnOnce(&mut Self) -> Flow) -> Option<bool> {
        let (was_certain, before, printed) = (self.is_certain, self.variables.clone(), self.output.clone());
        self.is_certain = false;
        let flow = walk(self);
        self.is_certain = was_certain;
        self.output = self.output.take().filter(|_| printed == self.output);
        // A variable that has another value now has an unknown one.
        for (name, value) in &mut self.variables {
            let was = before.get(name).cloned().unwrap_or_else(|| Some(String::new()));
            if *value != was {
                *value = None;
            }
        }
        match flow {
            Flow::Next(status) => status,
            Flow::Return | Flow::Exit => None,
        }
    }

    fn conditional(&mut self, branches: &[(List, List)], otherwise: &List) -> Flow {
        let Some(((condition, body), rest)) = branches.split_first() else {
            return self.list(otherwise);
        };
        match self.list(condition) {
            Flow::Next(Some(true)) => self.list(body),
            Flow::Next(Some(false)) => self.conditional(rest, otherwise),
            Flow::Next(None) => {
                self.perhaps(|walk| walk.list(body));
                self.perhaps(|walk| walk.conditional(rest, otherwise));
                Flow::Next(None)
            }
            end => end,
        }
    }

    fn case(&mut self, word: &Word, arms: &[(Vec<Word>, List)]) -> Flow {
        let value = self.joined(word);
        for (patterns, body) in arms {
            let patterns: Vec<Argument> = patterns.iter().map(|pattern| self.joined(pattern)).collect();
            let hits = patterns
                .iter()
                .map(|pattern| Some(matches(pattern.as_deref()?, value.as_deref()?)));
            let hits: Vec<Option<bool>> = hits.collect();
            if hits.contains(&Some(true)) {
                return self.list(body);
            }
            if hits.contains(&None) {
                self.perhaps(|walk| walk.list(body));
            }
        }
        Flow::Next(value.map(|_| true))
    }

    fn repetition(&mut self, name: &str, words: &[Word], body: &List) -> Flow {
        let values: Vec<Argument> = words.iter().flat_map(|word| self.fields(word)).collect();
        for value in values {
            let is_known = value.is_some();
            self.variables.insert(name.to_owned(), value);
            let flow = if is_known {
                self.list(body)
            } else {
                Flow::Next(self.perhaps(|walk| walk.list(body)))
            };
            if !matches!(flow, Flow::Next(_)) {
                return flow;
            }
        }
        Flow::Next(None)
    }

    fn simple(&mut self, simple: &Simple) -> Flow {
        for (name, word) in &simple.assignments {
            let value = self.joined(word);
            self.variables.insert(name.clone(), value);
        }
        let words: Vec<Argument> = simple.words.iter().flat_map(|word| self.fields(word)).collect();
        if let Some(flow) = self.write(simple, &words) {
            return flow;
        }
        match words.split_first() {
            None => Flow::Next(Some(true).filter(|_| simple.assignments.is_empty())),
            Some((Some(name), arguments)) => self.command(name, arguments),
            Some((None, _)) => {
                self.note(Deed::Program, "a program whose name is not known here");
                Flow::Next(None)
            }
        }
    }

    /// Writes the file to which a command's output goes, if it goes to one; `None`: it does not.
    fn write(&mut self, simple: &Simple, words: &[Argument]) -> Option<Flow> {
        let mut paths = simple
            .writes
            .iter()
            .map(|word| self.joined(word))
            .collect::<Vec<_>>();
        paths.retain(|path| {
            let is_passing = |path: &str| PASSING.iter().any(|place| path.starts_with(place));
            path.as_deref().is_none_or(|path| !is_passing(path))
        });
        let path = paths.pop()?;
        let name = words.first().cloned().flatten();
        let text = match (name.as_deref(), simple.here, words) {
            (Some("cat"), Some(here), [_]) => self.heres.get(here).cloned().flatten(),
            (Some(":") | None, None, _) => Some(String::new()),
            (Some("cat"), None, [_, Some(null)]) if null == "/dev/null" => Some(String::new()),
            (Some("echo"), None, [_, words @ ..]) if !words.iter().flatten().any(|w| w.starts_with('-')) => {
                let words: Option<Vec<&str>> = words.iter().map(|word| word.as_deref()).collect();
                words.map(|words| words.join(" ") + "\n")
            }
            _ => None,
        };
        // A file whose name is not known here is a temporary one: nothing else has such a name.
        let place = self.world.target(&path?);
        match (text, place) {
            (Some(text), Some(place)) if self.is_certain => self.world.tree.insert_file(&place, 0o644, text),
            _ => self.note(Deed::Files, name.as_deref().unwrap_or("a redirection")),
        }
        Some(Flow::Next(Some(true)))
    }

    fn command(&mut self, name: &str, arguments: &[Argument]) -> Flow {
        if WRAPPERS.contains(&name) {
            let is_of_wrapper = |word: &Argument| {
                let word = word.as_deref().unwrap_or_default();
                word.starts_with('-') || word.contains('=') || WRAPPERS.contains(&word)
            };
            let words: Vec<Argument> = arguments
                .iter()
                .skip_while(|word| is_of_wrapper(word))
                .cloned()
                .collect();
            // What xargs adds to the words is not known.
            let added: &[Argument] = if name == "xargs" { &[None] } else { &[] };
            return match words.split_first() {
                None => Flow::Next(Some(true)),
                Some((Some(name), rest)) => self.command(name, &[rest, added].concat()),
                Some((None, _)) => Flow::Next(None),
            };
        }
        if let Some(function) = self.functions.get(name).cloned() {
            return self.call(&function, arguments);
        }
        match name {
            "exit" => return Flow::Exit,
            "return" => return Flow::Return,
            "local" | "export" | "readonly" | "declare" | "typeset" => {
                for (name, value) in arguments.iter().flatten().filter_map(|word| word.split_once('=')) {
                    self.variables.insert(name.to_owned(), Some(value.to_owned()));
                }
                return Flow::Next(Some(true));
            }
            "read" | "unset" => {
                let value = (name == "unset").then(String::new);
                for name in arguments.iter().flatten() {
                    self.variables.insert(name.clone(), value.clone());
                }
                return Flow::Next(None);
            }
            "shift" => {
                if let Some(arguments) = self.arguments.last_mut()
                    && !arguments.is_empty()
                {
                    arguments.remove(0);
                }
                return Flow::Next(Some(true));
            }
            "set" => {
                if arguments.first().and_then(|word| word.as_deref()) == Some("--")
                    && let Some(last) = self.arguments.last_mut()
                {
                    *last = arguments[1..].to_vec();
                }
                return Flow::Next(Some(true));
            }
            "." | "source" => return self.source(arguments),
            _ => {}
        }
        self.program(name, arguments)
    }

    /// Does what a program does that stands for itself.
    fn program(&mut self, name: &str, arguments: &[Argument]) -> Flow {
        if let Some(answer) = conditions::answer(self.world, name, arguments) {
            return Flow::Next(answer);
        }
        let tool = account_tools::run(self.world, name, arguments)
            .or_else(|| file_tools::run(self.world, name, arguments, self.is_certain));
        let short = name.rsplit('/').next().unwrap_or(name);
        let changes_in_place = |word: &Argument| word.as_deref().is_some_and(|word| word.starts_with("-i"));
        let outcome = match tool {
            Some(outcome) => outcome,
            None if short == "echo" => {
                self.echo(arguments);
                Outcome::DONE
            }
            None if short == "sed" && arguments.iter().any(changes_in_place) => Outcome::Left(Deed::Files),
            // Without debconf a question has no answer.
            None if short == "db_get" => Outcome::Done(Some(false)),
            None if IDLE.contains(&short) || short.starts_with("db_") => {
                self.output = None;
                Outcome::UNKNOWN
            }
            None if matches!(short, "ucf" | "tee" | "patch") => Outcome::Left(Deed::Files),
            None if short == "setcap" && arguments.first() == Some(&Some("-r".to_owned())) => {
                Outcome::UNKNOWN
            }
            None if matches!(short, "setcap" | "setfacl" | "chattr") => Outcome::Left(Deed::Owners),
            None if KEYS.contains(&short) => Outcome::Left(Deed::Keys),
            None => Outcome::Left(Deed::Program),
        };
        match outcome {
            Outcome::Done(status) => Flow::Next(status),
            Outcome::Left(deed) => {
                self.output = None;
                // What an interpreter runs says more than the interpreter.
                let is_interpreter = matches!(short, "sh" | "bash" | "perl" | "python3");
                let script = arguments.iter().flatten().find(|word| word.starts_with('/'));
                let script = script
                    .filter(|_| is_interpreter)
                    .and_then(|path| path.rsplit('/').next());
                self.note(deed, script.unwrap_or(short));
                Flow::Next(None)
            }
        }
    }

    /// Prints words into what `$( )` becomes.
    fn echo(&mut self, arguments: &[Argument]) {
        let no_newline = arguments.first() == Some(&Some("-n".to_owned()));
        let words: Option<Vec<&str>> = arguments[usize::from(no_newline)..]
            .iter()
            .map(|word| word.as_deref())
            .collect();
        match (&mut self.output, words) {
            (Some(output), Some(words)) => {
                output.push_str(&words.join(" "));
                output.push_str(if no_newline { "" } else { "\n" });
            }
            _ => self.output = None,
        }
    }

    fn call(&mut self, function: &Node, arguments: &[Argument]) -> Flow {
        if self.arguments.len() > CALLS_MAX {
            return Flow::Next(None);
        }
        self.arguments.push(arguments.to_vec());
        let flow = self.node(function);
        self.arguments.pop();
        match flow {
            Flow::Return => Flow::Next(None),
            flow => flow,
        }
    }

    /// Reads the functions of a file that the package system or a package offers to scripts.
    fn source(&mut self, arguments: &[Argument]) -> Flow {
        let path = arguments.first().cloned().flatten();
        let node = path.as_deref().and_then(|path| self.world.node(path));
        // debconf's functions are not in an appliance; they only ask and remember.
        let Some(tree::Node::File { data, .. }) = node else {
            return Flow::Next(Some(true));
        };
        match syntax::read(&String::from_utf8_lossy(data)) {
            Ok(script) => {
                // The numbers of here-documents are those of the file in which they stand.
                let heres = std::mem::replace(&mut self.heres, script.heres);
                let flow = self.list(&script.list);
                self.heres = heres;
                flow
            }
            Err(_) => {
                self.note(Deed::Program, path.as_deref().unwrap_or_default());
                Flow::Next(None)
            }
        }
    }

    fn note(&mut self, deed: Deed, command: &str) {
        self.left.entry(deed).or_default().insert(command.to_owned());
    }
}
