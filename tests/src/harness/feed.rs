//! Streams of the daemon's events as they come over the socket, many at once, and clients that do not do their part.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::{Daemon, wait};
use crate::control::request;

/// One follower of all events that it may see.
pub struct Feed {
    stream: UnixStream,
    bytes: Vec<u8>,
    /// The daemon has ended it.
    pub over: bool,
}

impl Feed {
    /// Follows the events; the daemon has taken it for a follower when this returns.
    pub fn follow(daemon: &Daemon) -> Result<Self> {
        Self::begin(daemon, 0, "GET /v1/events?follow=true")
    }

    /// The same of a user who has all events up to this number.
    pub fn follow_after(daemon: &Daemon, uid: u32, seq: u64) -> Result<Self> {
        Self::begin(daemon, uid, &format!("GET /v1/events?follow=true&after={seq}"))
    }

    fn begin(daemon: &Daemon, uid: u32, line: &str) -> Result<Self> {
        let socket = daemon.scene().socket();
        let stream = as_user(uid, || {
            let mut stream = UnixStream::connect(&socket)?;
            stream.write_all(request(line, "").as_bytes())?;
            Ok(stream)
        })?;
        stream.set_read_timeout(Some(wait::SOON))?;
        let mut feed = Self { stream, bytes: Vec::new(), over: false };
        // The head of the answer is there at once, whatever happens.
        while !feed.text().contains("\r\n\r\n") {
            ensure!(feed.read()? > 0, "the daemon has ended a stream: {}", feed.text());
        }
        ensure!(feed.text().starts_with("HTTP/1.1 200 "), "{}", feed.text());
        feed.stream.set_nonblocking(true)?;
        Ok(feed)
    }

    /// Takes what is there, without waiting.
    pub fn take(&mut self) -> Result<()> {
        while !self.over && self.read()? > 0 {}
        Ok(())
    }

    fn read(&mut self) -> Result<usize> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.over = true;
                Ok(0)
            }
            Ok(count) => {
                self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("failed to read events"),
        }
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The events that have come up to now. An event is a line; what frames it is not looked at.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = self.text();
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// All runs that a user may see, as its list has them, and the number of events up to which it holds.
pub fn list(daemon: &Daemon, uid: u32) -> Result<(Vec<Value>, u64)> {
    let socket = daemon.scene().socket();
    let answer = as_user(uid, || {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(request("GET /v1/runs?all=true", "").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    let number = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
    let number = number.with_context(|| format!("the list has no number: {head}"))?;
    Ok((serde_json::from_str(body)?, number.parse()?))
}

/// The number of an event.
pub fn number(event: &Value) -> Result<u64> {
    event["seq"].as_u64().with_context(|| format!("an event without a number: {event}"))
}

/// What a follower has been told of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Sequence numbers of its records, in the order in which they came.
    pub records: Vec<u64>,
    /// How many events are said to have been dropped.
    pub dropped: u64,
}

impl Told {
    pub fn of(feed: &Feed, id: &str) -> Result<Self> {
        let mut told = Self::default();
        for event in feed.events()? {
            let what = &event["what"];
            if what["kind"] == "dropped" {
                told.dropped += what["count"].as_u64().context("no count")?;
            } else if event["run"]["id"] == id && what["kind"] == "access" {
                told.records.push(what["sequence"].as_u64().context("no sequence")?);
            }
        }
        Ok(told)
    }
}

/// Connections of a user who does not do his part: of every two, one has begun a request and never goes on, the other
/// follows the events and never reads. The daemon may have closed some of them since.
pub struct Stuck(Vec<UnixStream>);

impl Stuck {
    pub fn of(daemon: &Daemon, uid: u32, count: usize) -> Result<Self> {
        let socket = daemon.scene().socket();
        let follow = request("GET /v1/events?follow=true", "");
        let words = [b"POST /v1/runs HTTP/1.1\r\nHost: ag".as_slice(), follow.as_bytes()];
        let one = |word: &&[u8]| {
            let mut stream = UnixStream::connect(&socket)?;
            match stream.write_all(word) {
                // One too many.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
                Ok(()) | Err(_) => Ok(stream),
            }
        };
        let words: Vec<&[u8]> = words.iter().copied().cycle().take(count).collect();
        Ok(Self(as_user(uid, || words.iter().map(one).collect::<Result<_>>())?))
    }

    /// How many the daemon has not closed.
    pub fn open(&self) -> Result<usize> {
        let mut open = 0;
        for stream in &self.0 {
            let mut set = [PollFd::new(stream.as_fd(), PollFlags::empty())];
            poll(&mut set, PollTimeout::ZERO)?;
            let closed = set[0].revents().is_some_and(|it| it.contains(PollFlags::POLLHUP));
            open += usize::from(!closed);
        }
        Ok(open)
    }
}

/// Does something as another user, who is that only on a thread of its own.
fn as_user<T: Send>(uid: u32, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let become_and_do = || {
        let same = u32::MAX;
        // SAFETY: plain system calls. Those of the C library would change all threads.
        let done = unsafe {
            libc::syscall(libc::SYS_setresgid, same, uid, same) == 0
                && libc::syscall(libc::SYS_setresuid, same, uid, same) == 0
        };
        ensure!(done, "the thread cannot become user {uid}: {}", std::io::Error::last_os_error());
        what()
    };
    thread::scope(|scope| scope.spawn(become_and_do).join().ok().context("the thread has died"))?
}
