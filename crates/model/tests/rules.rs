//! The searches of docs/model.md: the rules hold in every state within the bounds, and each rule is needed.

use model::rules::Model;
use model::scenes::{self, Scene};
use model::{explore, flaw};

fn holds(scene: &Scene) {
    let found = explore(scene.model(), None);
    let broken: Vec<_> = found.broken().map(|rule| (rule, found.path(rule))).collect();
    assert!(broken.is_empty(), "{}: {broken:#?}", scene.name);
    for sight in scene.sights {
        assert!(
            found.path(sight).is_some(),
            "{} never came upon: {sight}",
            scene.name
        );
    }
}

#[test]
fn a_backup_is_replaced_and_dismissed() {
    holds(&scenes::DISMISS);
}

#[test]
fn a_silent_backup_is_excluded_and_the_new_one_is_heir() {
    // FT 2.3-e, FT 2-h.
    holds(&scenes::EXCLUDE);
}

#[test]
fn owner_and_backup_change_their_roles() {
    holds(&scenes::HAND_OVER);
}

#[test]
fn a_hand_over_that_promises_saves_the_wait() {
    holds(&scenes::HAND_OVER_PROMISES);
}

#[test]
fn an_owner_hands_over_to_one_of_two() {
    holds(&scenes::HAND_OVER_OF_THREE);
}

#[test]
fn each_flaw_breaks_its_rule() {
    for flaw in flaw::ALL {
        let (scene, rule) = scenes::finds(flaw);
        let model = Model {
            flaw: Some(flaw),
            ..scene.model()
        };
        let found = explore(model, Some(rule));
        assert!(
            found.path(rule).is_some(),
            "{flaw:?} does not break {rule} in '{}'",
            scene.name
        );
    }
}
