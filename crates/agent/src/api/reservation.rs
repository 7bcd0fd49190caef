//! A reservation: another host's agent asks that a process wait here for one of its VMs. Only this agent
//! knows its host, so it grants or refuses, with a sentence.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Json;
use messages::vm_name::VmName;
use plan::limits::{BUFFER_BYTES, PROCESS_BYTES, RESERVE_PERMILLE};
use report::RoleWord;
use report::amount::rounded;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asking::Given;
use crate::limits::{LISTEN_LOOK, LISTEN_PATIENCE};
use controller::lock;
use controller::scene::Scene;
use membership::problem::OfReservation;
use membership::problem::Problem;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wanted {
    /// Name of the VM.
    pub vm: String,
    /// Size of its guest's memory, in bytes.
    pub memory_bytes: u64,
}

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Granted {
    /// Where a process waits for the VM: address and port.
    #[schema(value_type = String)]
    pub address: SocketAddr,
}

/// Have a process wait here for a VM of which this host is to hold the backup
///
/// Only another host's agent may ask for it.
#[utoipa::path(
    post,
    path = "/v1/reservations",
    tag = "between agents",
    request_body = Wanted,
    responses((status = 200, description = "A process waits for the VM", body = Granted), OfReservation)
)]
pub async fn reserve(Given(desk, wanted): Given<Wanted>) -> Result<Json<Granted>, Problem> {
    let vm = VmName::new(&wanted.vm).map_err(|error| Problem::new("bad-request", error.to_string()))?;
    consider(&desk.now(), &vm, wanted.memory_bytes)?;
    let waits = lock(&desk.processes).waiting(&vm);
    let pid = match waits {
        Some(pid) => pid,
        None => {
            let started = lock(&desk.processes).begin_to_wait(&vm);
            started.map_err(|error| refused(format!("no process can be started ({error})")))?
        }
    };
    let until = Instant::now() + LISTEN_PATIENCE;
    while Instant::now() < until {
        match lock(&desk.processes).listens(pid) {
            Ok(Some(address)) => return Ok(Json(Granted { address })),
            Ok(None) => {}
            Err(words) => return Err(refused(words)),
        }
        tokio::time::sleep(LISTEN_LOOK).await;
    }
    Err(refused(
        "a process that was to wait for the VM does not come to it".into(),
    ))
}

fn refused(sentence: String) -> Problem {
    Problem::new("host-refused", sentence)
}

/// Can this host hold the VM's backup?
fn consider(scene: &Scene, vm: &VmName, memory_bytes: u64) -> Result<(), Problem> {
    let me = scene.hosts.iter().find(|host| host.name == scene.me);
    let Some(me) = me.filter(|me| me.heard.is_some()) else {
        return Err(refused(
            "it has just started and does not know yet what runs there".into(),
        ));
    };
    if me.draining.is_some() {
        return Err(refused("it is being drained".into()));
    }
    let processes = scene.heard.get(&scene.me).map(|heard| &heard.report.processes);
    let has_half = processes.into_iter().flatten().any(|told| {
        told.status.name == vm.as_str() && !matches!(told.status.role, None | Some(RoleWord::Halted))
    });
    if has_half {
        return Err(refused("it holds a half of the VM already".into()));
    }
    let reserve = me.memory_bytes / 1000 * RESERVE_PERMILLE;
    let needed = memory_bytes + PROCESS_BYTES + BUFFER_BYTES + reserve;
    if me.free_bytes < needed {
        let (free, needed) = (rounded(me.free_bytes), rounded(needed));
        return Err(refused(format!("it has {free} free, {needed} needed")));
    }
    if me.protected >= me.protected_max {
        return Err(refused(format!(
            "it holds its limit of {} protected VMs",
            me.protected_max
        )));
    }
    Ok(())
}
