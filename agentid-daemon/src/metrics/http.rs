//! `GET /metrics`, on loopback, and nothing else.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

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
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{debug, warn};

use crate::supervisor::command::Scrape;

/// Most scrapers at once.
const CONNECTIONS: usize = 16;
/// How long a scraper may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
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
    scrapes: mpsc::Sender<Scrape>,
}

impl Server {
    pub async fn bind(
        address: SocketAddr,
        scrapes: mpsc::Sender<Scrape>,
    ) -> Result<Self, MetricsError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| MetricsError { address, source })?;
        Ok(Self { listener, scrapes })
    }

    /// Serves until the task is dropped.
    pub async fn serve(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(converse(stream, self.scrapes.clone()));
                        }
                        Err(error) => {
                            warn!(%error, "failed to accept a scraper");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn converse(stream: TcpStream, scrapes: mpsc::Sender<Scrape>) {
    let service = service_fn(|request: Request<Incoming>| {
        let scrapes = scrapes.clone();
        async move { Ok::<_, Infallible>(answer(&request, &scrapes).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a scrape ended early");
    }
}

async fn answer(
    request: &Request<Incoming>,
    scrapes: &mpsc::Sender<Scrape>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned());
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    let (scrape, answer) = oneshot::channel();
    if scrapes.send(scrape).await.is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n".to_owned());
    }
    match answer.await {
        Ok(Ok(metrics)) => text(StatusCode::OK, metrics),
        Ok(Err(message)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n")),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    response
}
