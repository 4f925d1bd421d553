//! What we know of the daemon's containers and images, and what to ask it next. No IO and no clock: `session.rs` feeds
//! it events and answers and carries out its requests.
//!
//! ```text
//!            touched, listed              next_request              answered
//!   Idle ──────────────────▶ Queued ─────────────────────▶ Asked ─────────────▶ Idle      (found)
//!                              ▲                            │  │──────────────▶ Waiting   (no answer)
//!                              └──── touched meanwhile ─────┘                     │ due, touched
//!                              ▲──────────────────────────────────────────────────┘
//! ```
//! A container is in one of these states, so a burst of events about it is one request, or two if some come while it is
//! under way: the answer may be older than they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use topology::fact::{Container, Fact, Image};
use topology::{ContainerId, ImageId, Key};

use super::event::Action;
use crate::probe::InitPids;

/// Most containers of a host. More are counted and said in the status, not shown.
pub(super) const CONTAINERS_MAX: usize = 5_000;
/// Most requests under way. The daemon answers from several threads, and a few stuck containers must not block the rest.
const REQUESTS_MAX: usize = 8;
/// Most of them that nobody waits for: a full list leaves room for events.
const BACKGROUND_MAX: usize = 6;
/// Most of them for containers that did not answer before.
const RETRIES_MAX: usize = 2;
/// Longest wait before a container that did not answer is asked again.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What to ask the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Container(ContainerId),
    Image(ImageId),
}

/// What it said.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    Found(T),
    /// It does not know it (any more).
    Gone,
    /// No answer, or none we can read.
    Failed,
}

/// Whose turn it is. Declared in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// An event named it: somebody looks at it right now.
    Event,
    /// A list named it.
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Queued(Turn, u64),
    Asked { background: bool, retry: bool, again: bool },
    Waiting(Instant, u64),
}

#[derive(Debug)]
struct Entry {
    /// `None` until a list or an answer says more than its id.
    container: Option<Container>,
    is_inspected: bool,
    progress: Progress,
    /// When an event last named it, in steps of [`Registry::step`].
    touched: u64,
    /// Requests in a row without an answer.
    failures: u32,
}

#[derive(Debug, Default)]
struct ImageEntry {
    image: Option<Image>,
    is_asked: bool,
}

/// What is not well, for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Problem {
    /// Containers beyond [`CONTAINERS_MAX`].
    pub(super) unshown: usize,
    /// Containers that do not answer.
    pub(super) silent: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Registry {
    retry_min: Duration,
    containers: BTreeMap<ContainerId, Entry>,
    images: BTreeMap<ImageId, ImageEntry>,
    queue: BTreeMap<(Turn, u64), ContainerId>,
    waiting: BTreeMap<(Instant, u64), ContainerId>,
    images_due: BTreeSet<ImageId>,
    /// Orders events, lists and requests.
    step: u64,
    asked: Asked,
    unshown: usize,
    silent: usize,
    is_changed: bool,
    /// Until when the background is left alone, to spare the CPU.
    rest_until: Option<Instant>,
}

/// Requests under way.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    all: usize,
    background: usize,
    retries: usize,
}

impl Registry {
    /// Knows nothing. `retry_min`: wait before a container that did not answer is asked again, doubled each time.
    pub(super) fn new(retry_min: Duration) -> Self {
        Self {
            retry_min,
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            queue: BTreeMap::new(),
            waiting: BTreeMap::new(),
            images_due: BTreeSet::new(),
            step: 0,
            asked: Asked::default(),
            unshown: 0,
            silent: 0,
            is_changed: false,
            rest_until: None,
        }
    }

    /// Forgets what was asked: the connection it was asked over is lost. What was answered stays.
    pub(super) fn forget_requests(&mut self) {
        self.queue.clear();
        self.waiting.clear();
        self.images_due.clear();
        self.asked = Asked::default();
        for entry in self.containers.values_mut() {
            entry.progress = Progress::Idle;
        }
        self.images.retain(|_, entry| entry.image.is_some());
        self.images.values_mut().for_each(|entry| entry.is_asked = false);
    }

    /// Takes in an event.
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Inspect(id) | Action::InspectProcesses(id) => self.touch(&id),
            Action::Remove(id) => self.remove(&id),
            Action::Images { id, names } => self.refresh_images(id.as_ref(), &names),
            Action::Ignore => {}
        }
    }

    /// To be called before a list is asked for; [`Self::listed`] wants what it returns.
    pub(super) fn list_mark(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// Takes in a list of all containers, asked for after `mark`. What it lacks is gone, unless an event named it since.
    /// `all`: asks about each of them; else about those that differ from what we know.
    pub(super) fn listed(&mut self, mark: u64, mut listed: Vec<Container>, all: bool) {
        listed.sort_by_key(|container| !container.state.is_running()); // the living first: they matter most
        self.unshown = listed.len().saturating_sub(CONTAINERS_MAX);
        listed.truncate(CONTAINERS_MAX);
        let named: BTreeSet<&ContainerId> = listed.iter().map(|container| &container.id).collect();
        let is_gone =
            |(id, entry): (&ContainerId, &Entry)| (entry.touched < mark && !named.contains(id)).then(|| id.clone());
        let gone: Vec<ContainerId> = self.containers.iter().filter_map(is_gone).collect();
        gone.iter().for_each(|id| self.remove(id));
        for container in listed {
            self.list_one(container, all);
        }
    }

    /// Takes in what the daemon said of a container we asked about.
    pub(super) fn container_answered(&mut self, id: &ContainerId, outcome: Outcome<Container>, now: Instant) {
        self.asked.all = self.asked.all.saturating_sub(1);
        let Some(entry) = self.containers.get_mut(id) else { return };
        let Progress::Asked { background, retry, again } = entry.progress else { return };
        entry.progress = Progress::Idle;
        self.asked.background -= usize::from(background);
        self.asked.retries -= usize::from(retry);
        match outcome {
            Outcome::Found(container) => self.found(container),
            Outcome::Gone if !again => return self.remove(id),
            Outcome::Gone => {}
            Outcome::Failed => return self.retry_later(id, now),
        }
        if again {
            self.enqueue(id, Turn::Event);
        }
    }

    /// Takes in what the daemon said of an image we asked about.
    pub(super) fn image_answered(&mut self, id: &ImageId, outcome: Outcome<Image>) {
        self.asked.all = self.asked.all.saturating_sub(1);
        let Some(entry) = self.images.get_mut(id) else { return };
        entry.is_asked = false;
        let image = match outcome {
            Outcome::Found(image) => Some(image),
            // Deleted by force under its containers: what we knew holds, but it has no name any more.
            Outcome::Gone => entry.image.take().map(|image| Image { tags: Vec::new(), ..image }),
            // Asked again when a list or an event names it.
            Outcome::Failed => return,
        };
        self.is_changed |= image != entry.image;
        entry.image = image;
    }

    /// The next request to make; `None` if there is none or enough are under way. Each must be answered.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<Request> {
        if self.asked.all >= REQUESTS_MAX {
            return None;
        }
        let is_event = self.queue.first_key_value().is_some_and(|((turn, _), _)| *turn == Turn::Event);
        if is_event {
            return self.ask_queued(false);
        }
        if let Some(id) = self.images_due.pop_first() {
            self.asked.all += 1;
            return Some(Request::Image(id));
        }
        if self.asked.background >= BACKGROUND_MAX || self.is_resting(now) {
            return None;
        }
        self.ask_queued(true).or_else(|| self.ask_waiting(now))
    }

    /// Leaves alone until `until` what nobody waits for.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rest_until = Some(until);
    }

    /// Whether what nobody waits for is left alone.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// When there will be something to ask that there is room for, but that is not due yet.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let has_room = self.asked.all < REQUESTS_MAX && self.asked.background < BACKGROUND_MAX;
        let queued = self.rest_until.filter(|_| !self.queue.is_empty());
        let retry = self.retry_at().map(|due| self.rest_until.map_or(due, |until| due.max(until)));
        queued.into_iter().chain(retry).min().filter(|_| has_room)
    }

    /// When the next of those that did not answer may be asked again, if it is not too many of them already.
    fn retry_at(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due).filter(|_| self.asked.retries < RETRIES_MAX)
    }

    /// Whether no container is known.
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }

    /// Whether all that was queued has been answered.
    pub(super) fn is_settled(&self) -> bool {
        self.asked.all == 0 && self.queue.is_empty() && self.images_due.is_empty()
    }

    /// Whether the facts changed since they were last taken.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// What is not well.
    pub(super) fn problem(&self) -> Problem {
        Problem { unshown: self.unshown, silent: self.silent }
    }

    /// Whether this container runs, as far as we know.
    pub(super) fn is_running(&self, id: &ContainerId) -> bool {
        let container = self.containers.get(id).and_then(|entry| entry.container.as_ref());
        container.is_some_and(|container| container.state.is_running())
    }

    /// All facts: containers, and the images they were made from.
    pub(super) fn take_facts(&mut self) -> BTreeMap<Key, Fact> {
        self.is_changed = false;
        let containers = self.containers.values().filter_map(|entry| entry.container.as_ref());
        let used: BTreeSet<&ImageId> = containers.clone().filter_map(|container| container.image_id.as_ref()).collect();
        self.images.retain(|id, entry| entry.is_asked || used.contains(id));
        let images = self.images.values().filter_map(|entry| entry.image.clone()).map(Fact::Image);
        let containers = containers.cloned().map(Fact::Container);
        containers.chain(images).map(|fact| (fact.key(), fact)).collect()
    }

    /// First processes of the running containers.
    pub(super) fn init_pids(&self) -> InitPids {
        let containers = self.containers.values().filter_map(|entry| entry.container.as_ref());
        Arc::new(containers.filter_map(|container| Some((container.init_pid?, container.id.clone()))).collect())
    }

    fn touch(&mut self, id: &ContainerId) {
        self.step += 1;
        let step = self.step;
        if let Some(entry) = self.containers.get_mut(id) {
            entry.touched = step;
        } else if self.containers.len() < CONTAINERS_MAX {
            self.containers.insert(id.clone(), Entry::new(step));
        } else {
            self.unshown += 1; // the next list counts again
            return;
        }
        self.enqueue(id, Turn::Event);
    }

    fn enqueue(&mut self, id: &ContainerId, turn: Turn) {
        let Some(entry) = self.containers.get_mut(id) else { return };
        match &mut entry.progress {
            Progress::Asked { again, .. } => {
                *again = true;
                return;
            }
            Progress::Queued(queued, _) if *queued <= turn => return,
            Progress::Queued(queued, step) => {
                self.queue.remove(&(*queued, *step));
            }
            Progress::Waiting(due, step) => {
                self.waiting.remove(&(*due, *step));
            }
            Progress::Idle => {}
        }
        self.step += 1;
        entry.progress = Progress::Queued(turn, self.step);
        self.queue.insert((turn, self.step), id.clone());
    }

    fn ask_queued(&mut self, background: bool) -> Option<Request> {
        let (_, id) = self.queue.pop_first()?;
        Some(self.ask(id, background, false))
    }

    fn ask_waiting(&mut self, now: Instant) -> Option<Request> {
        let is_due = self.retry_at().is_some_and(|due| due <= now);
        let (_, id) = self.waiting.first_key_value().filter(|_| is_due)?;
        let id = id.clone();
        self.waiting.pop_first();
        Some(self.ask(id, true, true))
    }

    fn ask(&mut self, id: ContainerId, background: bool, retry: bool) -> Request {
        self.asked.all += 1;
        self.asked.background += usize::from(background);
        self.asked.retries += usize::from(retry);
        let entry = self.containers.get_mut(&id).expect("the queues hold containers we know: `remove` keeps it so");
        entry.progress = Progress::Asked { background, retry, again: false };
        Request::Container(id)
    }

    fn list_one(&mut self, listed: Container, all: bool) {
        let entry = self.containers.entry(listed.id.clone()).or_insert_with(|| Entry::new(0));
        let is_known = entry.is_inspected && entry.container.as_ref().is_some_and(|known| is_same(known, &listed));
        let id = listed.id.clone();
        let image = listed.image_id.clone();
        if !entry.is_inspected && entry.container.as_ref() != Some(&listed) {
            entry.container = Some(listed);
            self.is_changed = true;
        }
        // Those that do not answer keep their own rhythm.
        if (all || !is_known) && !matches!(entry.progress, Progress::Waiting(..)) {
            self.enqueue(&id, Turn::List);
        }
        self.want_image(image);
    }

    fn found(&mut self, container: Container) {
        let image = container.image_id.clone();
        let Some(entry) = self.containers.get_mut(&container.id) else { return };
        self.silent -= usize::from(entry.failures > 0);
        entry.failures = 0;
        entry.is_inspected = true;
        if entry.container.as_ref() != Some(&container) {
            entry.container = Some(container);
            self.is_changed = true;
        }
        self.want_image(image);
    }

    fn retry_later(&mut self, id: &ContainerId, now: Instant) {
        let Some(entry) = self.containers.get_mut(id) else { return };
        self.silent += usize::from(entry.failures == 0);
        let wait = self.retry_min.saturating_mul(2_u32.saturating_pow(entry.failures)).min(RETRY_MAX);
        entry.failures = entry.failures.saturating_add(1);
        self.step += 1;
        entry.progress = Progress::Waiting(now + wait, self.step);
        self.waiting.insert((now + wait, self.step), id.clone());
    }

    fn remove(&mut self, id: &ContainerId) {
        let Some(entry) = self.containers.remove(id) else { return };
        self.silent -= usize::from(entry.failures > 0);
        self.is_changed |= entry.container.is_some();
        match entry.progress {
            Progress::Queued(turn, step) => drop(self.queue.remove(&(turn, step))),
            Progress::Waiting(due, step) => drop(self.waiting.remove(&(due, step))),
            Progress::Asked { background, retry, .. } => {
                // Its request is still under way; `container_answered` counts the rest of it.
                self.asked.background -= usize::from(background);
                self.asked.retries -= usize::from(retry);
            }
            Progress::Idle => {}
        }
    }

    fn want_image(&mut self, id: Option<ImageId>) {
        let Some(id) = id else { return };
        let entry = self.images.entry(id.clone()).or_default();
        if entry.image.is_none() && !entry.is_asked {
            entry.is_asked = true;
            self.images_due.insert(id);
        }
    }

    fn refresh_images(&mut self, id: Option<&ImageId>, names: &[String]) {
        for (known, entry) in &mut self.images {
            let has_name = entry.image.as_ref().is_some_and(|image| image.tags.iter().any(|tag| names.contains(tag)));
            if Some(known) == id || has_name {
                entry.is_asked = true;
                self.images_due.insert(known.clone());
            }
        }
    }
}

impl Entry {
    fn new(touched: u64) -> Self {
        Self { container: None, is_inspected: false, progress: Progress::Idle, touched, failures: 0 }
    }
}

/// Whether a list says what we know of a container. It lacks the exact times, so an unseen restart within one list shows
/// by its addresses at best: that is why each new connection asks about all.
fn is_same(known: &Container, listed: &Container) -> bool {
    known.state == listed.state && known.name == listed.name && known.networks == listed.networks
}

#[cfg(test)]
mod tests;
