//! Docker's HTTP API over its socket, for what must be quick or timed: hundreds of containers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// No single request takes longer, also with every core busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A daemon's socket. No connection is kept.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
}

impl Engine {
    pub(crate) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether the daemon serves.
    pub(crate) fn ping(&self) -> Result<(), String> {
        self.request("GET", "/_ping", &Value::Null).map(|_| ())
    }

    /// A container of `image` that was not started; gives its id.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, image: &str, command: &[&str], network: &str) -> String {
        let body = json!({ "Image": image, "Cmd": command, "HostConfig": { "NetworkMode": network } });
        let created = self.expect("POST", &format!("/containers/create?name={name}"), &body);
        created["Id"].as_str().expect("the daemon names what it created").to_owned()
    }

    /// Returns once the container's process runs.
    #[track_caller]
    pub(crate) fn start(&self, id: &str) {
        self.expect("POST", &format!("/containers/{id}/start"), &Value::Null);
    }

    /// Kills and removes it.
    #[track_caller]
    pub(crate) fn remove(&self, id: &str) {
        self.expect("DELETE", &format!("/containers/{id}?force=1"), &Value::Null);
    }

    #[track_caller]
    pub(crate) fn inspect(&self, container: &str) -> Value {
        self.expect("GET", &format!("/containers/{container}/json"), &Value::Null)
    }

    #[track_caller]
    fn expect(&self, method: &str, path: &str, body: &Value) -> Value {
        self.request(method, path, body).unwrap_or_else(|why| panic!("docker: {method} {path}: {why}"))
    }

    /// The answer's JSON, or null where it has none.
    fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let response = self.exchange(method, path, body).map_err(|error| error.to_string())?;
        let (head, body) = response.split_once("\r\n\r\n").ok_or("no end of the headers")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            return Err(format!("{status}: {body}"));
        }
        Ok(serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// HTTP/1.0, so that the answer is plain bytes up to the end of the connection.
    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }
}
