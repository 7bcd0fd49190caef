//! The disk equals the history (FT 3.4-a, FT 3.4-c).
//!
//! Requests go out once, and never two together that overlap; and in the end the content is what the guest's
//! requests in their order make of it. The first is judged at each request, the second from the tape of a
//! whole life. This check must not look into the disk of the world (`storage.rs`): it computes by itself what
//! a disk must be.

use std::collections::BTreeMap;

use machine::{DiskOperation, DiskRequest, DiskStatus, Effect, Input, Step};
use replica::DiskAnswer;

use toy_outside::{
    names::ProcessId,
    operation::{SECTOR, apply, extent},
};

use crate::{
    checker::{Check, Violation, ensure},
    subject::{At, Tape},
};

/// The requests that are at the disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// By process: its requests without an answer, by number.
    in_flight: BTreeMap<ProcessId, BTreeMap<u64, DiskRequest>>,
}

impl Disk {
    /// `who` hands out a request.
    ///
    /// # Errors
    /// If its guest did not submit it, has had its answer, or it overlaps one that is under way.
    pub fn on_issue(&mut self, who: ProcessId, request: &DiskRequest, tape: &Tape) -> Result<(), Violation> {
        let id = request.id;
        let submitted = tape.effects.iter().rev().find_map(|at| match &at.what {
            Effect::Disk(submitted) if submitted.id == id => Some(submitted),
            _ => None,
        });
        ensure(submitted == Some(request), Check::Disk, || {
            format!("{who} sends disk request {id} that its guest did not submit like this")
        })?;
        // A guest that is off takes no answer, and at the step at which it went off one may come after that.
        let off = tape
            .effects
            .last()
            .filter(|at| matches!(at.what, Effect::PoweredOff(_)));
        let had_answer = tape.inputs.iter().rev().any(|at| {
            let answers = matches!(at.what, Input::DiskDone { id: done, .. } if done == id);
            answers && off.is_none_or(|off| at.step < off.step)
        });
        ensure(!had_answer, Check::Disk, || {
            format!("{who} sends disk request {id} again though its guest has had the answer")
        })?;
        let in_flight = self.in_flight.entry(who).or_default();
        for earlier in in_flight.values() {
            ensure(
                !overlap(&earlier.operation, &request.operation),
                Check::Disk,
                || {
                    format!(
                        "{who} sends disk request {id} while {}, which it overlaps, is under way",
                        earlier.id
                    )
                },
            )?;
        }
        let twice = in_flight.insert(id, request.clone()).is_some();
        ensure(!twice, Check::Disk, || {
            format!("{who} sends disk request {id} twice")
        })
    }

    /// `who` hears the answer.
    pub fn on_answer(&mut self, who: ProcessId, answer: &DiskAnswer) {
        if let Some(in_flight) = self.in_flight.get_mut(&who) {
            in_flight.remove(&answer.id);
        }
    }
}

fn overlap(one: &DiskOperation, two: &DiskOperation) -> bool {
    let reads = |operation: &DiskOperation| matches!(operation, DiskOperation::Read { .. });
    let ((one_first, one_bytes), (two_first, two_bytes)) = (extent(one), extent(two));
    let end = |first: u64, bytes: usize| first + bytes.div_ceil(SECTOR) as u64;
    !(reads(one) && reads(two))
        && one_first < end(two_first, two_bytes)
        && two_first < end(one_first, one_bytes)
}

/// Checks a whole life: every read gave what the requests before it made of the disk, and so did the last
/// content.
///
/// A read may also show what a *later* request writes that overlaps it and was submitted before the read was
/// answered. The guest did not ask for an order of the two; and after a failover both may be reissued though
/// the write was done before.
///
/// # Errors
/// At the first difference.
pub fn check_history(tape: &Tape, content: &[u8]) -> Result<(), Violation> {
    let mut answers: BTreeMap<u64, Answer<'_>> = BTreeMap::new();
    for at in &tape.inputs {
        if let Input::DiskDone { id, status, data, .. } = &at.what {
            answers.entry(*id).or_insert(Answer {
                step: at.step,
                status: *status,
                data,
            });
        }
    }
    let requests: Vec<(Step, &DiskRequest)> = tape.effects.iter().filter_map(submitted).collect();
    let mut model = Model {
        content: vec![0; content.len()],
        unknown: vec![false; content.len() / SECTOR],
    };
    for (index, (_, request)) in requests.iter().enumerate() {
        model.apply(request, answers.get(&request.id), &requests[index + 1..])?;
    }
    let sectors = model.content.chunks(SECTOR).zip(content.chunks(SECTOR));
    for (sector, (wanted, found)) in sectors.enumerate() {
        ensure(model.unknown[sector] || wanted == found, Check::Disk, || {
            format!("sector {sector} is not what the guest wrote last")
        })?;
    }
    Ok(())
}

struct Answer<'a> {
    step: Step,
    status: DiskStatus,
    data: &'a [u8],
}

fn submitted(at: &At<Effect>) -> Option<(Step, &DiskRequest)> {
    match &at.what {
        Effect::Disk(request) => Some((at.step, request)),
        _ => None,
    }
}

/// What the disk must be, as far as it can be known.
struct Model {
    content: Vec<u8>,
    /// Sectors whose last change failed or was never answered: done or not, nobody can know.
    unknown: Vec<bool>,
}

impl Model {
    fn apply(
        &mut self,
        request: &DiskRequest,
        answer: Option<&Answer<'_>>,
        later: &[(Step, &DiskRequest)],
    ) -> Result<(), Violation> {
        let (first, bytes) = extent(&request.operation);
        let first = first as usize;
        let sectors = first..first + bytes.div_ceil(SECTOR);
        let reads = matches!(request.operation, DiskOperation::Read { .. });
        apply(&mut self.content, &request.operation, usize::MAX);
        match answer {
            Some(answer) if reads && answer.status == DiskStatus::Ok => {
                for (sector, found) in sectors.zip(answer.data.chunks(SECTOR)) {
                    let concurrent = later.iter().take_while(|(step, _)| *step <= answer.step);
                    ensure(self.may_be(sector, found, concurrent), Check::Disk, || {
                        format!(
                            "disk request {} read from sector {sector} what was not written last",
                            request.id
                        )
                    })?;
                }
            }
            _ if reads => {}
            Some(answer) if answer.status == DiskStatus::Ok => self.unknown[sectors].fill(false),
            _ => self.unknown[sectors].fill(true),
        }
        Ok(())
    }

    fn may_be<'a>(
        &self,
        sector: usize,
        found: &[u8],
        mut concurrent: impl Iterator<Item = &'a (Step, &'a DiskRequest)>,
    ) -> bool {
        let area = sector * SECTOR..(sector + 1) * SECTOR;
        let wrote = |(_, request): &(Step, &DiskRequest)| {
            let mut content = self.content.clone();
            apply(&mut content, &request.operation, usize::MAX);
            content[area.clone()] == *found
        };
        self.unknown[sector] || self.content[area.clone()] == *found || concurrent.any(wrote)
    }
}
