//! The registry: what it asks, in which order, and what its facts become.

use topology::fact::ContainerState;

use super::*;
use crate::probe::docker::convert::id;

const RETRY_MIN: Duration = Duration::from_secs(5);

fn container(name: &str, state: ContainerState) -> Container {
    Container { name: name.to_owned(), state, ..Container::new(id(name)) }
}

fn running(names: &[&str]) -> Vec<Container> {
    names.iter().map(|name| container(name, ContainerState::Running)).collect()
}

/// All requests it makes now: ids of containers, `image:ID`.
fn requests(registry: &mut Registry, now: Instant) -> Vec<String> {
    let requests = std::iter::from_fn(|| registry.next_request(now));
    let show = |request| match request {
        Request::Container(id) => id.to_string(),
        Request::Image(id) => format!("image:{id}"),
    };
    requests.map(show).collect()
}

fn answer(registry: &mut Registry, names: &[&str], now: Instant) {
    for name in names {
        let found = Outcome::Found(container(name, ContainerState::Running));
        registry.container_answered(&id(name), found, now);
    }
}

fn list(registry: &mut Registry, containers: Vec<Container>, all: bool) {
    let mark = registry.list_mark();
    registry.listed(mark, containers, all);
}

#[test]
fn events_go_before_the_list_and_find_room_beside_it() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    let names: Vec<String> = (0..20).map(|n| format!("c{n:02}")).collect();
    list(&mut registry, running(&names.iter().map(String::as_str).collect::<Vec<_>>()), true);
    assert_eq!(requests(&mut registry, now), ["c00", "c01", "c02", "c03", "c04", "c05"], "the background's share");
    registry.apply(Action::Inspect(id("c19")));
    registry.apply(Action::Inspect(id("new1")));
    registry.apply(Action::Inspect(id("new2")));
    assert_eq!(requests(&mut registry, now), ["c19", "new1"], "up to the limit");
    answer(&mut registry, &["c00"], now);
    assert_eq!(requests(&mut registry, now), ["new2"]);
    answer(&mut registry, &["c01", "c19", "new1", "new2"], now);
    assert_eq!(requests(&mut registry, now), ["c06", "c07"], "each once");
    assert!(!registry.is_settled());
}

#[test]
fn those_that_do_not_answer_wait_longer_each_time_and_take_little_room() {
    let (mut registry, start) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["a", "b", "c"]), true);
    let mut now = start;
    for wait in [5, 10, 20, 40, 60, 60] {
        let asked = requests(&mut registry, now);
        assert_eq!(asked, if wait == 5 { vec!["a", "b", "c"] } else { vec!["a"] });
        for name in asked {
            registry.container_answered(&id(&name), Outcome::Failed, now);
        }
        answer(&mut registry, &["b"], now); // said unasked: no harm
        for name in ["b", "c"] {
            registry.apply(Action::Remove(id(name)));
        }
        assert_eq!(registry.problem(), Problem { unshown: 0, silent: 1 });
        assert_eq!(registry.due_at(), Some(now + Duration::from_secs(wait)));
        now += Duration::from_secs(wait);
    }
    registry.apply(Action::Inspect(id("a")));
    assert_eq!(requests(&mut registry, now), ["a"], "an event does not wait");
    answer(&mut registry, &["a"], now);
    assert_eq!((registry.problem(), registry.due_at()), (Problem::default(), None));
    assert!(registry.is_settled());
}

#[test]
fn two_retries_run_at_a_time() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["a", "b", "c"]), true);
    for name in requests(&mut registry, now) {
        registry.container_answered(&id(&name), Outcome::Failed, now);
    }
    let later = now + RETRY_MIN;
    assert_eq!(requests(&mut registry, later), ["a", "b"]);
    assert_eq!(registry.due_at(), None, "no room");
    answer(&mut registry, &["a"], later);
    assert_eq!(requests(&mut registry, later), ["c"]);
}

#[test]
fn one_that_is_due_waits_quietly_for_room() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["late"]), true);
    assert_eq!(requests(&mut registry, now), ["late"]);
    registry.container_answered(&id("late"), Outcome::Failed, now);
    let names: Vec<String> = (0..REQUESTS_MAX).map(|n| format!("c{n}")).collect();
    names.iter().for_each(|name| registry.apply(Action::Inspect(id(name))));
    assert_eq!(requests(&mut registry, now), names, "all the room there is");
    let later = now + RETRY_MIN;
    assert_eq!(requests(&mut registry, later), [""; 0]);
    assert_eq!(registry.due_at(), None, "an answer makes room, not the clock");
    answer(&mut registry, &["c0"], later);
    assert_eq!((registry.due_at(), requests(&mut registry, later)), (Some(later), vec!["late".to_owned()]));
}

#[test]
fn a_rest_leaves_the_list_alone_and_no_event() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["late"]), true);
    assert_eq!(requests(&mut registry, now), ["late"]);
    registry.container_answered(&id("late"), Outcome::Failed, now);
    let end = now + RETRY_MIN * 2;
    registry.rest(end);
    assert_eq!(registry.due_at(), Some(end), "the retry's time comes before, and is no time to wake up");
    list(&mut registry, running(&["late", "a", "b"]), true);
    registry.apply(Action::Inspect(id("b")));
    assert_eq!((requests(&mut registry, now), registry.due_at()), (vec!["b".to_owned()], Some(end)));
    assert!(registry.is_resting(now) && !registry.is_resting(end));
    assert_eq!(requests(&mut registry, end), ["a", "late"]);
    assert_eq!(registry.due_at(), None);
}

#[test]
fn an_answer_to_a_container_removed_meanwhile_brings_nothing_back() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    for _ in 0..3 * REQUESTS_MAX {
        registry.apply(Action::Inspect(id("a")));
        assert_eq!(requests(&mut registry, now), ["a"]);
        registry.apply(Action::Remove(id("a")));
        answer(&mut registry, &["a"], now);
    }
    assert!(registry.is_settled() && registry.take_facts().is_empty());
}

#[test]
fn a_list_removes_what_it_lacks_unless_an_event_named_it_since() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["a", "b"]), true);
    answer(&mut registry, &["a", "b"], now);
    let mark = registry.list_mark();
    registry.apply(Action::Inspect(id("c")));
    registry.listed(mark, running(&["a"]), false);
    let _ = requests(&mut registry, now);
    answer(&mut registry, &["c"], now);
    let facts = registry.take_facts();
    let keys: Vec<String> = facts.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["container/a", "container/c"]);
}

#[test]
fn a_later_list_asks_only_about_what_differs() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    list(&mut registry, running(&["a", "b"]), true);
    let _ = requests(&mut registry, now);
    answer(&mut registry, &["a", "b"], now);
    assert!(registry.is_changed() && registry.take_facts().len() == 2);
    list(
        &mut registry,
        vec![container("a", ContainerState::Exited(1)), container("b", ContainerState::Running)],
        false,
    );
    assert_eq!(requests(&mut registry, now), ["a"]);
    answer(&mut registry, &["a"], now);
    assert!(!registry.is_changed(), "the answer says what we knew");
}

#[test]
fn the_living_are_kept_when_there_are_too_many() {
    let mut registry = Registry::new(RETRY_MIN);
    let exited = (0..CONTAINERS_MAX).map(|n| container(&format!("x{n}"), ContainerState::Exited(0)));
    list(&mut registry, exited.chain(running(&["a", "b"])).collect(), true);
    assert_eq!(registry.problem(), Problem { unshown: 2, silent: 0 });
    assert!(registry.is_running(&id("a")) && registry.is_running(&id("b")));
    registry.apply(Action::Inspect(id("one-more")));
    assert_eq!(registry.problem().unshown, 3);
    assert_eq!(registry.take_facts().len(), CONTAINERS_MAX);
}

#[test]
fn images_come_and_go_with_their_containers() {
    let (mut registry, now) = (Registry::new(RETRY_MIN), Instant::now());
    let image_id = |text: &str| ImageId::new(text).expect("an id");
    let image =
        |tag: &str| Image { id: image_id("i1"), tags: vec![tag.to_owned()], size_bytes: 1, labels: BTreeMap::new() };
    let made = Container { image_id: Some(image_id("i1")), ..container("a", ContainerState::Running) };
    list(&mut registry, vec![made.clone()], true);
    assert_eq!(requests(&mut registry, now), ["image:i1", "a"]);
    registry.image_answered(&image_id("i1"), Outcome::Found(image("t:1")));
    registry.container_answered(&id("a"), Outcome::Found(made), now);
    assert_eq!(registry.take_facts().len(), 2);

    let named = |name: &str| Action::Images { id: None, names: vec![name.to_owned()] };
    registry.apply(named("other:1"));
    assert!(registry.is_settled());
    registry.apply(named("t:1"));
    assert_eq!(requests(&mut registry, now), ["image:i1"]);
    registry.image_answered(&image_id("i1"), Outcome::Gone);
    let facts = registry.take_facts();
    let nameless = Image { tags: Vec::new(), ..image("") };
    assert_eq!(facts.get(&Key::Image(image_id("i1"))), Some(&Fact::Image(nameless)));

    registry.apply(Action::Remove(id("a")));
    assert!(registry.is_changed() && registry.take_facts().is_empty());
}
