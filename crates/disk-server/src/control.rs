//! The questions that callers at the server's own door ask of it as an arbiter, and the replies.
//!
//! The cells are files in the server's state (`arbiter::DirectoryCells`). Behind a claim stands the fence:
//! the claimant is told of it only when the fence is raised to its epoch and no older owner changes anything
//! any more (FT 2.3-e), so a replica that hears that it has won writes to disks that nobody else does.

use std::io::{self, Read, Write};

use arbiter::{Cell, Cells, Created, DirectoryCells, Mark, Place, Record};
use block::control::{self, HEAD_LEN, Question, Reply};
use os::error;
use replica::{Epoch, VmName};

use crate::limits::MARKS_MAX;
use crate::site::Site;
use crate::stream::Stream;

/// Answers questions until the caller hangs up.
///
/// # Errors
/// The connection has broken, or the caller does not speak as it should.
pub fn serve(site: &Site, mut stream: &Stream) -> io::Result<()> {
    let mut marks = Vec::new();
    loop {
        let mut head = [0; HEAD_LEN];
        match stream.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut body = vec![0; control::body_len(head).map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        let question = Question::parse(&body).map_err(io::Error::other)?;
        let reply = answer(site, question, &mut marks).unwrap_or_else(Reply::Failed);
        stream.write_all(&reply.message())?;
    }
}

/// The reply to a question; a failure is a sentence. `marks`: those that the caller has left.
fn answer(site: &Site, question: Question, marks: &mut Vec<Mark>) -> Result<Reply, String> {
    let told = |error: arbiter::ArbiterError| error::chain(&error);
    let mut cells = DirectoryCells::open(&site.claims()).map_err(told)?;
    let named = |vm: &str| VmName::new(vm).map_err(|error| error.to_string());
    match question {
        Question::Create { vm, cell, value } => {
            let vm = named(&vm)?;
            let cell = cell_of(cell);
            let created = cells.create(&vm, cell, &value).map_err(told)?;
            if let Cell::Claim(epoch) = cell {
                let found = match &created {
                    Created::Now => &value,
                    Created::Before(found) => found,
                };
                raise(site, &vm, epoch, found)?;
            }
            Ok(match created {
                Created::Now => Reply::Now,
                Created::Before(found) => Reply::Before(found),
            })
        }
        Question::Read { vm, cell } => {
            let found = cells.read(&named(&vm)?, cell_of(cell)).map_err(told)?;
            Ok(Reply::Value(found))
        }
        Question::Last { vm } => {
            let found = cells.last(&named(&vm)?).map_err(told)?;
            Ok(Reply::Last(found.map(|epoch| epoch.0)))
        }
        Question::Collect { vm } => {
            cells.collect(&named(&vm)?);
            Ok(Reply::Done)
        }
        Question::Vms => {
            let found = cells.vms().map_err(told)?;
            Ok(Reply::Vms(found.iter().map(ToString::to_string).collect()))
        }
        Question::LeaveMark if marks.len() >= MARKS_MAX => Err("the caller has left too many marks".into()),
        Question::LeaveMark => {
            let mark = Mark::leave(&Place::Directory(site.claims())).map_err(told)?;
            let name = mark.name().to_owned();
            marks.push(mark);
            Ok(Reply::Mark(name))
        }
        Question::Sees { mark } => {
            let seen = arbiter::sees(&Place::Directory(site.claims()), &mark).map_err(told)?;
            Ok(if seen { Reply::Done } else { Reply::Value(None) })
        }
        // Opening the directory has shown that cells can be written.
        Question::Refresh => Ok(Reply::Done),
    }
}

/// Raises the fence around the VM's disks, if this server has any, to an epoch that was claimed.
fn raise(site: &Site, vm: &VmName, epoch: Epoch, claim: &[u8]) -> Result<(), String> {
    let Some(guard) = site.guard(vm) else {
        return Ok(());
    };
    // What is no claim gives nobody the epoch, and the claimant sees that.
    let Some(owner) = Record::owner_of(claim, vm, epoch) else {
        return Ok(());
    };
    guard.raise(epoch.0, owner).map_err(|error| error::chain(&error))
}

fn cell_of(cell: control::Cell) -> Cell {
    match cell {
        control::Cell::Id => Cell::Id,
        control::Cell::Claim(epoch) => Cell::Claim(Epoch(epoch)),
        control::Cell::End(epoch) => Cell::End(Epoch(epoch)),
    }
}
