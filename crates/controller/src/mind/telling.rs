//! What the mind tells as happenings of its own: that it has begun, what has gone and come back, and what
//! became of the operations of its VMs. What happens to a VM is told by the VM's process.

use plan::{Host, Now};

use super::Mind;
use crate::records::{OperationRecord, OperationState};

impl Mind {
    /// Tells what has changed since the last look.
    pub(super) fn tell_changes(&mut self, now: Now, hosts: &[Host]) {
        let tell = |word: &str, sentence: String| self.happenings.happened(now.wall.0, None, word, sentence);
        let said = &mut self.said;
        if !said.has_begun {
            said.has_begun = true;
            tell("agent-started", format!("the agent of {} has begun", self.me));
            // It has read nothing yet, which is no news.
            said.is_directory_away = true;
            return;
        }
        let directory = self.directory_away.as_ref().map(|(_, why)| why);
        if said.is_directory_away != directory.is_some() {
            said.is_directory_away = directory.is_some();
            match directory {
                Some(why) => tell(
                    "directory-away",
                    format!("the site's directory does not answer: {why}"),
                ),
                None => tell("directory-back", "the site's directory answers".into()),
            }
        }
        let arbiter = self.arbiter_away.as_ref().map(|(_, why)| why);
        if said.is_arbiter_away != arbiter.is_some() {
            said.is_arbiter_away = arbiter.is_some();
            match arbiter {
                Some(why) => tell("arbiter-away", format!("the arbiter does not answer: {why}")),
                None => tell("arbiter-back", "the arbiter answers".into()),
            }
        }
        for host in hosts
            .iter()
            .filter(|host| host.heard.is_some() && host.name != self.me)
        {
            let is_silent = host.is_silent(now);
            if is_silent && said.silent.insert(host.name.clone()) {
                tell(
                    "host-lost",
                    format!("the agent of {} has not answered for some seconds", host.name),
                );
            } else if !is_silent && said.silent.remove(&host.name) {
                tell("host-back", format!("the agent of {} answers", host.name));
            }
        }
    }

    /// Tells what became of an operation.
    pub(super) fn tell_end(&self, operation: &OperationRecord) {
        let (kind, vm, by) = (operation.kind.word(), operation.vm.as_str(), &operation.asked.by);
        let reasons: Vec<&str> = operation
            .reasons
            .iter()
            .map(|reason| reason.sentence.as_str())
            .collect();
        let (word, what) = match operation.state {
            OperationState::Done => ("operation-done", "is done".to_owned()),
            OperationState::Failed => ("operation-failed", format!("has failed: {}", reasons.join("; "))),
            OperationState::Running | OperationState::Cancelled => return,
        };
        let sentence = format!("`{kind}` of {vm}, begun by {by}, {what}");
        self.happenings
            .happened(operation.ended_wall_ns, Some(vm), word, sentence);
    }
}
