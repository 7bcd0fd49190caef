//! What was decided is carried out: processes are started, other hosts asked for reservations, and orders
//! given to processes, each as an errand that comes back as something told.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Instant;

use caller::PATIENCE;
use control::{Answer as ControlAnswer, RequestId, Verb};
use hyper::Method;
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{Action, Decision, HostName, Now, Vm, Wall};
use serde::Deserialize;

use super::told::Order;
use super::{Mind, Told};
use crate::facts::Report;
use crate::limits::{AGENT_PATIENCE, REPORT_EVERY, RESERVATION_PATIENCE};
use crate::lock;
use crate::records::KindRecord;
use membership::client::{self, Answer, Connection, Question, Where};
use membership::problem::Problem;

/// The answer to a request for a reservation.
#[derive(Deserialize)]
struct Granted {
    address: SocketAddr,
}

impl Mind {
    /// Carries out what was decided for a VM.
    pub(super) fn act(&mut self, now: Now, vm: &Vm, decision: &Decision) {
        let name = vm.name().clone();
        let handled = self.handled.entry(name.clone()).or_default();
        handled.is_stuck = decision.stuck;
        match &decision.action {
            Action::Wait { .. } | Action::Nothing => {}
            Action::Start => self.start(now, &name),
            Action::Prepare { host } => self.reserve(now, vm, host),
            Action::Protect { .. } => {
                if let Some(to) = handled.address {
                    self.order(&name, decision.action.clone(), Verb::Protect { to });
                }
            }
            Action::MoveBackup { .. } => {
                if let Some(to) = handled.address {
                    self.order(&name, decision.action.clone(), Verb::MoveBackup { to });
                }
            }
            Action::HandOver { cause } => {
                let here = vm.seen.here.as_ref();
                if let Some(to) = here.and_then(|view| view.process.member().cloned()) {
                    self.note_swap(now, &name, &to, *cause);
                }
                self.order(&name, decision.action.clone(), Verb::Failover);
            }
            Action::Dismiss => self.order(&name, Action::Dismiss, Verb::Unprotect),
            Action::Stop { hard } => {
                let hard = *hard;
                self.order(&name, Action::Stop { hard }, Verb::Stop { hard });
            }
            Action::Reset => {
                let noted = vm.seen.hang.reset.as_ref().map(|reset| reset.at);
                // What nobody has asked for was noted.
                let noted = noted.filter(|_| vm.operation.is_none());
                self.order_as_noted(&name, Action::Reset, Verb::Reset, noted);
            }
            Action::NoteReset => handled.hang.note(now),
            Action::Decide => self.decide_test(now, vm),
            Action::Kill { epoch } => self.kill(now, vm, *epoch),
            Action::Pause => self.order(&name, Action::Pause, Verb::Pause),
            Action::Resume => self.order(&name, Action::Resume, Verb::Resume),
        }
    }

    /// Starts a VM's process here.
    fn start(&mut self, now: Now, vm: &VmName) {
        let Some(toml) = self.known.vm(vm).map(|(_, spec)| spec.value.toml.clone()) else {
            return;
        };
        let has_console = self.facts_of(vm).is_ok_and(|facts| facts.has_console);
        let started = lock(&self.processes).run(vm, &toml, has_console);
        match started {
            Ok(pid) => {
                let sentence = format!("{vm} is started here, process {pid}");
                self.happenings
                    .happened(now.wall.0, Some(vm.as_str()), "started", sentence);
                let handled = self.handled.entry(vm.clone()).or_default();
                handled.memory.starts(now.time);
                handled.hang.boots(now);
                handled.ending = None;
            }
            Err(error) => self
                .backoff
                .fail(now, vm, &self.me, &format!("cannot start it ({error})")),
        }
    }

    /// Hears of processes that have ended which this agent has started.
    pub(super) fn take_exits(&mut self) {
        let exits = lock(&self.processes).exits();
        for exit in exits {
            let (vm, code) = (exit.vm, exit.status.code());
            tracing::info!("a process of {vm} has ended ({}): {}", exit.status, exit.words);
            let Some(handled) = self.handled.get_mut(&vm) else {
                continue;
            };
            if exit.purpose == crate::processes::Purpose::Run && handled.memory.on_exit() {
                // It has not come to be live.
                if code != Some(0) {
                    self.backoff.fail(crate::scene::now(), &vm, &self.me, &exit.words);
                }
            }
        }
    }

    /// Asks another host for a reservation.
    fn reserve(&mut self, now: Now, vm: &Vm, host: &HostName) {
        let Some(to) = self.agent_of(host) else {
            return;
        };
        let name = vm.name().clone();
        let handled = self.handled.entry(name.clone()).or_default();
        handled.memory.asks(host, now.time);
        let body = serde_json::json!({ "vm": name.as_str(), "memory_bytes": vm.need.memory_bytes });
        let (tell, host) = (self.tell.clone(), host.clone());
        self.runtime.spawn(async move {
            let answer = ask_for_reservation(&to, body.to_string().into_bytes()).await;
            // Nobody listens any more when the agent ends.
            let _ = tell.send(Told::Reserved(name, host, answer));
        });
    }

    /// The number of the VM's operation, if it is of this kind: under it an order leaves no trace but its
    /// answer. An agent that dies before it has written the answer down gives the order again, and the
    /// process does it once.
    pub(super) fn number_of(&self, vm: &VmName, is_kind: fn(&KindRecord) -> bool) -> Option<String> {
        let record = self.known.vms.get(vm)?.operation.as_ref()?;
        is_kind(&record.value.kind).then(|| record.value.id.clone())
    }

    /// Gives an order to the VM's process here.
    fn order(&mut self, vm: &VmName, action: Action, verb: Verb) {
        self.order_as_noted(vm, action, verb, None);
    }

    /// The same; `noted`: when a reset was noted that nobody has asked for.
    fn order_as_noted(&mut self, vm: &VmName, action: Action, verb: Verb, noted: Option<Wall>) {
        tracing::info!("{vm}: {verb:?}");
        let handled = self.handled.entry(vm.clone()).or_default();
        handled.memory.orders(action.clone(), clock::now());
        // An agent that dies before it has written down that a reset was done gives that order again.
        let is_reset = verb == Verb::Reset;
        let operation = is_reset.then(|| self.number_of(vm, |kind| *kind == KindRecord::Reset));
        let operation = operation.flatten().filter(|_| noted.is_none());
        let asked = || operation.as_ref()?.parse().ok();
        let id = noted.map(|at| RequestId(u128::from(at.0))).or_else(asked);
        let id = id.unwrap_or_else(|| RequestId(os::entropy::random_u128()));
        let (sockets, tell, vm) = (self.sockets.clone(), self.tell.clone(), vm.clone());
        let order = Order {
            action,
            operation,
            noted,
        };
        let thread = std::thread::Builder::new().name("order".into()).spawn(move || {
            let answer = caller::process(&sockets, &vm)
                .map_err(|error| error.to_string())
                .and_then(|process| {
                    let answer = process.ask_once(id, &verb, PATIENCE);
                    answer.map_err(|error| error.to_string())
                });
            let result = match answer {
                Ok(ControlAnswer::Refused { sentence, .. } | ControlAnswer::Failed { sentence }) => {
                    Err(sentence)
                }
                Ok(_) => Ok(()),
                Err(sentence) => Err(sentence),
            };
            let _ = tell.send(Told::Ordered(vm, order, result));
        });
        if let Err(error) = thread {
            tracing::warn!("this host gives no more threads: {error}");
        }
    }

    /// Begins to ask each other agent for its report, again and again.
    pub(super) fn poll_others(&mut self) {
        let hosts: Vec<HostName> = self.known.hosts.keys().cloned().collect();
        for host in hosts {
            if self.polled.contains(&host) {
                continue;
            }
            let Some(to) = self.agent_of(&host) else {
                continue;
            };
            self.polled.insert(host.clone());
            let (tell, scene) = (self.tell.clone(), self.scene.subscribe());
            let mut asked = self.asked.clone();
            let tls = self.identity.client.clone();
            self.runtime.spawn(async move {
                let mut connection = None;
                let mut to = to;
                let mut after = None;
                loop {
                    if !poll(&to, &host, (&mut connection, &mut after), &tell).await {
                        return;
                    }
                    // Somebody may want to know at once; nobody does any more when the agent ends.
                    let _ = tokio::time::timeout(REPORT_EVERY, asked.changed()).await;
                    // The host may have got another address.
                    let known = scene.borrow().known.agent_of(&host, &tls);
                    to = known.unwrap_or(to);
                }
            });
        }
    }
}

/// Asks an agent for its report once; false: this agent ends. `after`: the number of what has happened there
/// last, as far as this agent was told; `None`: what has happened before is no news.
async fn poll(
    to: &Where,
    host: &HostName,
    (connection, after): (&mut Option<Connection>, &mut Option<u64>),
    tell: &Sender<Told>,
) -> bool {
    let path = after.map_or("/v1/local".into(), |after| format!("/v1/local?after={after}"));
    let began = Instant::now();
    let asked = tokio::time::timeout(AGENT_PATIENCE, async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(to).await?,
        };
        let answer = open.ask(&Question::get(&path), AGENT_PATIENCE).await?;
        *connection = Some(open);
        Ok::<Answer, membership::client::CallError>(answer)
    });
    let report = match asked.await {
        Ok(Ok(answer)) if answer.is_good() => serde_json::from_slice::<Report>(&answer.body).ok(),
        _ => None,
    };
    match report {
        Some(report) => {
            *after = Some(report.last_happened);
            let told = Told::Reported(host.clone(), Box::new(report), began.elapsed());
            tell.send(told).is_ok()
        }
        None => true,
    }
}

/// Asks an agent for a reservation; the sentence of an error is its own, or says that it gives none.
async fn ask_for_reservation(to: &Where, body: Vec<u8>) -> Result<SocketAddr, String> {
    let question = Question {
        method: Method::POST,
        path: "/v1/reservations".into(),
        body: Some(body),
        key: None,
        generation: None,
    };
    match client::question(to, &question, RESERVATION_PATIENCE).await {
        Ok(answer) if answer.is_good() => serde_json::from_slice::<Granted>(&answer.body)
            .map(|granted| granted.address)
            .map_err(|error| format!("gives an answer that cannot be read ({error})")),
        Ok(answer) => Err(serde_json::from_slice::<Problem>(&answer.body).map_or_else(
            |_| format!("has answered with status {}", answer.status),
            |refusal| refusal.detail,
        )),
        Err(error) => Err(format!("does not answer ({})", error.reason())),
    }
}
