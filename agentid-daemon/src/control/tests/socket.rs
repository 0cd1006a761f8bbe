//! Both ends of a real socket, with somebody else in the supervisor's place.

use std::{
    fs::{self, Permissions},
    io::{ErrorKind, Read as _, Write as _},
    ops::ControlFlow,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::unistd::getuid;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::super::{
    api::{Code, ErrorReply, LaunchRequest, MAX_BODY, RunView, WhoAmI},
    body::failure,
    caller,
    client::{Client, ClientError, refusal, segment},
    places::{Role, Visitor},
    plain,
    rate::BURST,
    server::{HEAD, HEADERS, Server, Whom, converse},
};
use crate::{
    event::event::{Dropped, Event, What},
    supervisor::command::{Command, Envelope, EventsQuery, Feed},
};

/// A daemon that answers one kind of question.
pub(super) struct Daemon {
    pub(super) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Daemon {
    pub(super) fn start(answer: impl FnMut(Envelope) + Send + 'static) -> Self {
        Self::serve(answer, false)
    }

    /// `to_a_run`: whoever asks belongs to one.
    fn serve(mut answer: impl FnMut(Envelope) + Send + 'static, to_a_run: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Others than root are to come to the socket as well.
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).unwrap();
        let socket = folder.path().join("control.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let path = socket.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (commands, mut waiting) = mpsc::channel(4);
                let server = Server::bind(&path, None, commands).unwrap();
                ready.send(()).unwrap();
                let answering = async {
                    while let Some(envelope) = waiting.recv().await {
                        answer(envelope);
                    }
                };
                tokio::select! {
                    () = server.serve(move |_| to_a_run) => {}
                    () = answering => {}
                    stopped = stopped => stopped.unwrap(),
                }
            });
        });
        is_ready.recv().unwrap();
        Self { socket, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.socket.exists(), "the socket goes with the daemon");
    }
}

/// What is answered to these bytes, even if not all of them are wanted: the head, and the body as JSON.
pub(super) fn exchange(mut stream: UnixStream, request: &str) -> (String, serde_json::Value) {
    if let Err(error) = stream.write_all(request.as_bytes()) {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

/// Whoever is at the other end, as a user.
pub(super) fn nobody(stream: &tokio::net::UnixStream) -> Whom {
    let caller = caller::identify(stream, None).unwrap();
    Whom { visitor: Arc::new(Visitor::new(caller, Role::User)), wait: None }
}

fn refused(error: ClientError) -> ErrorReply {
    match error {
        ClientError::Refused(reply) => reply,
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn the_kernel_says_who_asks() {
    let daemon = Daemon::start(|envelope| {
        let Envelope { caller, command, .. } = envelope;
        assert_eq!(caller.tgid, std::process::id());
        // The test harness has threads, and nobody traces it.
        let super::super::caller::Condition { threads, tracer, .. } =
            super::super::caller::condition(&caller).unwrap();
        assert!(threads > 1);
        assert_eq!(tracer, 0);
        let Command::WhoAmI(reply) = command else { panic!("{command:?}") };
        let who = WhoAmI { uid: caller.uid, operator: caller.operator, run: None, about: None };
        reply.send(Ok(who)).unwrap();
    });
    let who: WhoAmI = daemon.client().get("/v1/whoami").unwrap();
    assert_eq!(who.uid, getuid().as_raw());
    assert_eq!(who.operator, getuid().is_root());
}

#[test]
fn a_run_asks_no_more_often_than_others_may_whoever_its_user_is() {
    let daemon = Daemon::serve(
        |envelope| {
            envelope.command.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look"))
        },
        true,
    );
    let client = daemon.client();
    let answer = |_| refused(client.get::<WhoAmI>("/v1/whoami").unwrap_err()).code;
    let first = (0..10 * BURST).map(answer).position(|code| code == Code::TooOften);
    assert!(first.is_some_and(|before| before >= BURST as usize), "{first:?}");
}

#[test]
fn a_refusal_reaches_the_caller_with_its_code_and_remedy() {
    let daemon = Daemon::start(|envelope| {
        envelope.command.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look"));
    });
    let error = daemon.client().get::<RunView>("/v1/runs/abcd").unwrap_err();
    let expected = ErrorReply::new(Code::UnknownRun, "no such run", "look");
    assert_eq!(refused(error), expected);
}

/// The client of `agentid run`.
#[test]
fn a_process_that_becomes_a_run_is_answered_like_any_other() {
    let daemon = Daemon::start(|envelope| {
        envelope.command.refuse(ErrorReply::new(Code::UnknownPolicy, "no such", "look"));
    });
    let ask = |route: &str, request: &LaunchRequest| {
        plain::post::<_, WhoAmI>(&daemon.socket, route, request).unwrap_err()
    };
    let small = LaunchRequest::default();
    let expected = ErrorReply::new(Code::UnknownPolicy, "no such", "look");
    assert_eq!(refused(ask("/v1/runs", &small)), expected);
    assert_eq!(refused(ask("/v1/nothing", &small)).code, Code::NoRoute);
    let large = LaunchRequest { purpose: Some("x".repeat(70_000)), ..LaunchRequest::default() };
    assert_eq!(refused(ask("/v1/runs", &large)).code, Code::TooLarge);
    let away = Path::new("/nonexistent/control.sock");
    let error = plain::post::<_, WhoAmI>(away, "/v1/runs", &small).unwrap_err();
    assert!(matches!(error, ClientError::Away { .. }));
}

#[test]
fn what_is_no_request_never_reaches_the_supervisor() {
    let daemon = Daemon::start(|envelope| panic!("{envelope:?}"));
    let client = daemon.client();
    let code = |error| refused(error).code;
    assert_eq!(code(client.get::<()>("/v1/nothing").unwrap_err()), Code::NoRoute);
    assert_eq!(code(client.post::<_, ()>("/v1/runs", &"text").unwrap_err()), Code::BadRequest);
    let large = LaunchRequest { purpose: Some("x".repeat(70_000)), ..LaunchRequest::default() };
    assert_eq!(code(client.post::<_, ()>("/v1/runs", &large).unwrap_err()), Code::TooLarge);
    assert_eq!(code(client.get::<()>("/v1/runs?all=maybe").unwrap_err()), Code::BadRequest);
    assert_eq!(code(client.get::<()>("/v1/events?fellow=true").unwrap_err()), Code::BadRequest);
}

/// The status that is answered to a request with this head and body.
fn status(daemon: &Daemon, line: &str, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: agentid\r\n{head}\r\n{body}");
    if let Err(error) = stream.write_all(request.as_bytes()) {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer[9..].to_vec()).unwrap()
}

#[test]
fn a_head_that_is_too_large_never_reaches_the_supervisor() {
    let daemon = Daemon::start(|envelope| panic!("{envelope:?}"));
    let headers = |count: usize| "X-Y: z\r\n".repeat(count);
    assert_eq!(status(&daemon, "GET /v1/whoami", &headers(HEADERS), ""), "431", "one too many");
    let long = format!("X-Long: {}\r\n", "y".repeat(20 * 1024));
    assert_eq!(status(&daemon, "GET /v1/whoami", &long, ""), "431");
    let path = format!("GET /v1/{}", "y".repeat(HEAD));
    assert!(["414", "431"].contains(&status(&daemon, &path, "", "").as_str()));
}

#[test]
fn a_head_and_a_body_may_be_as_large_as_it_is_said() {
    let daemon = Daemon::start(|envelope| {
        envelope.command.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look"));
    });
    let headers = "X-Y: z\r\n".repeat(HEADERS - 1);
    assert_eq!(status(&daemon, "GET /v1/whoami", &headers, ""), "404");
    let long = format!("X-Long: {}\r\n", "y".repeat(HEAD - 200));
    assert_eq!(status(&daemon, "GET /v1/whoami", &long, ""), "404");
    let body = r#"{"policy":"p","agent":"a","owner":"o","task":"t"}"#;
    let body = body.to_owned() + &" ".repeat(MAX_BODY - body.len());
    let length = format!("Content-Type: application/json\r\nContent-Length: {MAX_BODY}\r\n");
    assert_eq!(status(&daemon, "POST /v1/runs", &length, &body), "404");
}

#[test]
fn an_id_travels_whole_whatever_it_contains() {
    let daemon = Daemon::start(|envelope| {
        let Command::Show { id, reply } = envelope.command else { panic!("not a show") };
        reply.send(Err(ErrorReply::new(Code::UnknownRun, id, "look"))).unwrap();
    });
    let id = "a/b?c=d é%";
    let route = format!("/v1/runs/{}", segment(id));
    assert_eq!(refused(daemon.client().get::<RunView>(&route).unwrap_err()).message, id);
}

#[test]
fn events_come_in_order_past_and_present() {
    let daemon = Daemon::start(|envelope| {
        let Command::Events { query, reply } = envelope.command else { panic!("not events") };
        let expected = EventsQuery {
            follow: true,
            id: Some("abcd".to_owned()),
            last: Some(2),
            ..EventsQuery::default()
        };
        assert_eq!(query, expected);
        let event = |count| {
            let what = What::Dropped(Dropped { count });
            std::sync::Arc::new(Event { seq: count, time_ms: count, run: None, what })
        };
        let (queue, live) = mpsc::channel(4);
        for count in [3, 4] {
            queue.try_send(event(count)).unwrap();
        }
        let feed = Feed { start: 0, past: vec![event(1), event(2)], live: Some(live) };
        reply.send(Ok(feed)).unwrap();
    });
    let mut seen = Vec::new();
    let mut at = None;
    let route = "/v1/events?follow=true&id=abcd&last=2";
    let ended = daemon
        .client()
        .events(route, &mut at, |event| {
            seen.push(event.time_ms);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(ended.is_continue(), "the daemon has ended it");
    assert_eq!((seen, at), (vec![1, 2, 3, 4], Some(4)));
}

#[test]
fn an_absent_daemon_is_said_to_be_absent() {
    let client = Client::new(Path::new("/nonexistent/control.sock")).unwrap();
    let error = client.get::<WhoAmI>("/v1/whoami").unwrap_err();
    assert!(matches!(error, ClientError::Away { .. }));
    assert!(error.to_string().contains("/nonexistent/control.sock"), "{error}");
}

/// What happened, to what, and what to do.
#[track_caller]
pub(super) fn says_all(problem: &serde_json::Value) {
    for text in ["title", "detail", "remedy"] {
        assert!(!problem[text].as_str().unwrap_or_default().is_empty(), "no {text}: {problem}");
    }
    assert_ne!(problem["detail"], problem["remedy"]);
}

#[test]
fn whatever_is_refused_is_told_as_problem_details() {
    let daemon = Daemon::start(|envelope| {
        envelope.command.refuse(ErrorReply::new(Code::UnknownRun, "no such run", "look"));
    });
    for (line, head, status, code) in [
        ("GET /v1/runs/abcd", "", 404, "unknown_run"),
        ("GET /v1/nothing", "", 404, "no_route"),
        ("DELETE /v1/runs", "", 405, "bad_method"),
        ("GET /v1/runs?all=maybe", "", 400, "bad_request"),
        ("GET /v1/runs/%ff", "", 400, "bad_request"),
        ("GET /v1/tree?select=%7B", "", 400, "bad_request"),
        ("GET /v1/tree?select=%5B%5D", "", 400, "bad_request"),
        ("GET /v1/events?select=%7B%22colour%22:1%7D", "", 400, "bad_request"),
        ("GET /v1/events", "Last-Event-ID: x\r\n", 400, "bad_request"),
        ("POST /v1/runs", "Content-Length: 2\r\n", 400, "bad_request"),
        (
            "POST /v1/runs",
            "Content-Type: text/plain\r\nContent-Length: 2\r\n",
            415,
            "bad_media_type",
        ),
    ] {
        let stream = UnixStream::connect(&daemon.socket).unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: agentid\r\n{head}\r\n{{}}");
        let (head, problem) = exchange(stream, &request);
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{line}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{line}: {head}");
        assert_eq!(head.contains("allow: "), status == 405, "{line}: {head}");
        assert_eq!(problem["type"], format!("urn:agentid:problem:{code}"), "{line}");
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&status.into(), &code.into()),
            "{line}"
        );
        says_all(&problem);
    }
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    let head = "POST /v1/runs HTTP/1.1\r\nContent-Length: 70000\r\n\r\n";
    let large = head.to_owned() + &" ".repeat(70_000);
    let problem = exchange(stream, &large).1;
    assert_eq!(problem["code"], "too_large");
    says_all(&problem);
    let problem = ErrorReply::new(Code::UnknownRun, "no such run", "look");
    let problem = serde_json::to_value(problem).unwrap();
    assert_eq!((&problem["detail"], &problem["remedy"]), (&"no such run".into(), &"look".into()));
}

/// What is answered to somebody who has asked too often.
fn asked_too_often(request: &str) -> (String, serde_json::Value) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let served = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let stream = tokio::net::UnixStream::from_std(far).unwrap();
            let app = axum::Router::new().fallback(async || {
                failure(ErrorReply::new(Code::UnknownRun, "the routes were asked", "look"))
            });
            let wait = Some(Duration::from_millis(1500));
            let whom = Whom { wait, ..nobody(&stream) };
            converse(stream, app, Duration::from_secs(30), whom).await;
        });
    });
    let answer = exchange(near, request);
    served.join().unwrap();
    answer
}

#[test]
fn who_asks_too_often_can_still_end_runs() {
    for path in ["/v1/revoke", "/v1/suspend", "/v1/self/end", "/v1/runs/0192f0c1/revoke"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: agentid\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(asked_too_often(&request).1["code"], "unknown_run", "{path}");
    }
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let request = "GET /v1/whoami HTTP/1.1\r\nHost: agentid\r\n\r\n";
    let (head, problem) = asked_too_often(request);
    assert!(head.starts_with("http/1.1 429 ") && head.contains("\r\nretry-after: 2"), "{head}");
    says_all(&problem);
    assert_eq!(problem["code"], "too_often");
}

#[test]
fn a_refusal_of_another_version_keeps_its_words() {
    let status = hyper::StatusCode::CONFLICT;
    let body = br#"{"type":"urn:x","title":"t","status":409,"detail":"odd","code":"odd"}"#;
    assert_eq!(refusal(status, body).message, "odd");
    assert_eq!(refusal(status, b"<html>").message, "the daemon answered with status 409 Conflict");
}
