//! A stand-in for weaveDNS's HTTP API: keeps what it is asked, answers as told.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Ended with the test.
pub(super) struct WeaveApi {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl WeaveApi {
    /// Starts one that answers a method with the HTTP status that `status` says.
    pub(super) async fn start(status: fn(&Method) -> u16) -> WeaveApi {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = service_fn(|request| answer(request, sender.clone(), status));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        WeaveApi { address, requests, task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request: method, path and body.
    pub(super) async fn request(&mut self) -> String {
        let request = tokio::time::timeout(Duration::from_secs(30), self.requests.recv());
        request.await.expect("a request in time").unwrap()
    }
}

impl Drop for WeaveApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    requests: mpsc::Sender<String>,
    status: fn(&Method) -> u16,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
    requests.send(text).await.unwrap();
    Ok(Response::builder().status(status(&head.method)).body(Empty::new()).unwrap())
}
