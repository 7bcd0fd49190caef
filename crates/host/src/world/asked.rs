//! What people ask of `World`, by keys typed at a console and by signals: input for the guest, or the end.

use machine::{Control, Input};
use replica::Event;

use super::{Order, World};
use console::{Typed, Want};
use report::{Course, Happening, Wish};

impl World {
    /// What is taken from the consoles of a guest that has so much room. An answer to a question is not for
    /// the guest, so it need not wait for the guest's room.
    #[must_use]
    pub fn wants_typed(&self, room: usize) -> Want {
        if self.operator.has_asked() {
            Want::Answer
        } else {
            Want::Next { room }
        }
    }

    /// Does what was typed at a console asks for.
    pub fn on_typed(&mut self, port: u8, typed: Typed, handle: &mut dyn FnMut(Event)) -> Order {
        let role = self.reporter.role();
        match typed {
            Typed::Quit => {
                let course = self.operator.wants_the_end(Wish::Console, role);
                self.take_course(Wish::Console, course, handle)
            }
            Typed::Bytes(bytes) if self.operator.has_asked() => {
                // The first key is the answer; what was typed along with it is dropped.
                let key = bytes.first().copied().unwrap_or_default();
                let course = self.operator.answers(key, role);
                self.take_course(Wish::Console, course, handle)
            }
            // A backup's guest gets its inputs from the log alone: what is typed here is dropped.
            _ if !self.live => {
                self.consoles.tell_idle(port);
                Order::GoOn
            }
            Typed::Bytes(bytes) => {
                handle(Event::Input(Input::Console { port, bytes }));
                Order::GoOn
            }
            Typed::Break => {
                handle(Event::Input(Input::Break { port }));
                Order::GoOn
            }
        }
    }

    /// Says what follows from the operator's wish, and does it.
    pub(super) fn take_course(&mut self, by: Wish, course: Course, handle: &mut dyn FnMut(Event)) -> Order {
        let role = self.reporter.role().into();
        self.reporter.happened(Happening::Stop { by, role, course });
        match course {
            Course::Explain | Course::AskBack | Course::GoOn => {}
            Course::Leave => handle(Event::Leave),
            Course::PowerOff => handle(Event::Input(Input::Control(Control::PowerOff))),
            Course::Quit => return Order::Quit,
        }
        Order::GoOn
    }

    /// Pulls the guest's plug, as a caller of the control socket wants.
    pub fn pull_plug(&mut self, handle: &mut dyn FnMut(Event)) {
        self.operator.pulls_the_plug();
        self.take_course(Wish::Control, Course::PowerOff, handle);
    }
}
