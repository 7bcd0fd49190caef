//! A small model of the rules of membership: who may own a VM, who may claim it next, and when an output may
//! leave. A model checker explores every order in which things can happen, within bounds (docs/model.md).
//!
//! It is the rules of docs/protocol.md once more, in few words and without a guest, a clock or a network. It
//! proves nothing about the code of `replica`, and uses none of it; the simulator checks that.
//!
//! Rules that are wrong, or left out, are kept as flaws (`flaw`): each must be found.

pub mod action;
pub mod apply;
pub mod flaw;
pub mod gate;
pub mod properties;
pub mod rules;
pub mod scenes;
pub mod set;
pub mod state;

use stateright::{Checker, Model as _, Property};

use action::Action;
use rules::Model;
use state::State;

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.pair()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.due(state));
        actions.extend(self.free(state));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Model>> {
        properties::all()
    }
}

/// What a search has found.
#[derive(Debug)]
pub struct Found {
    /// The different states.
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// Of each rule that was broken, and of each sight that was seen: the name, and a shortest way to it.
    pub paths: Vec<(&'static str, Vec<Action>)>,
}

impl Found {
    /// The way to a state that breaks the rule, or shows the sight; `None`: there was none.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&[Action]> {
        let (_, path) = self.paths.iter().find(|(found, _)| *found == name)?;
        Some(path)
    }

    /// The rules that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &'static str> {
        properties::RULES
            .into_iter()
            .filter(|rule| self.path(rule).is_some())
    }
}

/// Explores a model: wholly, or until it has broken this rule.
#[must_use]
pub fn explore(model: Model, until: Option<&'static str>) -> Found {
    let mut checker = model.checker();
    if let Some(rule) = until {
        checker = checker.finish_when(stateright::HasDiscoveries::AnyOf([rule].into()));
    }
    let done = checker.spawn_bfs().join();
    let discoveries = done.discoveries();
    let mut paths: Vec<_> = discoveries
        .into_iter()
        .map(|(name, path)| (name, path.into_actions()))
        .collect();
    paths.sort_by_key(|(name, _)| *name);
    Found {
        states: done.unique_state_count(),
        depth: done.max_depth(),
        paths,
    }
}
