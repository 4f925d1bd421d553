//! The join of replicas is associative, commutative and idempotent.

use gossip::{Answer, Limits, Replica, Version};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{World, peer_id, state, steps};

const WRITERS: usize = 3;

/// What a peer hears of the intervals that were ever sent: the first so many in their order, then
/// any others; and how many percent of the versions it has then forgotten the tombstones of.
type Heard = (Index, Vec<Index>, u64);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn joins_in_any_order_and_number_give_one_state(
        steps in steps(WRITERS, 60),
        heard in prop::array::uniform3((
            any::<Index>(),
            prop::collection::vec(any::<Index>(), 0..8),
            0..=100u64,
        )),
    ) {
        let world = World::run(&steps, WRITERS);
        let [a, b, c] = &heard.map(|heard| listener(&world, &heard));

        prop_assert_eq!(state(&join(a, b)), state(&join(b, a)), "commutative");
        prop_assert_eq!(state(&join(&join(a, b), c)), state(&join(a, &join(b, c))), "associative");
        prop_assert_eq!(state(&join(a, a)), state(a), "idempotent");
        let all = join(&join(a, b), c);
        prop_assert_eq!(state(&join(&all, b)), state(&all), "holds what it was joined with");
    }
}

/// Everything that either holds: `left` after it has heard all that `right` can tell.
fn join(left: &Replica, right: &Replica) -> Replica {
    let mut joined = left.clone();
    for origin in right.origins() {
        let position = joined.position(origin.id().peer);
        if let Answer::Interval(interval) = right.answer(&position, usize::MAX) {
            joined.apply(&interval).unwrap();
        }
    }
    joined
}

/// A peer that writes nothing: about itself, a peer takes nobody's word.
fn listener(world: &World, (first, others, percent): &Heard) -> Replica {
    let mut replica = Replica::new(peer_id(WRITERS), Limits::default());
    if world.sent.is_empty() {
        return replica;
    }
    let in_order = &world.sent[..=first.index(world.sent.len())];
    for interval in in_order.iter().chain(others.iter().map(|other| other.get(&world.sent))) {
        let _gap_or_not = replica.apply(interval);
    }
    for peer in (0..WRITERS).map(peer_id) {
        let version = replica.position(peer).version;
        replica.collect(peer, Version(version.0 * percent / 100));
    }
    replica
}
