//! What ends, and when.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::harness::{LARGE_BYTES, Served};

/// Wall clock a test may take for what takes the server half a second at most.
const BOUND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn stopping_closes_sockets_and_idle_connections_and_ends() {
    let mut served = Served::start().await;
    let mut socket = served.open("/api/topology/hosts/ws", &[]).await.expect("a socket");
    socket.next().await.expect("the view");
    let mut idle = TcpStream::connect(served.address).await.expect("the server listens");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");

    let asked = Instant::now();
    served.stop.cancel();
    let frame = match socket.0.next().await {
        Some(Ok(Message::Close(frame))) => frame.expect("a reason"),
        other => panic!("{other:?} is no close frame"),
    };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "the peer is ending"));
    timeout(BOUND, &mut served.task).await.expect("in time").expect("no panic").expect("no error");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    idle.read_to_end(&mut Vec::new()).await.expect("closed, not cut");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens");
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_end_the_connection() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.expect("the server listens");
    stream.write_all(b"GET /api HTTP/1.1\r\nhost: a\r\nx-slow: ").await.expect("sent");
    let started = Instant::now();
    stream.read_to_end(&mut Vec::new()).await.expect("closed");
    let took = started.elapsed().as_secs();
    assert!((10..=30).contains(&took), "closed after {took} s");
    assert_eq!(served.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_delay_the_end() {
    let mut served = Served::start().await;
    let _stream = served.ask_without_reading().await;
    let asked = Instant::now();
    served.stop.cancel();
    timeout(BOUND, &mut served.task).await.expect("in time").expect("no panic").expect("no error");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_loses_its_place() {
    let mut served = Served::start().await;
    let mut stream = served.ask_without_reading().await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(served.connections().await, 1, "the one that asks");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("what was on its way comes, then the end");
    assert!(answer.len() < LARGE_BYTES, "cut: {}", answer.len());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_gone() {
    let served = Served::start().await;
    let mut socket = served.open("/api/topology/hosts/ws", &[]).await.expect("a socket");
    socket.next().await.expect("the view");
    // Not read meanwhile, so not answered.
    for _ in 0..13 {
        advance(Duration::from_secs(5)).await;
        tokio::task::yield_now().await;
    }
    // Read as bytes: a pong to a connection that is closed by now may reset it before all was read.
    let mut frames = Vec::new();
    socket.0.get_mut().read_to_end(&mut frames).await.expect("closed");
    assert!(frames.starts_with(&[0x89, 0]), "asked before it was given up: {frames:x?}");
    assert!(frames.ends_with(b"the client is silent"), "{frames:x?}");
}
