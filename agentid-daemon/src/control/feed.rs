//! Events as the body of an answer: one server-sent `data:` line each.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

use crate::{event::event::Event, supervisor::command::Feed};

/// Start of a line that carries an event.
pub const DATA: &str = "data: ";

/// The past events, then those to come, until either side goes away.
pub struct EventBody {
    past: VecDeque<Arc<Event>>,
    live: Option<mpsc::Receiver<Arc<Event>>>,
}

impl From<Feed> for EventBody {
    fn from(feed: Feed) -> Self {
        Self { past: feed.past.into(), live: feed.live }
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
        if let Some(event) = this.past.pop_front() {
            return Poll::Ready(Some(Ok(frame(&event))));
        }
        match &mut this.live {
            Some(live) => live.poll_recv(context).map(|event| event.map(|event| Ok(frame(&event)))),
            None => Poll::Ready(None),
        }
    }
}

fn frame(event: &Event) -> Frame<Bytes> {
    // The schema has no map with keys that are not text, which is all that could fail.
    let json = serde_json::to_string(event).unwrap_or_default();
    Frame::data(Bytes::from(format!("{DATA}{json}\n\n")))
}
