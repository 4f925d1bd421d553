//! What an event of the daemon means to us: the thing to ask about again, if any.
//!
//! Most events change nothing that we show (`exec_start` of a health check, `kill` before its `die`, `attach`): the
//! daemon is asked not to send them ([`FILTER`]), and those that come all the same are ignored.

use std::collections::HashMap;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use topology::{ContainerId, ImageId};

/// Kinds of things whose events we want.
const TYPES: [&str; 3] = ["container", "image", "network"];
/// Events we act on, in Docker's words and, where they differ, podman's.
const ACTIONS: [&str; 20] = [
    "create",
    "start",
    "restart",
    "die",
    "died",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "remove",
    "connect",
    "disconnect",
    "pull",
    "tag",
    "untag",
    "delete",
    "import",
    "load",
    "loadfromarchive",
];

/// The filter of the subscription.
pub(super) fn filter() -> HashMap<String, Vec<String>> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    HashMap::from([("type".to_owned(), owned(&TYPES)), ("event".to_owned(), owned(&ACTIONS))])
}

/// What to do about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask about this container again.
    Inspect(ContainerId),
    /// The same, and processes came or went with it.
    InspectProcesses(ContainerId),
    /// The container is gone.
    Remove(ContainerId),
    /// Names moved between images: ask again about those of this id or with one of these names.
    Images { id: Option<ImageId>, names: Vec<String> },
    /// Nothing we show changed.
    Ignore,
}

/// What an event means.
pub(super) fn action(event: &EventMessage) -> Action {
    let Some((kind, name)) = event.typ.zip(event.action.as_deref()) else { return Action::Ignore };
    let subject = event.actor.as_ref().and_then(|actor| actor.id.as_deref()).unwrap_or_default();
    let attribute = |name: &str| {
        let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
        attributes.and_then(|attributes| attributes.get(name)).map(String::as_str)
    };
    match kind {
        EventMessageTypeEnum::CONTAINER => container(name, subject),
        EventMessageTypeEnum::NETWORK if matches!(name, "connect" | "disconnect") => {
            id_of(attribute("container").unwrap_or_default()).map_or(Action::Ignore, Action::Inspect)
        }
        EventMessageTypeEnum::IMAGE if ACTIONS.contains(&name) => Action::Images {
            id: ImageId::new(subject.trim_start_matches("sha256:")).ok(),
            names: [Some(subject), attribute("name")].into_iter().flatten().map(str::to_owned).collect(),
        },
        _ => Action::Ignore,
    }
}

fn container(name: &str, subject: &str) -> Action {
    let Some(id) = id_of(subject) else { return Action::Ignore };
    match name {
        "start" | "die" | "died" => Action::InspectProcesses(id),
        "create" | "pause" | "unpause" | "rename" | "update" | "restart" => Action::Inspect(id),
        "destroy" | "remove" => Action::Remove(id),
        _ => Action::Ignore,
    }
}

/// A container's id as it may stand in a request's path.
pub(super) fn id_of(text: &str) -> Option<ContainerId> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if is_plain { ContainerId::new(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = include_str!("../../../tests/fixtures/docker/events.jsonl");

    fn words(action: &Action) -> String {
        match action {
            Action::Inspect(id) => format!("inspect {}", id.short()),
            Action::InspectProcesses(id) => format!("inspect+processes {}", id.short()),
            Action::Remove(id) => format!("remove {}", id.short()),
            Action::Images { id, names } => {
                let id = id.as_ref().map_or("-", |id| id.as_str());
                format!("images {} {}", &id[..id.len().min(12)], names[1..].join(" "))
            }
            Action::Ignore => "ignore".to_owned(),
        }
    }

    #[test]
    fn recorded_events_touch_only_what_they_name() {
        let got: Vec<String> = EVENTS
            .lines()
            .map(|line| serde_json::from_str(line).expect("recorded"))
            .map(|event: EventMessage| {
                format!("{} -> {}", event.action.clone().unwrap_or_default(), words(&action(&event)))
            })
            .collect();
        let want = [
            "connect -> inspect e249f7822551",
            "start -> inspect+processes e249f7822551",
            "create -> inspect 5f380db7146a",
            "attach -> ignore",
            "die -> inspect+processes 82542a13a259",
            "disconnect -> inspect 82542a13a259",
            "pause -> inspect 17ff481a3dd3",
            "rename -> inspect 1ab28761de2c",
            "kill -> ignore",
            "destroy -> remove 1ab28761de2c",
            "exec_create: true  -> ignore",
            "exec_start: true  -> ignore",
            "tag -> images 2dcbbfe24415 toolbox:2",
            "untag -> images 2dcbbfe24415 sha256:2dcbbfe24415a15dd09bc64a7cb9fca789c33536e86f243b12fc3eebef75ee86",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn an_event_of_any_other_form_is_ignored_or_understood() {
        let cases = [
            ("{}", "ignore"),
            (r#"{"Type":"container","Action":"start"}"#, "ignore"),
            (r#"{"Type":"container","Action":"start","Actor":{"ID":""}}"#, "ignore"),
            (r#"{"Type":"container","Action":"start","Actor":{"ID":"../images"}}"#, "ignore"),
            (r#"{"Type":"container","Action":"died","Actor":{"ID":"ab"}}"#, "inspect+processes ab"),
            (r#"{"Type":"container","Action":"remove","Actor":{"ID":"ab"}}"#, "remove ab"),
            (r#"{"Type":"container","Action":"health_status: healthy","Actor":{"ID":"ab"}}"#, "ignore"),
            (r#"{"Type":"container","Action":"oom","Actor":{"ID":"ab"}}"#, "ignore"),
            (r#"{"Type":"network","Action":"create","Actor":{"ID":"ab"}}"#, "ignore"),
            (r#"{"Type":"network","Action":"connect","Actor":{"ID":"ab"}}"#, "ignore"),
            (r#"{"Type":"image","Action":"pull","Actor":{"ID":"a:1","Attributes":{"name":"a"}}}"#, "images a:1 a"),
            (r#"{"Type":"volume","Action":"create","Actor":{"ID":"ab"}}"#, "ignore"),
        ];
        for (text, want) in cases {
            let event: EventMessage = serde_json::from_str(text).expect("an event");
            assert_eq!(words(&action(&event)), want, "{text}");
        }
    }
}
