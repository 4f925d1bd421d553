//! Which clients' reports a server's report may be the other half of.
//!
//! Many clients of one server that cannot be told from each other, as the workers of one host at a database with a process
//! for each, are all possible clients of each: their pairs grow with the product. What looks alike to the server's end
//! shares one list, and of one slot at most [`PAIRS_MAX`] pairs are told. What comes after those is told of two relations
//! only: enough to say that its figures are of none alone.

use std::net::IpAddr;
use std::rc::Rc;

use foldhash::HashMap;

use super::ident::Ident;
use super::report::{Heard, Origin, Report, Reports, Slot};

/// Most pairs of a client's and a server's report that are looked at in one slot.
const PAIRS_MAX: usize = 1 << 16;

/// Most clients' reports that are looked at for one of a server's, when those pairs are spent.
const LOOKS_MAX: usize = 16;

/// What servers' reports have in common that may be of the same clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Likeness {
    slot: Slot,
    named: u16,
    via: Option<IpAddr>,
    remote: IpAddr,
    container: Option<usize>,
}

/// Clients' reports that look alike to a server's end.
#[derive(Default)]
struct Alike {
    all: Rc<[usize]>,
    /// Those that name this very server.
    by_server: HashMap<Ident, Rc<[usize]>>,
    /// What stands for many: the first, and the first of another client.
    few: Rc<[usize]>,
}

impl Alike {
    fn of(reports: &Reports<'_>, all: Vec<usize>) -> Self {
        let mut by_server: HashMap<Ident, Vec<usize>> = HashMap::default();
        for told in &all {
            by_server.entry(reports.told[*told].server.ident).or_default().push(*told);
        }
        let client = |told: &usize| reports.told[*told].client.ident;
        let first = all.first();
        let other = all.iter().find(|told| first.is_some_and(|first| client(told) != client(first)));
        Self {
            few: first.into_iter().chain(other).copied().collect(),
            by_server: by_server.into_iter().map(|(server, told)| (server, told.into())).collect(),
            all: all.into(),
        }
    }
}

/// Finds them.
pub(super) struct Matches<'r, 'a> {
    reports: &'r Reports<'a>,
    slots: HashMap<Slot, Vec<usize>>,
    alike: HashMap<Likeness, Alike>,
    /// Pairs looked at so far.
    spent: HashMap<Slot, usize>,
}

impl<'r, 'a> Matches<'r, 'a> {
    pub(super) fn new(reports: &'r Reports<'a>, slots: HashMap<Slot, Vec<usize>>) -> Self {
        Self { reports, slots, alike: HashMap::default(), spent: HashMap::default() }
    }

    /// Which clients' reports a server's may be the other half of, as their numbers.
    pub(super) fn of(&mut self, heard: &Heard<'a>) -> Rc<[usize]> {
        let key = heard.flow.key;
        let Some(report) = &heard.report else {
            let netns = Some(heard.flow.netns);
            let (server, protocol, port) = (heard.host, key.protocol, key.port);
            let slot = Slot { server, netns, protocol, port, from: Origin::Loopback };
            let like = Likeness { slot, named: port, via: None, remote: key.remote.to_canonical(), container: None };
            return self.shared(like, None, |_, _| true);
        };
        let from = match (report.client.ident, report.client.host) {
            (Ident::Container(container), _) => Origin::Container(container),
            (_, Some(host)) => Origin::Host(host),
            (_, None) => return Rc::default(),
        };
        let (netns, port) = report.edge.door;
        let slot = Slot { server: report.host, netns, protocol: report.edge.protocol, port, from };
        let remote = report.edge.remote.to_canonical();
        let via = report.flow.via.map(|via| via.ip());
        let like = Likeness { slot, named: report.named(), via, remote, container: report.server.container };
        self.shared(like, Some(report.server.ident), |reports, told| reports.may_be_one(told, report))
    }

    /// The clients' reports of such a likeness, if there are some those that name this server.
    fn shared(
        &mut self,
        like: Likeness,
        server: Option<Ident>,
        may_be: impl Fn(&Reports<'a>, &Report<'a>) -> bool,
    ) -> Rc<[usize]> {
        let spent = self.spent.get(&like.slot).copied().unwrap_or_default();
        let mut cost = 0;
        if !self.alike.contains_key(&like) {
            let most = if spent < PAIRS_MAX { usize::MAX } else { LOOKS_MAX };
            let some = self.places(like).take(most).inspect(|_| cost += 1);
            let all = some.filter(|told| may_be(self.reports, &self.reports.told[*told])).collect();
            self.alike.insert(like, Alike::of(self.reports, all));
        }
        let Some(alike) = self.alike.get(&like) else { return Rc::default() };
        let found = server.and_then(|server| alike.by_server.get(&server)).unwrap_or(&alike.all);
        let found = if spent + found.len() <= PAIRS_MAX || found.len() <= alike.few.len() { found } else { &alike.few };
        cost += found.len();
        self.spent.insert(like.slot, spent + cost);
        found.clone()
    }

    /// Clients' reports in all slots of a likeness.
    fn places(&self, like: Likeness) -> impl Iterator<Item = usize> {
        let Likeness { slot, named, .. } = like;
        let is_loopback = slot.from == Origin::Loopback;
        // A client's host that knows no namespace knows a container by its address, or a host by the port named to it.
        let by_port = Slot { netns: None, ..slot };
        let by_name = Slot { port: named, ..by_port };
        let others = [(slot.netns.is_some() && !is_loopback, by_port), (named != slot.port && !is_loopback, by_name)];
        let others = others.into_iter().filter(|(is_one, _)| *is_one).map(|(_, slot)| slot);
        let slots = std::iter::once(slot).chain(others);
        slots.filter_map(|slot| self.slots.get(&slot)).flatten().copied()
    }
}
