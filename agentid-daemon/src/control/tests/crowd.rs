//! A user of which there is too much.

#![allow(unsafe_code, reason = "the numbers of one thread alone have no safe wrapper")]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use axum::{http::header::CONTENT_TYPE, response::IntoResponse as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::error::Elapsed,
};

use super::{
    super::{
        api::{Code, ErrorReply, WhoAmI},
        places::PER_USER,
        server::converse,
    },
    socket::{Daemon, exchange},
};
use crate::supervisor::command::{Command, Envelope, Feed};

/// Somebody who is no operator.
const USER: u32 = 4711;
/// More than a socket holds.
const LONG: usize = 8 * 1024 * 1024;
const WHOAMI: &str = "GET /v1/whoami HTTP/1.1\r\nHost: agentid\r\n\r\n";

/// Does this as a user who is no operator, whoever runs the tests.
fn as_user<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|threads| {
        let user = threads.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                // SAFETY: takes three numbers, and changes this thread alone.
                let done = unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) };
                assert_eq!(done, 0);
            }
            what()
        });
        user.join().unwrap()
    })
}

/// Says who asks; streams of events go on for as long as the daemon lives.
fn daemon() -> Daemon {
    let mut streams = Vec::new();
    Daemon::start(move |Envelope { caller, command, .. }| match command {
        Command::WhoAmI(reply) => {
            assert!(!caller.operator);
            let who = WhoAmI { uid: caller.uid, operator: false, run: None };
            reply.send(Ok(who)).unwrap();
        }
        Command::Events { reply, .. } => {
            let (stream, live) = mpsc::channel(1);
            streams.push(stream);
            reply.send(Ok(Feed { start: 0, past: Vec::new(), live: Some(live) })).unwrap();
        }
        other => other.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look")),
    })
}

/// A connection on which this was said.
fn say(daemon: &Daemon, said: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    stream
}

#[test]
fn connections_on_which_nothing_is_asked_lock_nobody_out() {
    let daemon = daemon();
    as_user(|| {
        let halves = [
            "GET /v1/whoami HTTP/1.1\r\n",
            "POST /v1/revoke HTTP/1.1\r\nHost: agentid\r\nContent-Length: 2\r\n\r\n",
        ];
        let mut held: Vec<UnixStream> =
            halves.iter().cycle().take(PER_USER).map(|half| say(&daemon, half)).collect();
        for _ in 0..3 {
            let (head, answer) = exchange(say(&daemon, ""), WHOAMI);
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            assert_eq!(answer["operator"], false);
        }
        // The oldest has made room, and the youngest is still listened to.
        let mut left = Vec::new();
        held[0].read_to_end(&mut left).unwrap();
        assert!(left.is_empty());
        let youngest = held.pop().unwrap();
        let (head, answer) = exchange(youngest, "{}");
        assert!(head.starts_with("http/1.1 4"), "{head}");
        assert_eq!(answer["code"], "bad_request");
    });
}

#[test]
fn what_has_been_asked_makes_no_room() {
    let daemon = daemon();
    as_user(|| {
        let streams: Vec<UnixStream> = (0..PER_USER)
            .map(|_| {
                let ask = "GET /v1/events?follow=true HTTP/1.1\r\nHost: agentid\r\n\r\n";
                let mut stream = say(&daemon, ask);
                let mut head = [0; 12];
                stream.read_exact(&mut head).unwrap();
                assert_eq!(&head, b"HTTP/1.1 200");
                stream
            })
            .collect();
        let mut refused = UnixStream::connect(&daemon.socket).unwrap();
        let mut answer = Vec::new();
        refused.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty());
        drop(streams);
    });
}

/// What comes of a long answer that is not read until its sender has given up, if it does.
async fn unread(kind: &'static str) -> Result<Vec<u8>, Elapsed> {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let mut near = tokio::net::UnixStream::from_std(near).unwrap();
    let far = tokio::net::UnixStream::from_std(far).unwrap();
    near.write_all(WHOAMI.as_bytes()).await.unwrap();
    let app = axum::Router::new()
        .fallback(async move || ([(CONTENT_TYPE, kind)], vec![b'x'; LONG]).into_response());
    let talk = converse(far, app, Duration::from_millis(20));
    tokio::time::timeout(Duration::from_millis(500), talk).await?;
    let mut taken = Vec::new();
    near.read_to_end(&mut taken).await.unwrap();
    Ok(taken)
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_not_kept() {
    let taken = unread("application/json").await.unwrap();
    assert!(taken.starts_with(b"HTTP/1.1 200 ") && taken.len() < LONG);
    assert!(unread("text/event-stream").await.is_err(), "a stream waits for its reader");
}
