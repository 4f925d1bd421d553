//! Whatever was lost, repeated, cut short or forgotten: once peers ask each other, all hold the same.

use std::fmt::Debug;

use proptest::prelude::*;

use crate::world::{PARTS_MAX, Step, World, state, steps};

const PEERS: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn peers_that_ask_each_other_come_to_hold_what_each_says(
        steps in steps(PEERS, 80),
        budget_bytes in prop_oneof![1..300usize, Just(usize::MAX)],
    ) {
        let mut world = World::run(&steps, PEERS);
        for peer in 0..PEERS {
            world.publish(peer, &[(200, Some(1))]); // a restarted peer is heard of once it speaks
        }
        prop_assert!(world.converge(budget_bytes).is_some(), "no convergence");
        for peer in 0..PEERS {
            prop_assert_eq!(world.held(peer), world.said());
        }
    }

    #[test]
    fn parts_of_any_size_make_the_same_state(
        steps in steps(2, 40),
        budgets in prop::collection::vec(1..400usize, 3),
    ) {
        let whole = state_after_asking(&steps, usize::MAX);
        for budget_bytes in budgets {
            let parts = state_after_asking(&steps, budget_bytes);
            prop_assert_eq!(&parts, &whole, "budget of {} bytes", budget_bytes);
        }
    }
}

/// What peer 1 holds after it has asked peer 0 for everything.
fn state_after_asking(steps: &[Step], budget_bytes: usize) -> impl PartialEq + Debug {
    let mut world = World::run(steps, 2);
    world.ask_for_all(1, 0, budget_bytes, PARTS_MAX);
    state(&world.replicas[1])
}
