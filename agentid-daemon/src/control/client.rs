//! The daemon, as a command sees it: one request on one connection, without threads.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{net::UnixStream, runtime::Runtime};

use super::{
    api::{Code, ErrorReply, LAST_EVENT, LOG},
    feed::{DATA, ID},
};
use crate::event::event::Event;

/// Longest line of an event that is read.
const MAX_LINE: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the agentid daemon does not answer at {}", path.display())]
    Away { path: PathBuf, source: io::Error },
    #[error("the agentid daemon may not be asked at {}", path.display())]
    Denied { path: PathBuf, source: io::Error },
    #[error("ask the daemon")]
    Exchange(#[source] hyper::Error),
    #[error("ask the daemon")]
    Plain(#[source] io::Error),
    #[error("build the request")]
    Request(#[source] hyper::http::Error),
    #[error("start the client")]
    Runtime(#[source] io::Error),
    #[error("read the daemon's answer, which is not what is expected")]
    Answer(#[source] serde_json::Error),
    #[error("read the daemon's events: a line is longer than {MAX_LINE} bytes")]
    Line,
    /// The daemon has refused.
    #[error("{}", .0.message)]
    Refused(ErrorReply),
}

impl ClientError {
    /// Whether the kernel keeps the answer from this process, as it does when its run is over.
    pub fn is_withheld(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Exchange(error) => Some(error),
            Self::Plain(error) => Some(error),
            _ => None,
        };
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A client that has its own single-threaded runtime. Dropping it closes everything that it opened.
pub struct Client {
    runtime: Runtime,
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        Ok(Self { runtime: runtime.map_err(ClientError::Runtime)?, socket: socket.to_owned() })
    }

    pub fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, ClientError> {
        self.runtime
            .block_on(async { read(self.exchange(Method::GET, route, Bytes::new()).await?).await })
    }

    pub fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        route: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Answer)?.into();
        self.runtime.block_on(async { read(self.exchange(Method::POST, route, body).await?).await })
    }

    /// Reads events until the daemon ends the stream or `each` says that it has enough. Goes on after the event `at`, if there
    /// is one, and notes there how far it has come, also when it fails.
    pub fn events(
        &self,
        route: &str,
        at: &mut Option<u64>,
        mut each: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        self.runtime.block_on(async {
            let mut body = self.exchange_after(Method::GET, route, Bytes::new(), *at).await?;
            let mut lines = Lines::default();
            let mut number = None;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(ClientError::Exchange)?;
                for line in lines.take(frame.data_ref().unwrap_or(&Bytes::new()))? {
                    if let Some(id) = line.strip_prefix(ID.as_bytes()) {
                        number = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
                    } else if let Some(json) = line.strip_prefix(DATA.as_bytes()) {
                        let event = serde_json::from_slice(json).map_err(ClientError::Answer)?;
                        let enough = each(event).is_break();
                        // Read as a whole, whether or not the rest of it still comes.
                        *at = number.take().or(*at);
                        if enough {
                            return Ok(ControlFlow::Break(()));
                        }
                    } else if line.is_empty() {
                        *at = number.take().or(*at);
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        route: &str,
        body: Bytes,
    ) -> Result<Incoming, ClientError> {
        self.exchange_after(method, route, body, None).await
    }

    /// Sends one request, with the last event that is known here. An answer that is not a success becomes an error.
    async fn exchange_after(
        &self,
        method: Method,
        route: &str,
        body: Bytes,
        event: Option<u64>,
    ) -> Result<Incoming, ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| away(&self.socket, source))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Exchange)?;
        // The connection's own end shows as an error of the exchange.
        drop(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(route)
            .header(HOST, "agentid")
            .header(CONTENT_TYPE, "application/json");
        if let Some(event) = event {
            request = request.header(LAST_EVENT, event);
        }
        let request = request.body(Full::new(body)).map_err(ClientError::Request)?;
        let answer = sender.send_request(request).await.map_err(ClientError::Exchange)?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(ClientError::Exchange)?.to_bytes();
        Err(ClientError::Refused(refusal(status, &bytes)))
    }
}

/// Why there is no connection.
pub(super) fn away(socket: &Path, source: io::Error) -> ClientError {
    let path = socket.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { path, source },
        _ => ClientError::Away { path, source },
    }
}

/// A refusal, also by a daemon of another version: with a code that is not known here, or no problem at all.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> ErrorReply {
    #[derive(serde::Deserialize)]
    struct Texts {
        detail: String,
        remedy: Option<String>,
    }
    if let Ok(known) = serde_json::from_slice(body) {
        return known;
    }
    match serde_json::from_slice(body) {
        Ok(Texts { detail, remedy }) => {
            ErrorReply::new(Code::Internal, detail, remedy.unwrap_or_else(|| LOG.to_owned()))
        }
        Err(_) => {
            let message = format!("the daemon answered with status {status}");
            ErrorReply::new(Code::Internal, message, LOG)
        }
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, ClientError> {
    let bytes = body.collect().await.map_err(ClientError::Exchange)?.to_bytes();
    serde_json::from_slice(&bytes).map_err(ClientError::Answer)
}

/// A text as one segment or value of a route.
pub fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encoded = text.bytes().map(|byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}

/// Whole lines out of pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that this piece completes.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut lines = Vec::new();
        for &byte in piece {
            if byte == b'\n' {
                lines.push(std::mem::take(&mut self.rest));
            } else if self.rest.len() >= MAX_LINE {
                return Err(ClientError::Line);
            } else {
                self.rest.push(byte);
            }
        }
        Ok(lines)
    }
}
