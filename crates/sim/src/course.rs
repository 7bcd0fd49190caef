//! The course of a world: it takes what comes next off the schedule and has it happen.
//!
//! Time passes here and nowhere else: `now` jumps to the next thing on the schedule. What then happens stands
//! in `turns` and `carry` (the processes), `surroundings` (what lies around them) and `mishap` (what goes
//! wrong). A world stands still for good once a rule is broken.

use replica::{Span, Time};

use crate::{schedule::What, subject::Subject, world::World};

impl<G: Subject> World<G> {
    /// Lets the world go on until `time`, or until a rule is broken.
    pub fn run_until(&mut self, time: Time) {
        self.run_while(time, |_| true);
    }

    /// Lets the world go on for a while.
    pub fn run_for(&mut self, span: Span) {
        self.run_until(self.now.after(span));
    }

    /// Lets the world go on while `condition` holds, until `time` at the latest. False if the condition still
    /// holds then, or if a rule was broken.
    pub fn run_while(&mut self, time: Time, condition: impl Fn(&World<G>) -> bool) -> bool {
        loop {
            if self.violation.is_some() {
                return false;
            }
            if !condition(self) {
                return true;
            }
            match self.schedule.next_at() {
                Some(next) if next <= time => self.step(),
                _ => {
                    self.now = self.now.max(time);
                    return false;
                }
            }
        }
    }

    /// Has the next thing on the schedule happen.
    fn step(&mut self) {
        let Some((at, what)) = self.schedule.take() else {
            return;
        };
        self.now = at;
        self.events += 1;
        match what {
            What::Turn(who, ticket) if self.process(who).ticket == ticket => self.turn(who, true),
            What::Act(who, ticket) if self.process(who).ticket == ticket => self.act(who),
            What::Turn(..) | What::Act(..) => {}
            What::Resume(who) => self.resume(who),
            What::Link(link, to) => self.on_link(link, to),
            What::Storage => self.on_storage(),
            What::Arbiter {
                who,
                claim,
                answers,
                unreachable,
            } => self.on_arbiter(who, claim, answers, unreachable),
            What::Check {
                who,
                epoch,
                answers,
                unreachable,
            } => self.on_check(who, epoch, answers, unreachable),
            What::Handshake(who, event) => self.on_handshake(who, event),
            What::Call(who) => self.on_call(who),
            What::Wanted {
                who,
                wanted,
                answers,
                unreachable,
            } => self.on_wanted(who, &wanted, answers, unreachable),
            What::Answered(who, answer) => self.on_answered(who, answer),
            What::GivenUp(who, owns) => self.on_given_up(who, owns),
            What::Founder => self.on_founder(),
            What::Keeper => self.on_keeper(),
            What::Errand(errand) => self.on_errand(errand),
            What::Deliver(who, event) => self.deliver(who, event),
            What::ToGuest(input) => self.on_frame_to_guest(input),
            What::ToClient(seq, content) => {
                let result = self.client.on_reply(self.now, seq, content);
                self.judge(result);
                self.client_appointment();
            }
            What::Client => self.on_client(),
            What::Typing => self.on_typing(),
            What::Ports(who) => self.on_ports(who),
            What::Notice(who, left) => self.on_notice(who, left),
            What::StrayNotice => self.on_stray_notice(),
            What::Fault(fault) if !self.healed => self.strike(&fault),
            What::Fault(_) => {}
        }
    }
}
