//! A user of which there is too much.

use std::{
    convert::Infallible,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::header::CONTENT_TYPE,
    response::IntoResponse as _,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::error::Elapsed,
};

use super::{
    super::{
        api::{Code, ErrorReply, RevokeRequest, RunView, WhoAmI},
        body::RawBody,
        caller::{self, as_user},
        long::{LongAnswers, STREAMS},
        places::{COMMON, PER_USER, Role, Visitor},
        rate::BURST,
        server::converse,
    },
    socket::{Daemon, exchange, nobody, says_all},
};
use crate::supervisor::command::{Command, Envelope, EventsQuery, Feed, Listed};

/// More than a socket holds.
const LONG: usize = 8 * 1024 * 1024;
const WHOAMI: &str = "GET /v1/whoami HTTP/1.1\r\nHost: agentid\r\n\r\n";

/// Says who asks; streams of events go on for as long as the daemon lives.
fn daemon() -> Daemon {
    let mut streams = Vec::new();
    Daemon::start(move |Envelope { caller, command, .. }| match command {
        Command::WhoAmI(reply) => {
            assert!(!caller.operator);
            let who = WhoAmI { uid: caller.uid, operator: false, run: None, about: None };
            reply.send(Ok(who)).unwrap();
        }
        // More than a socket holds.
        Command::List { reply, .. } | Command::Select { reply, .. } => {
            reply.send(Ok(Listed { seq: 0, value: vec![view(); 2000] })).unwrap();
        }
        Command::Events { reply, .. } => {
            let (stream, live) = mpsc::channel(1);
            streams.push(stream);
            reply.send(Ok(Feed { start: 0, past: Vec::new(), live: Some(live) })).unwrap();
        }
        other => other.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look")),
    })
}

fn view() -> RunView {
    let id = uuid::Uuid::nil();
    let run = serde_json::json!({
        "id": id, "agent": "a", "owner": "o", "task": "t", "labels": {}, "policy": "p", "params": {},
        "mode": "enforce", "on_end": "kill", "above": [], "command": ["sh"], "uid": 0, "tgid": 1,
        "phase": "ended", "launched_ms": 0, "deadline_ms": 0, "tasks": 0, "changes": [],
        "purpose": "x".repeat(400)
    });
    serde_json::from_value(run).unwrap()
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
        // It may have been closed before, or with what is unread.
        let said = refused.write_all(WHOAMI.as_bytes());
        if let Err(error) = said.and_then(|()| refused.read_to_end(&mut answer)) {
            assert!([ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()));
        }
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
    let whom = nobody(&far);
    let talk = converse(far, app, Duration::from_millis(20), whom);
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

#[test]
fn long_answers_are_few_at_once() {
    let daemon = daemon();
    as_user(|| {
        let body = |ended: &str| {
            format!(
                "POST /v1/select HTTP/1.1\r\nHost: agentid\r\nContent-Length: {}\r\n\r\n{ended}",
                ended.len()
            )
        };
        let ended = body(r#"{"select":{"all":true},"ended":true}"#);
        let all = "GET /v1/runs?all=true HTTP/1.1\r\nHost: agentid\r\n\r\n".to_owned();
        let begin = |ask: &str| {
            let mut stream = say(&daemon, ask);
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            (stream, String::from_utf8(head[9..].to_vec()).unwrap())
        };
        let mut held: Vec<(UnixStream, String)> =
            [&all, &ended].map(|ask| begin(ask)).into_iter().collect();
        assert!(held.iter().all(|(_, status)| status == "200"));
        for ask in [&all, &ended, &body(r#"{"select":{"all":true},"whole":true}"#)] {
            let (head, problem) = exchange(say(&daemon, ""), ask);
            assert!(head.starts_with("http/1.1 429 "), "{head}");
            assert!(head.contains("\r\nretry-after: 1"), "{head}");
            assert_eq!(problem["code"], "too_many");
            says_all(&problem);
        }
        // What lives is not counted, and who has read makes room.
        assert_eq!(begin(&body(r#"{"select":{"all":true}}"#)).1, "200");
        let (mut read, _) = held.pop().unwrap();
        read.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(begin(&all).1, "200");
    });
}

#[test]
fn answers_that_wait_to_be_read_are_bounded_in_bytes() {
    let daemon = daemon();
    as_user(|| {
        let all = "GET /v1/runs HTTP/1.1\r\nHost: agentid\r\n\r\n";
        let begin = || {
            let mut stream = say(&daemon, all);
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            (stream, head.ends_with(b" 200"))
        };
        let held: Vec<(UnixStream, bool)> = (0..PER_USER / 2).map(|_| begin()).collect();
        let told = held.iter().take_while(|(_, told)| *told).count();
        assert!((2..PER_USER / 4).contains(&told), "{told} of more than a MiB each");
        let (head, problem) = exchange(say(&daemon, ""), all);
        assert!(head.starts_with("http/1.1 429 "), "{head}");
        assert!(head.contains("\r\nretry-after: 1"), "{head}");
        assert_eq!(problem["code"], "too_many");
        says_all(&problem);
        // What is short is told all the same, and who has read makes room.
        let (head, _) = exchange(say(&daemon, ""), WHOAMI);
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let (mut read, _) = held.into_iter().next().unwrap();
        read.read_to_end(&mut Vec::new()).unwrap();
        assert!(begin().1);
    });
}

#[tokio::test]
async fn streams_leave_places_for_questions() {
    let (near, _far) = tokio::net::UnixStream::pair().unwrap();
    let all = LongAnswers::default();
    let begin = |uid, role, follow| {
        let mut caller = caller::identify(&near, None).unwrap();
        (caller.uid, caller.operator) = (uid, role == Role::Operator);
        let query = EventsQuery { follow, ..EventsQuery::default() };
        let command = Command::Events { query, reply: oneshot::channel().0 };
        all.begin(&Visitor::new(caller, role), &command)
    };
    let held: Vec<_> = (0..STREAMS as u32).map(|uid| begin(uid, Role::User, true)).collect();
    assert!(held.iter().all(|part| matches!(part, Ok(Some(_)))));
    const { assert!(STREAMS < COMMON) };
    assert_eq!(begin(1000, Role::User, true).unwrap_err().code, Code::Full);
    // What has an end is none, and operators and runs are counted elsewhere.
    assert!(begin(1000, Role::User, false).is_ok());
    assert!(begin(0, Role::Operator, true).is_ok() && begin(1000, Role::Run, true).is_ok());
    drop(held);
    assert!(begin(1000, Role::User, true).is_ok());
}

#[test]
fn who_asks_too_often_is_refused_and_ends_runs_meanwhile() {
    let daemon = daemon();
    as_user(|| {
        let asked = (0..100 * BURST).find(|_| {
            let (head, problem) = exchange(say(&daemon, ""), WHOAMI);
            let refused = head.starts_with("http/1.1 429 ");
            assert_eq!(refused, problem["code"] == "too_often", "{head}");
            refused
        });
        assert!(asked.is_some_and(|asked| asked >= BURST), "{asked:?}");
        let revoke = "POST /v1/runs/0192f0c1/revoke HTTP/1.1\r\nHost: agentid\r\n\
                      Content-Length: 2\r\n\r\n{}";
        let (_, problem) = exchange(say(&daemon, ""), revoke);
        assert_eq!(problem["code"], "unknown_run", "the supervisor is asked");
    });
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_not_waited_for() {
    let never = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    let request = Request::new(Body::from_stream(never));
    let read = RawBody::within(Duration::from_millis(20), request, &());
    let body = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
    let error = body.parse::<RevokeRequest>().unwrap_err();
    assert_eq!(error.code, Code::BadRequest);
    assert_eq!(error.message, "the body did not come in time");
}
