//! What is said at a disk server's own door beside NBD: an arbiter's cells, which the server keeps as durably
//! as its fences. The logic of claims is the asker's (`arbiter`); a cell that claims an epoch is answered
//! only when the fence has been raised to that epoch and no older owner changes anything any more (FT 2.3-e).
//!
//! A message is a length of 4 bytes, big-endian as all fields here, and a body that begins with its kind.

use crate::limits::{CELL_LEN_MAX, CONTROL_LEN_MAX, TEXT_LEN_MAX, VM_LEN_MAX, VMS_MAX};
use crate::wire::{Fields, Write, shortened};

/// The byte by which a caller says that it wants to speak NBD.
pub const WANT_NBD: u8 = b'n';
/// The byte by which a caller says that it wants to ask questions.
pub const WANT_CONTROL: u8 = b'c';
/// Length of what stands before a body, in bytes.
pub const HEAD_LEN: usize = 4;

/// Name of a cell of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The identity of the VM.
    Id,
    /// The claim that has won this epoch.
    Claim(u64),
    /// That the owner of this epoch has ended, and why.
    End(u64),
}

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Write a cell, unless it has a value already.
    Create {
        /// The VM.
        vm: String,
        /// The cell.
        cell: Cell,
        /// The value; at most [`CELL_LEN_MAX`] bytes.
        value: Vec<u8>,
    },
    /// The value of a cell.
    Read {
        /// The VM.
        vm: String,
        /// The cell.
        cell: Cell,
    },
    /// The highest epoch of which there is a claim.
    Last {
        /// The VM.
        vm: String,
    },
    /// Remove claims that nobody can ask for any more.
    Collect {
        /// The VM.
        vm: String,
    },
    /// See that cells can be written.
    Refresh,
    /// The VMs of which there is anything.
    Vms,
    /// Leave a mark, by which others see that they ask the same server. It goes with the connection.
    LeaveMark,
    /// Is the mark of this name there?
    Sees {
        /// The mark's name.
        mark: String,
    },
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The cell has the value now, durably.
    Now,
    /// The cell had this other value before, durably.
    Before(Vec<u8>),
    /// The value of the cell; `None`: it has none.
    Value(Option<Vec<u8>>),
    /// The highest epoch of which there is a claim; `None`: there is none.
    Last(Option<u64>),
    /// The VMs of which there is anything, in the order of their names; those that a message has no room for
    /// are left out.
    Vms(Vec<String>),
    /// The name of the mark that was left.
    Mark(String),
    /// It is done, or it is there.
    Done,
    /// It could not be done, or nobody knows whether it is; a sentence says why.
    Failed(String),
}

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of another kind or length than this release knows")]
pub struct NotUnderstood;

/// Reads the length of a body from what stands before it.
///
/// # Errors
/// It is longer than any message.
pub fn body_len(head: [u8; HEAD_LEN]) -> Result<usize, NotUnderstood> {
    let length = u32::from_be_bytes(head) as usize;
    match (1..=CONTROL_LEN_MAX).contains(&length) {
        true => Ok(length),
        false => Err(NotUnderstood),
    }
}

fn message(kind: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_LEN];
    bytes.push(kind);
    fill(&mut bytes);
    let length = (bytes.len() - HEAD_LEN) as u32;
    bytes[..HEAD_LEN].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_length(bytes.len());
    out.extend_from_slice(bytes);
}

fn put_cell(out: &mut Vec<u8>, cell: Cell) {
    let (kind, epoch) = match cell {
        Cell::Id => (0, 0),
        Cell::Claim(epoch) => (1, epoch),
        Cell::End(epoch) => (2, epoch),
    };
    out.push(kind);
    out.put_u64(epoch);
}

fn take_cell(fields: &mut Fields<'_>) -> Option<Cell> {
    let kind = fields.bytes(1)?;
    let epoch = fields.u64()?;
    match (kind, epoch) {
        ([0], 0) => Some(Cell::Id),
        ([1], _) => Some(Cell::Claim(epoch)),
        ([2], _) => Some(Cell::End(epoch)),
        _ => None,
    }
}

fn take_bytes(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let length = fields.u32()? as usize;
    let bytes = fields.bytes(length)?;
    (length <= CELL_LEN_MAX).then(|| bytes.to_vec())
}

fn take_vm(fields: &mut Fields<'_>) -> Option<String> {
    let vm = fields.text()?;
    (vm.len() <= VM_LEN_MAX).then(|| vm.to_owned())
}

fn take_names(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !fields.0.is_empty() {
        names.push(take_vm(fields)?);
    }
    Some(names)
}

impl Question {
    /// The message, with its length.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Question::Create { vm, cell, value } => message(1, |out| {
                put_bytes(out, vm.as_bytes());
                put_cell(out, *cell);
                put_bytes(out, value);
            }),
            Question::Read { vm, cell } => message(2, |out| {
                put_bytes(out, vm.as_bytes());
                put_cell(out, *cell);
            }),
            Question::Last { vm } => message(3, |out| put_bytes(out, vm.as_bytes())),
            Question::Collect { vm } => message(4, |out| put_bytes(out, vm.as_bytes())),
            Question::Refresh => message(5, |_| {}),
            Question::Vms => message(6, |_| {}),
            Question::LeaveMark => message(7, |_| {}),
            Question::Sees { mark } => message(8, |out| put_bytes(out, mark.as_bytes())),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn parse(body: &[u8]) -> Result<Question, NotUnderstood> {
        let mut fields = Fields(body);
        let parsed = match fields.bytes(1) {
            Some([1]) => take_vm(&mut fields).and_then(|vm| {
                let cell = take_cell(&mut fields)?;
                let value = take_bytes(&mut fields)?;
                Some(Question::Create { vm, cell, value })
            }),
            Some([2]) => take_vm(&mut fields).and_then(|vm| {
                let cell = take_cell(&mut fields)?;
                Some(Question::Read { vm, cell })
            }),
            Some([3]) => take_vm(&mut fields).map(|vm| Question::Last { vm }),
            Some([4]) => take_vm(&mut fields).map(|vm| Question::Collect { vm }),
            Some([5]) => Some(Question::Refresh),
            Some([6]) => Some(Question::Vms),
            Some([7]) => Some(Question::LeaveMark),
            Some([8]) => take_vm(&mut fields).map(|mark| Question::Sees { mark }),
            _ => None,
        };
        parsed.filter(|_| fields.0.is_empty()).ok_or(NotUnderstood)
    }
}

impl Reply {
    /// The message, with its length.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        match self {
            Reply::Now => message(1, |_| {}),
            Reply::Before(value) => message(2, |out| put_bytes(out, value)),
            Reply::Value(None) => message(3, |_| {}),
            Reply::Value(Some(value)) => message(4, |out| put_bytes(out, value)),
            Reply::Last(None) => message(5, |_| {}),
            Reply::Last(Some(epoch)) => message(6, |out| out.put_u64(*epoch)),
            Reply::Done => message(7, |_| {}),
            Reply::Vms(names) => message(9, |out| {
                for name in names.iter().take(VMS_MAX) {
                    put_bytes(out, name.as_bytes());
                }
            }),
            Reply::Mark(name) => message(10, |out| put_bytes(out, name.as_bytes())),
            Reply::Failed(text) => message(8, |out| put_bytes(out, shortened(text, TEXT_LEN_MAX).as_bytes())),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn parse(body: &[u8]) -> Result<Reply, NotUnderstood> {
        let mut fields = Fields(body);
        let parsed = match fields.bytes(1) {
            Some([1]) => Some(Reply::Now),
            Some([2]) => take_bytes(&mut fields).map(Reply::Before),
            Some([3]) => Some(Reply::Value(None)),
            Some([4]) => take_bytes(&mut fields).map(|value| Reply::Value(Some(value))),
            Some([5]) => Some(Reply::Last(None)),
            Some([6]) => fields.u64().map(|epoch| Reply::Last(Some(epoch))),
            Some([7]) => Some(Reply::Done),
            Some([8]) => fields.text().map(|text| Reply::Failed(text.to_owned())),
            Some([10]) => take_vm(&mut fields).map(Reply::Mark),
            Some([9]) => take_names(&mut fields).map(Reply::Vms),
            _ => None,
        };
        parsed.filter(|_| fields.0.is_empty()).ok_or(NotUnderstood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &[u8]) -> &[u8] {
        let (head, body) = message.split_first_chunk().unwrap();
        assert_eq!(body_len(*head), Ok(body.len()));
        body
    }

    #[test]
    fn messages_are_understood_as_they_were_meant_and_never_when_cut_off() {
        let (vm, value) = (String::from("shop"), vec![7; 300]);
        let questions = [
            Question::Create {
                vm: vm.clone(),
                cell: Cell::Claim(9),
                value: value.clone(),
            },
            Question::Read {
                vm: vm.clone(),
                cell: Cell::Id,
            },
            Question::Read {
                vm: vm.clone(),
                cell: Cell::End(1 << 60),
            },
            Question::Last { vm: vm.clone() },
            Question::Collect { vm },
            Question::Refresh,
            Question::Vms,
            Question::LeaveMark,
            Question::Sees { mark: "0".repeat(32) },
        ];
        for question in questions {
            let message = question.message();
            assert_eq!(Question::parse(body(&message)), Ok(question.clone()));
            for end in 0..body(&message).len() {
                assert_ne!(Question::parse(&body(&message)[..end]), Ok(question.clone()));
            }
            assert_eq!(
                Question::parse(&[body(&message), &[0]].concat()),
                Err(NotUnderstood)
            );
        }
        for reply in [
            Reply::Now,
            Reply::Before(value.clone()),
            Reply::Value(None),
            Reply::Value(Some(value)),
            Reply::Last(None),
            Reply::Last(Some(7)),
            Reply::Done,
            Reply::Vms(vec!["mail".into(), "shop".into()]),
            Reply::Mark("0".repeat(32)),
            Reply::Failed("the disk is full".into()),
        ] {
            let message = reply.message();
            assert_eq!(Reply::parse(body(&message)), Ok(reply));
        }
    }

    #[test]
    fn no_message_is_longer_than_the_limit() {
        assert_eq!(body_len([0; 4]), Err(NotUnderstood));
        assert_eq!(body_len([1, 0, 0, 0]), Err(NotUnderstood));
        let longest = Question::Create {
            vm: "v".repeat(VM_LEN_MAX),
            cell: Cell::Claim(u64::MAX),
            value: vec![0; CELL_LEN_MAX],
        };
        assert!(Question::parse(body(&longest.message())).is_ok());
    }
}
