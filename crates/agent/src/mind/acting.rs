//! What was decided is carried out: processes are started, other hosts asked for reservations, and orders
//! given to processes, each as an errand that comes back as something told.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Instant;

use control::{Answer as ControlAnswer, PATIENCE, Verb};
use hyper::Method;
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{Action, Decision, HostName, Now, Vm};
use serde::Deserialize;

use super::{Mind, Ordered, Told};
use crate::client::{Answer, Connection, Question, Where};
use crate::facts::Report;
use crate::limits::{AGENT_PATIENCE, REPORT_EVERY, RESERVATION_PATIENCE};
use crate::lock;

/// The part of a problem (`api::problem`) that a caller needs.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

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
            Action::Protect { to } | Action::MoveBackup { to } => {
                let address = handled.prepared.as_ref().map(|(_, address)| *address);
                let Some(address) = address else {
                    return;
                };
                let verb = match decision.action {
                    Action::Protect { .. } => Verb::Protect { to: address },
                    _ => Verb::MoveBackup { to: address },
                };
                self.order(&name, verb, Some(to.clone()));
            }
            Action::HandOver { cause } => {
                let to = vm
                    .seen
                    .here
                    .as_ref()
                    .and_then(|view| view.process.member().cloned());
                if let Some(to) = &to {
                    self.note_swap(now, &name, to, *cause);
                }
                self.order(&name, Verb::Failover, to);
            }
            Action::Dismiss => self.order(&name, Verb::Unprotect, None),
            Action::Stop { hard } => self.order(&name, Verb::Stop { hard: *hard }, None),
            Action::Reset => self.order(&name, Verb::Reset, None),
            Action::Decide => self.decide_test(now, vm),
            Action::Kill { epoch } => self.kill(now, vm, *epoch),
            Action::Pause => self.order(&name, Verb::Pause, None),
            Action::Resume => self.order(&name, Verb::Resume, None),
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
                handled.starting = Some(now.time);
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
            if exit.purpose == crate::processes::Purpose::Run && handled.starting.take().is_some() {
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
        handled.asking = Some((host.clone(), now.time));
        let body = serde_json::json!({ "vm": name.as_str(), "memory_bytes": vm.need.memory_bytes });
        let (tell, host) = (self.tell.clone(), host.clone());
        self.runtime.spawn(async move {
            let answer = ask_for_reservation(&to, body.to_string().into_bytes()).await;
            // Nobody listens any more when the agent ends.
            let _ = tell.send(Told::Reserved(name, host, answer));
        });
    }

    /// Gives an order to the VM's process here.
    fn order(&mut self, vm: &VmName, verb: Verb, to: Option<HostName>) {
        tracing::info!("{vm}: {verb:?}");
        let handled = self.handled.entry(vm.clone()).or_default();
        handled.ordered = Some(Ordered {
            at: clock::now(),
            verb: verb.clone(),
            to,
        });
        let (sockets, tell, vm) = (self.sockets.clone(), self.tell.clone(), vm.clone());
        let thread = std::thread::Builder::new().name("order".into()).spawn(move || {
            let answer = control::process(&sockets, &vm)
                .map_err(|error| error.to_string())
                .and_then(|process| process.ask(&verb, PATIENCE).map_err(|error| error.to_string()));
            let result = match answer {
                Ok(ControlAnswer::Refused { sentence, .. } | ControlAnswer::Failed { sentence }) => {
                    Err(sentence)
                }
                Ok(_) => Ok(()),
                Err(sentence) => Err(sentence),
            };
            let _ = tell.send(Told::Ordered(vm, verb, result));
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
                loop {
                    if !poll(&to, &host, &mut connection, &tell).await {
                        return;
                    }
                    // Somebody may want to know at once; nobody does any more when the agent ends.
                    let _ = tokio::time::timeout(REPORT_EVERY, asked.changed()).await;
                    // The host may have got another address.
                    let card = scene.borrow().known.hosts.get(&host).cloned();
                    if let Some(card) = card {
                        to = Where::Host {
                            address: card.value.agent,
                            name: host.as_str().to_owned(),
                            tls: tls.clone(),
                        };
                    }
                }
            });
        }
    }
}

/// Asks an agent for its report once; false: this agent ends.
async fn poll(to: &Where, host: &HostName, connection: &mut Option<Connection>, tell: &Sender<Told>) -> bool {
    let began = Instant::now();
    let asked = tokio::time::timeout(AGENT_PATIENCE, async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(to).await?,
        };
        let answer = open.ask(&Question::get("/v1/local"), AGENT_PATIENCE).await?;
        *connection = Some(open);
        Ok::<Answer, crate::client::CallError>(answer)
    });
    let report = match asked.await {
        Ok(Ok(answer)) if answer.is_good() => serde_json::from_slice::<Report>(&answer.body).ok(),
        _ => None,
    };
    match report {
        Some(report) => {
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
    };
    let asked = tokio::time::timeout(RESERVATION_PATIENCE, async {
        Connection::open(to)
            .await?
            .ask(&question, RESERVATION_PATIENCE)
            .await
    });
    match asked.await {
        Ok(Ok(answer)) if answer.is_good() => serde_json::from_slice::<Granted>(&answer.body)
            .map(|granted| granted.address)
            .map_err(|error| format!("gives an answer that cannot be read ({error})")),
        Ok(Ok(answer)) => Err(serde_json::from_slice::<Refusal>(&answer.body).map_or_else(
            |_| format!("has answered with status {}", answer.status),
            |refusal| refusal.detail,
        )),
        Ok(Err(error)) => Err(format!("does not answer ({})", error.reason())),
        Err(_) => Err("has not answered in time".into()),
    }
}
