//! `GET /metrics`, on loopback, and nothing else.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, warn};

use crate::supervisor::command::Scrape;

/// Most scrapers at once.
const CONNECTIONS: usize = 16;
/// How long a scraper may take to ask, and for all of it.
const PATIENCE: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(15);
/// How long an answer waits at least to be read before it makes room for another scraper.
const TAKEN_SOON: Duration = Duration::from_millis(200);
/// For how long a text is told again: whoever is on this host may ask, as often as he likes, and the daemon has other work.
const KEPT: Duration = Duration::from_secs(1);
/// The text format that Prometheus reads.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error(
    "serve metrics on {address} (another address: `metrics` in the configuration; `\"off\"` for none)"
)]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

/// The listening socket.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    texts: Arc<Texts>,
}

/// Where texts come from, and the last one.
#[derive(Debug)]
pub(super) struct Texts {
    scrapes: mpsc::Sender<Scrape>,
    keep: Duration,
    last: Mutex<Option<(Instant, Bytes)>>,
}

/// How far a conversation is.
#[derive(Debug, Default)]
struct State {
    asked: AtomicBool,
    answered: OnceLock<Instant>,
}

/// Somebody who has come, until he has gone.
struct Scraper {
    state: Arc<State>,
    talk: AbortHandle,
}

impl Scraper {
    fn is_silent(&self) -> bool {
        !self.state.asked.load(Ordering::Relaxed)
    }

    fn is_left(&self) -> bool {
        self.state.answered.get().is_some_and(|since| since.elapsed() >= TAKEN_SOON)
    }
}

/// Whose place another one may have: the oldest who has not asked, or else the oldest who does not read.
fn spare(scrapers: &[Scraper]) -> Option<usize> {
    let oldest = |which: fn(&Scraper) -> bool| scrapers.iter().position(which);
    oldest(Scraper::is_silent).or_else(|| oldest(Scraper::is_left))
}

impl Server {
    pub async fn bind(
        address: SocketAddr,
        scrapes: mpsc::Sender<Scrape>,
    ) -> Result<Self, MetricsError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| MetricsError { address, source })?;
        Ok(Self { listener, texts: Arc::new(Texts::new(scrapes, KEPT)) })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Serves until the task is dropped.
    pub async fn serve(self) {
        let mut talks = JoinSet::new();
        // The oldest first.
        let mut scrapers: Vec<Scraper> = Vec::new();
        loop {
            let spare = spare(&scrapers);
            let is_room = scrapers.len() < CONNECTIONS || spare.is_some();
            tokio::select! {
                accepted = self.listener.accept(), if is_room => {
                    match accepted {
                        Ok((stream, _)) => {
                            if scrapers.len() >= CONNECTIONS && let Some(oldest) = spare {
                                scrapers.remove(oldest).talk.abort();
                            }
                            let state = Arc::<State>::default();
                            let talk = converse(stream, Arc::clone(&self.texts), Arc::clone(&state));
                            scrapers.push(Scraper { state, talk: talks.spawn(talk) });
                            // Who has come is heard before the next one, for whom it may have to go.
                            tokio::task::yield_now().await;
                        }
                        Err(error) => {
                            warn!(%error, "failed to accept a scraper");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
                Some(ended) = talks.join_next_with_id() => {
                    let gone = ended.map_or_else(|error| error.id(), |(talk, ())| talk);
                    scrapers.retain(|scraper| scraper.talk.id() != gone);
                }
                // Somebody's answer may have waited for long enough by then.
                () = tokio::time::sleep(TAKEN_SOON), if !is_room => {}
            }
        }
    }
}

async fn converse(stream: TcpStream, texts: Arc<Texts>, state: Arc<State>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (texts, state) = (&texts, &state);
        async move {
            state.asked.store(true, Ordering::Relaxed);
            let answer = answer(&request, texts).await;
            state.answered.get_or_init(Instant::now);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(WHOLE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a scrape ended early"),
        Err(_) => debug!("a scrape was not read in time"),
    }
}

impl Texts {
    pub(super) fn new(scrapes: mpsc::Sender<Scrape>, keep: Duration) -> Self {
        Self { scrapes, keep, last: Mutex::default() }
    }

    /// The last text, or a new one; who comes while that is made has it as well.
    pub(super) async fn text(&self) -> Result<Bytes, (StatusCode, String)> {
        let mut last = self.last.lock().await;
        if let Some((since, text)) = last.as_ref()
            && since.elapsed() < self.keep
        {
            return Ok(text.clone());
        }
        let stopping = || (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n".to_owned());
        let (scrape, answer) = oneshot::channel();
        self.scrapes.send(scrape).await.map_err(|_| stopping())?;
        match answer.await {
            Ok(Ok(text)) => {
                let text = Bytes::from(text);
                *last = Some((Instant::now(), text.clone()));
                Ok(text)
            }
            Ok(Err(message)) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n"))),
            Err(_) => Err(stopping()),
        }
    }
}

async fn answer(request: &Request<Incoming>, texts: &Texts) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "only /metrics is here\n");
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match texts.text().await {
        Ok(metrics) => text(StatusCode::OK, metrics),
        Err((status, why)) => text(status, why),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    response
}
