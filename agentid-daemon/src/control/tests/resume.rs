//! Streams of events that break off and are asked for again.

use std::{
    io::{Read as _, Write as _},
    ops::ControlFlow,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};

use super::{
    super::{
        api::LAST_EVENT,
        feed::{EventBody, last_event},
    },
    socket::{Daemon, exchange},
};
use crate::{
    event::{
        event::{Dropped, Event, What},
        export::{Filter, Hub, Known},
    },
    instance::Registry,
    supervisor::{
        command::{Command, Feed, Listed},
        step::Now,
    },
};

const NOW: Now = Now { boot_ns: 1, wall_ms: 1 };

fn event(seq: u64) -> Event {
    Event { seq, time_ms: seq, run: None, what: What::Dropped(Dropped { count: seq }) }
}

fn publish(hub: &Mutex<Hub>, seq: u64) {
    let registry = Registry::new(2, 0);
    let known = Known { registry: &registry, now: NOW };
    hub.lock().unwrap().publish(event(seq), None, known);
}

/// As the supervisor answers, with the numbers that are asked for.
fn serving(hub: &Arc<Mutex<Hub>>) -> Daemon {
    let hub = Arc::clone(hub);
    Daemon::start(move |envelope| {
        let Command::Events { query, reply } = envelope.command else { panic!("not events") };
        let mut hub = hub.lock().unwrap();
        let after = query.after.unwrap();
        let registry = Registry::new(2, 0);
        let known = Known { registry: &registry, now: NOW };
        let past = hub.after(&Filter::default(), known, after);
        let live = query.follow.then(|| hub.follow(Filter::default()).unwrap());
        // Whoever asked may have gone.
        drop(reply.send(Ok(Feed { start: after, past, live })));
    })
}

#[test]
fn a_follower_that_comes_again_and_again_misses_and_repeats_nothing_whoever_publishes_meanwhile() {
    // No more than a queue holds, so that nobody is too slow for it.
    const ALL: u64 = 1000;
    let hub = Arc::new(Mutex::new(Hub::new(ALL as usize, 0)));
    let daemon = serving(&hub);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for seq in 1..=ALL {
                publish(&hub, seq);
                if seq % 4 == 0 {
                    thread::yield_now();
                }
            }
        });
        let followers: Vec<_> = (1..=3)
            .map(|each: usize| {
                let client = daemon.client();
                scope.spawn(move || {
                    let (mut seen, mut at) = (Vec::new(), None);
                    while at != Some(ALL) {
                        let mut left = 37 * each;
                        let ended =
                            client.events("/v1/events?follow=true&after=0", &mut at, |event| {
                                seen.push(event.seq);
                                left -= 1;
                                if left == 0 || event.seq == ALL {
                                    ControlFlow::Break(())
                                } else {
                                    ControlFlow::Continue(())
                                }
                            });
                        assert!(ended.unwrap().is_break());
                    }
                    assert!(seen.iter().copied().eq(1..=ALL), "{} events", seen.len());
                })
            })
            .collect();
        publisher.join().unwrap();
        followers.into_iter().for_each(|follower| follower.join().unwrap());
    });
}

#[test]
fn an_event_carries_its_number_and_a_stream_that_goes_on_begins_with_its_place() {
    let hub = Arc::new(Mutex::new(Hub::new(10, 0)));
    publish(&hub, 7);
    let daemon = serving(&hub);
    let said = |follow: bool| {
        let mut stream = UnixStream::connect(&daemon.socket).unwrap();
        let line =
            format!("GET /v1/events?follow={follow}&after=3 HTTP/1.1\r\nHost: agentid\r\n\r\n");
        stream.write_all(line.as_bytes()).unwrap();
        let mut text = String::new();
        while !text.contains("}\n\n") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "{text}");
            text += std::str::from_utf8(&bytes[..count]).unwrap();
        }
        text
    };
    let followed = said(true);
    let (place, event) =
        (followed.find("retry: 2000\nid: 3\n\n"), followed.find("id: 7\ndata: {\"seq\":7,"));
    assert!(place.unwrap() < event.unwrap(), "{followed}");
    let told = said(false);
    assert!(told.contains("id: 7\ndata: {") && !told.contains("retry"), "{told}");
}

#[test]
fn a_follower_before_its_first_event_knows_its_place() {
    let daemon = Daemon::start(|envelope| {
        let Command::Events { reply, .. } = envelope.command else { panic!("not events") };
        let (queue, live) = tokio::sync::mpsc::channel(1);
        drop(queue);
        reply.send(Ok(Feed { start: 42, past: Vec::new(), live: Some(live) })).unwrap();
    });
    let mut at = None;
    let ended =
        daemon.client().events("/v1/events?follow=true", &mut at, |event| panic!("{event:?}"));
    assert!(ended.unwrap().is_continue());
    assert_eq!(at, Some(42));
}

#[test]
fn the_header_wins_and_what_is_no_number_is_refused() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let daemon = Daemon::start(move |envelope| {
        let Command::Events { query, reply } = envelope.command else { panic!("not events") };
        noted.lock().unwrap().push(query.after);
        reply.send(Ok(Feed { start: 0, past: Vec::new(), live: None })).unwrap();
    });
    let answer = |query: &str, heads: &[&str]| {
        let heads: String = heads.iter().map(|head| format!("Last-Event-ID: {head}\r\n")).collect();
        let request = format!("GET /v1/events{query} HTTP/1.1\r\nHost: agentid\r\n{heads}\r\n");
        (UnixStream::connect(&daemon.socket).unwrap(), request)
    };
    let status = |query: &str, heads: &[&str]| {
        let (mut stream, request) = answer(query, heads);
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    for (query, heads) in
        [("", &[][..]), ("?after=5", &[]), ("?after=5", &["9"]), ("", &["0"]), ("?last=1", &["9"])]
    {
        assert_eq!(status(query, heads), "200", "{query} {heads:?}");
    }
    assert_eq!(*asked.lock().unwrap(), [None, Some(5), Some(9), Some(0), Some(9)]);
    for heads in [
        &["x"][..],
        &[""],
        &["-1"],
        &["+1"],
        &["1.0"],
        &["18446744073709551616"],
        &["1", "1"],
        &["1, 2"],
    ] {
        let (stream, request) = answer("?after=5", heads);
        let (head, problem) = exchange(stream, &request);
        assert!(head.starts_with("http/1.1 400 "), "{heads:?}: {head}");
        assert_eq!(problem["code"], "bad_request", "{heads:?}");
        assert!(problem["detail"].as_str().unwrap().contains("Last-Event-ID"), "{problem}");
    }
    for query in ["?after=x", "?after=", "?after=-1", "?after=18446744073709551616"] {
        let (stream, request) = answer(query, &[]);
        assert_eq!(exchange(stream, &request).1["code"], "bad_request", "{query}");
    }
    assert_eq!(asked.lock().unwrap().len(), 5, "what is refused is asked of nobody");
    let mut headers = HeaderMap::new();
    headers.insert(LAST_EVENT, HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(last_event(&headers).is_err());
}

#[test]
fn a_list_says_up_to_which_number_it_holds() {
    let daemon = Daemon::start(|envelope| match envelope.command {
        Command::List { reply, .. } | Command::Select { reply, .. } => {
            reply.send(Ok(Listed { seq: 77, value: Vec::new() })).unwrap();
        }
        other => panic!("{other:?}"),
    });
    for request in
        ["GET /v1/runs HTTP/1.1\r\n\r\n", "POST /v1/select HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"]
    {
        let (head, body) = exchange(UnixStream::connect(&daemon.socket).unwrap(), request);
        assert!(head.contains("\r\nlast-event-id: 77"), "{head}");
        assert_eq!(body, serde_json::json!([]));
    }
}

#[tokio::test]
async fn a_stream_without_events_says_that_it_is_there() {
    use http_body_util::BodyExt as _;
    let (queue, live) = tokio::sync::mpsc::channel(4);
    const QUIET: Duration = Duration::from_millis(20);
    let feed = Feed { start: 1, past: Vec::new(), live: Some(live) };
    let mut body = EventBody::quiet_for(feed, QUIET);
    let mut next = async || {
        let before = tokio::time::Instant::now();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (String::from_utf8(frame.to_vec()).unwrap(), before.elapsed())
    };
    assert_eq!(next().await.0, "retry: 2000\nid: 1\n\n");
    for _ in 0..2 {
        let (text, after) = next().await;
        assert_eq!(text, ":\n\n");
        assert!(after >= QUIET / 2, "{after:?}");
    }
    queue.send(Arc::new(event(2))).await.unwrap();
    assert!(next().await.0.starts_with("id: 2\ndata: "));
}
