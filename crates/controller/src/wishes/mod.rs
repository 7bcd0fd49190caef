//! What people may wish of a VM or a host, and what it means for the site's store. A wish is a function of
//! the scene: the changes that it makes, or why it is refused. Whoever has it made says by the numbers of the
//! states what was read, so of two wishes at once one is looked at anew.
//!
//! No wish is carried out here: the VM's controller finds it in the store.

mod deeds;
mod settings;
mod states;
mod wish;

pub use deeds::{Deed, cancel, deed, drain, ended};
pub use settings::{Settings, create, delete, settings};
pub use states::{power, protection};
pub use wish::{Change, Wisher, find, no_vm, running};
