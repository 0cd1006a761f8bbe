//! Events as the body of an answer: server-sent, each with its number for an ID.
//!
//! A stream that goes on begins with where it does, so that whoever loses it before the first event comes again with that;
//! and while there is nothing to tell it says that it is there.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use hyper::body::{Body, Bytes, Frame};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};

use super::api::{Code, ErrorReply, LAST_EVENT};
use crate::{event::event::Event, supervisor::command::Feed};

/// Starts of the lines that carry a number and an event.
pub const ID: &str = "id: ";
pub const DATA: &str = "data: ";
/// What the body is said to be.
pub const STREAM: &str = "text/event-stream";
/// After how long without an event a stream that goes on has a line for nobody.
const QUIET: Duration = Duration::from_secs(15);
/// After how long a reader that has lost the stream is to ask for it again, in milliseconds.
const RETRY: u64 = 2000;

/// The past events, then those to come, until either side goes away.
pub struct EventBody {
    opening: Option<Bytes>,
    past: VecDeque<Arc<Event>>,
    live: Option<Live>,
}

struct Live {
    events: mpsc::Receiver<Arc<Event>>,
    quiet: Pin<Box<Sleep>>,
    after: Duration,
}

impl From<Feed> for EventBody {
    fn from(feed: Feed) -> Self {
        Self::quiet_for(feed, QUIET)
    }
}

impl EventBody {
    /// With a line for nobody after so long.
    pub(super) fn quiet_for(feed: Feed, after: Duration) -> Self {
        let Feed { start, past, live } = feed;
        let live = live.map(|events| Live { events, quiet: Box::pin(sleep(after)), after });
        let opening = live.as_ref().map(|_| format!("retry: {RETRY}\n{ID}{start}\n\n").into());
        Self { opening, past: past.into(), live }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(opening) = this.opening.take() {
            return Poll::Ready(Some(Ok(Frame::data(opening))));
        }
        if let Some(event) = this.past.pop_front() {
            return Poll::Ready(Some(Ok(frame(&event))));
        }
        let Some(live) = &mut this.live else { return Poll::Ready(None) };
        if let Poll::Ready(event) = live.events.poll_recv(context) {
            live.quiet.as_mut().reset(Instant::now() + live.after);
            return Poll::Ready(event.map(|event| Ok(frame(&event))));
        }
        match live.quiet.as_mut().poll(context) {
            Poll::Ready(()) => {
                live.quiet.as_mut().reset(Instant::now() + live.after);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

fn frame(event: &Event) -> Frame<Bytes> {
    // The schema has no map with keys that are not text, which is all that could fail.
    let json = serde_json::to_string(event).unwrap_or_default();
    let seq = event.seq;
    Frame::data(Bytes::from(format!("{ID}{seq}\n{DATA}{json}\n\n")))
}

/// Whether an answer with these headers is one.
pub fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind == STREAM)
}

/// The number of the last event that the asking reader has, if it says one.
pub fn last_event(headers: &HeaderMap) -> Result<Option<u64>, ErrorReply> {
    let mut said = headers.get_all(LAST_EVENT).iter();
    let Some(value) = said.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && said.next().is_none() => Ok(Some(number)),
        _ => {
            let error = "the header Last-Event-ID is not the number of one event";
            let remedy = "send what an id: line of the stream, or a list, had; or leave it out";
            Err(ErrorReply::new(Code::BadRequest, error, remedy))
        }
    }
}
