//! What people ask of `World`, by keys typed at a console and by signals: input for the guest, or the end.

use machine::{Control, Input};
use replica::Event;

use super::{Order, World};
use console::{Typed, Want};
use report::{Course, Happening, Wish};

impl World {
    /// What is taken from the consoles of a guest that has so much room. An answer to a question is not for
    /// the guest, so it need not wait for the guest's room.
    fn wants_typed(&self, room: usize) -> Want {
        if self.operator.has_asked() {
            Want::Answer
        } else {
            Want::Next { room }
        }
    }

    /// Shows what the guest has written to a console. Callers of the control socket see the first one.
    pub(super) fn show_console(&mut self, port: u8, bytes: &[u8]) {
        self.consoles.write(port, bytes);
        if port == 0
            && let Some(socket) = &mut self.control
        {
            socket.control().shows(bytes);
        }
    }

    /// Does this process show the guest to the world from here on?
    pub(super) fn console_is_live(&mut self, is_live: bool) {
        if let Some(socket) = &mut self.control {
            socket.control().is_live(is_live);
        }
    }

    /// Was something typed, at a console or over the control socket, for which a guest with so much room has
    /// room?
    pub fn has_typed(&mut self, room: usize) -> bool {
        let want = self.wants_typed(room);
        let has_called = match (&mut self.control, want) {
            (Some(socket), Want::Next { room }) => socket.control().has_typed(room),
            _ => false,
        };
        has_called || self.consoles.has_typed(want)
    }

    /// The next that was typed, if a guest with so much room takes it whole, with the console's port. What
    /// comes over the control socket is for the guest's first console, and never an answer to a question that
    /// was asked at another one.
    pub fn typed(&mut self, room: usize) -> Option<(u8, Typed)> {
        let want = self.wants_typed(room);
        if let Some(typed) = self.consoles.typed(want) {
            return Some(typed);
        }
        let Want::Next { room } = want else {
            return None;
        };
        let bytes = self.control.as_mut()?.control().typed(room)?;
        Some((0, Typed::Bytes(bytes)))
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
