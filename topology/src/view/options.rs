//! Options of the views: Weave Scope's groups, values and defaults.
//!
//! A query without any parameter filters nothing. As soon as one is given, every group has its default unless the query says
//! otherwise; a value that a group does not know switches that group off. Clients rely on both.

use std::collections::BTreeMap;

use super::Kind;
use crate::fact::Container;

/// Which containers by role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum System {
    /// All.
    #[default]
    All,
    /// Those that run the machine.
    System,
    /// Those that run what the machine is for.
    Application,
}

/// Which containers by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// All.
    #[default]
    Both,
    /// Those without processes.
    Stopped,
    /// Those with processes.
    Running,
}

/// What a view leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Containers by role.
    pub system: System,
    /// Containers by state.
    pub stopped: Stopped,
    /// Whether processes outside containers are left out of the container views.
    pub hide_uncontained: bool,
    /// Whether nodes without edges are left out.
    pub unconnected: Unconnected,
}

/// Whether nodes without edges are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unconnected {
    /// They are.
    #[default]
    Show,
    /// They are not.
    Hide,
}

/// One group of choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the query parameter.
    pub id: &'static str,
    /// Value it has when a query gives other parameters but not this one.
    pub default: &'static str,
    /// Values with what people read.
    pub choices: &'static [(&'static str, &'static str)],
}

const SYSTEM: Group = Group {
    id: "system",
    default: "application",
    choices: &[("all", "All"), ("system", "System containers"), ("application", "Application containers")],
};
const STOPPED: Group = Group {
    id: "stopped",
    default: "running",
    choices: &[("stopped", "Stopped containers"), ("running", "Running containers"), ("both", "Both")],
};
const PSEUDO: Group =
    Group { id: "pseudo", default: "hide", choices: &[("show", "Show uncontained"), ("hide", "Hide uncontained")] };
const UNCONNECTED: Group = Group {
    id: "unconnected",
    default: "hide",
    choices: &[("show", "Show unconnected"), ("hide", "Hide unconnected")],
};

impl Options {
    /// The groups a view offers.
    #[must_use]
    pub fn groups(kind: Kind) -> &'static [Group] {
        match kind {
            Kind::Processes | Kind::ProcessesByName => &[UNCONNECTED],
            Kind::Containers | Kind::ContainersByImage | Kind::ContainersByHostname => &[SYSTEM, STOPPED, PSEUDO],
            Kind::Hosts => &[],
        }
    }

    /// What the query of a request asks for.
    #[must_use]
    pub fn from_query(kind: Kind, query: &BTreeMap<String, String>) -> Self {
        if query.is_empty() {
            return Self::default();
        }
        let value = |group: &Group| query.get(group.id).map_or(group.default, String::as_str);
        Self::groups(kind).iter().fold(Self::default(), |options, group| options.with(group.id, value(group)))
    }

    /// The choices people see first.
    #[must_use]
    pub fn defaults(kind: Kind) -> Self {
        Self::groups(kind).iter().fold(Self::default(), |options, group| options.with(group.id, group.default))
    }

    fn with(mut self, group: &str, value: &str) -> Self {
        match (group, value) {
            ("system", "system") => self.system = System::System,
            ("system", "application") => self.system = System::Application,
            ("stopped", "stopped") => self.stopped = Stopped::Stopped,
            ("stopped", "running") => self.stopped = Stopped::Running,
            ("pseudo", "hide") => self.hide_uncontained = true,
            ("unconnected", "hide") => self.unconnected = Unconnected::Hide,
            _ => {}
        }
        self
    }

    /// These options without what means nothing to a view, so that equal pictures have equal options.
    pub(crate) fn of(self, kind: Kind) -> Self {
        match kind {
            Kind::Processes | Kind::ProcessesByName => Self { unconnected: self.unconnected, ..Self::default() },
            Kind::Containers | Kind::ContainersByImage | Kind::ContainersByHostname => {
                Self { unconnected: Unconnected::Show, ..self }
            }
            Kind::Hosts => Self::default(),
        }
    }

    /// Whether a container is in the view.
    pub(crate) fn show(self, container: &Container) -> bool {
        let system = match self.system {
            System::All => true,
            System::System => is_system(container),
            System::Application => !is_system(container),
        };
        system
            && match self.stopped {
                Stopped::Both => true,
                Stopped::Stopped => !container.state.is_running(),
                Stopped::Running => container.state.is_running(),
            }
    }
}

/// Names and images of what runs a machine rather than what it is for.
const SYSTEM_NAMES: [&str; 6] = ["weavescope", "weavedns", "weave", "weaveproxy", "weaveexec", "ecs-agent"];
const SYSTEM_IMAGES: [&str; 8] = [
    "swarm",
    "weaveworks/scope",
    "weaveworks/weavedns",
    "weaveworks/weave",
    "weaveworks/weaveproxy",
    "weaveworks/weaveexec",
    "amazon/amazon-ecs-agent",
    "openshift/origin-pod",
];

fn is_system(container: &Container) -> bool {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    let image = image_name(&container.image);
    SYSTEM_NAMES.contains(&container.name.as_str())
        || SYSTEM_IMAGES.contains(&image)
        || image.rsplit('/').next() == Some("pause")
        || label("works.weave.role") == Some("system")
        || label("io.kubernetes.docker.type") == Some("podsandbox")
        || label("io.kubernetes.pod.namespace") == Some("kube-system")
}

/// An image's name without tag and digest; a registry's port is no tag.
#[must_use]
pub fn image_name(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_query_gives_defaults_to_what_it_leaves_out() {
        let application = Options {
            system: System::Application,
            stopped: Stopped::Running,
            hide_uncontained: true,
            ..Options::default()
        };
        let cases = [
            ("", Options::default()),
            ("t=5s", application),
            ("system=show", Options { system: System::All, ..application }),
            ("stopped=both&pseudo=show", Options { stopped: Stopped::Both, hide_uncontained: false, ..application }),
            ("unconnected=hide", application),
        ];
        for (text, want) in cases {
            assert_eq!(Options::from_query(Kind::Containers, &query(text)), want, "{text:?}");
        }
        assert_eq!(Options::defaults(Kind::Containers), application);
        assert_eq!(Options::from_query(Kind::Processes, &query("t=1s")).unconnected, Unconnected::Hide);
    }

    #[test]
    fn an_images_name_has_no_tag_or_digest() {
        let cases = [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("registry:5000/team/web", "registry:5000/team/web"),
            ("registry:5000/team/web:v1@sha256:00ff", "registry:5000/team/web"),
        ];
        for (image, want) in cases {
            assert_eq!(image_name(image), want);
        }
    }
}
