//! A browser's WebSocket on one topology: the diffs, and the view they add up to.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use super::api::{Api, View, label};

/// How long one read blocks before the bound is looked at again.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// What a diff did to one node, by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(String),
    Update(String),
    Remove(String),
}

/// One open WebSocket.
pub(crate) struct Watch {
    socket: WebSocket<TcpStream>,
    nodes: BTreeMap<String, Value>,
    changes: Vec<Change>,
}

impl Watch {
    /// Opens the socket of `topology` (`containers`) with `query` (`t=1s&stopped=both`) and reads the
    /// first, complete diff.
    #[track_caller]
    pub(crate) fn open(api: &Api, topology: &str, query: &str) -> Self {
        let url = format!("ws://{}:4040/api/topology/{topology}/ws?{query}", api.address());
        let stream = TcpStream::connect((api.address(), 4040)).expect("the peer serves");
        stream.set_nodelay(true).expect("a connected socket");
        let request = url.into_client_request().expect("the address is well-formed");
        let (socket, _) = tungstenite::client::client(request, stream)
            .unwrap_or_else(|error| panic!("WebSocket of {topology}: {error}"));
        socket.get_ref().set_read_timeout(Some(READ_TIMEOUT)).expect("a timeout above zero");
        let mut watch = Self { socket, nodes: BTreeMap::new(), changes: Vec::new() };
        let first = watch.next_diff(Duration::from_secs(20)).expect("a first diff at once");
        assert_eq!(first["reset"], true, "the first diff replaces what a client held: {first}");
        watch
    }

    /// What the diffs add up to.
    pub(crate) fn view(&self) -> View {
        View::new(self.nodes.clone())
    }

    /// All changes since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Reads diffs until the view satisfies `accept`; gives the moment it did.
    #[track_caller]
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        bound: Duration,
        mut accept: impl FnMut(&View) -> Result<(), String>,
    ) -> Instant {
        let end = Instant::now() + bound;
        loop {
            let view = self.view();
            let Err(why) = accept(&view) else {
                return Instant::now();
            };
            let rest = end.saturating_duration_since(Instant::now());
            if self.next_diff(rest).is_none() {
                panic!("{what}: not within {bound:?}: {why}; changes {:?}", self.changes);
            }
        }
    }

    /// Applies the next diff, or gives none within `bound`.
    #[track_caller]
    pub(crate) fn next_diff(&mut self, bound: Duration) -> Option<Value> {
        let end = Instant::now() + bound;
        while Instant::now() < end {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let diff = serde_json::from_str(&text).expect("a diff is JSON");
                    self.apply(&diff);
                    return Some(diff);
                }
                Ok(Message::Close(frame)) => panic!("the peer closed the WebSocket: {frame:?}"),
                Ok(_) => {}
                Err(Error::Io(error)) if is_timeout(&error) => {}
                Err(error) => panic!("WebSocket: {error}"),
            }
        }
        None
    }

    fn apply(&mut self, diff: &Value) {
        if diff["reset"] == true {
            self.nodes.clear();
        }
        for (list, change) in [("add", Change::Add as fn(String) -> Change), ("update", Change::Update)] {
            for node in diff[list].as_array().into_iter().flatten() {
                let id = node["id"].as_str().expect("a node has an id");
                let known = self.nodes.insert(id.to_owned(), node.clone()).is_some();
                assert_eq!(known, list == "update", "{list} of {id}");
                self.changes.push(change(label(node).to_owned()));
            }
        }
        for id in diff["remove"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let node = self.nodes.remove(id).unwrap_or_else(|| panic!("remove of unknown {id}"));
            self.changes.push(Change::Remove(label(&node).to_owned()));
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
