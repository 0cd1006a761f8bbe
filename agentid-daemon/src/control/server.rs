//! The control socket: connections to commands, answers to HTTP.
//!
//! Nothing is decided here. A handler says what was asked and by whom, and the supervisor answers.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{
        DefaultBodyLimit, FromRequest, Path as Segment, Query, Request, State,
        rejection::QueryRejection,
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::{body::Bytes, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::unistd::{Gid, chown};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    api::{Code, ErrorReply, MAX_BODY},
    caller,
    feed::EventBody,
};
use crate::supervisor::command::{Answer, Caller, Command, Envelope, EventsQuery, Kind, Reply};

/// Most connections at once; of those most that others than operators have; and of those most that one user has.
const CONNECTIONS: usize = 320;
const COMMON: usize = 256;
const PER_USER: usize = 64;
/// How long a caller may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket could not be set up.
#[derive(Debug, Error)]
#[error("{action} {}", path.display())]
pub struct ServerError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The listening socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    operators: Option<u32>,
    commands: mpsc::Sender<Envelope>,
}

impl Server {
    /// Binds the socket. Everyone may connect: what a caller may ask is decided by its credentials.
    pub fn bind(
        path: &Path,
        operators: Option<u32>,
        commands: mpsc::Sender<Envelope>,
    ) -> Result<Self, ServerError> {
        let failed = |action| {
            let path = path.to_owned();
            move |source| ServerError { action, path, source }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("create the folder of"))?;
        }
        // The daemon's lock is held, so a socket that is there already has no listener.
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove the old socket")(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        chown(path, None, operators.map(Gid::from_raw))
            .map_err(|errno| failed("set the group of")(errno.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))
            .map_err(failed("set the mode of"))?;
        Ok(Self { listener, path: path.to_owned(), operators, commands })
    }

    /// Serves until the task is dropped.
    pub async fn serve(self) {
        let app = routes(self.commands.clone());
        let mut connections: JoinSet<u32> = JoinSet::new();
        let mut users: HashMap<u32, usize> = HashMap::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            let common = connections.len() < COMMON;
                            if let Some(caller) = self.admit(&stream, common, &mut users) {
                                let uid = caller.uid;
                                let app = app.clone();
                                connections.spawn(async move { converse(stream, caller, app).await; uid });
                            }
                        }
                        Err(error) => {
                            warn!(%error, "failed to accept a connection");
                            // Out of descriptors, most likely: give others time to end.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
                Some(ended) = connections.join_next() => {
                    if let Ok(uid) = ended && let Some(count) = users.get_mut(&uid) {
                        *count -= 1;
                        if *count == 0 {
                            users.remove(&uid);
                        }
                    }
                }
            }
        }
    }

    /// Whom to talk to; counts the connection.
    fn admit(
        &self,
        stream: &UnixStream,
        room: bool,
        users: &mut HashMap<u32, usize>,
    ) -> Option<Caller> {
        let caller = match caller::identify(stream, self.operators) {
            Ok(caller) => caller,
            Err(error) => {
                debug!(%error, "a peer cannot be known");
                return None;
            }
        };
        let count = users.entry(caller.uid).or_default();
        if !caller.operator && (!room || *count >= PER_USER) {
            warn!(uid = caller.uid, "too many connections");
            return None;
        }
        *count += 1;
        Some(caller)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, "failed to remove the control socket");
        }
    }
}

/// One request on one connection.
async fn converse(stream: UnixStream, caller: Caller, app: Router) {
    let app = app.layer(Extension(Arc::new(caller)));
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection ended early");
    }
}

type Desk = State<mpsc::Sender<Envelope>>;
type Peer = Extension<Arc<Caller>>;

/// A body that came in time and is not too large.
struct RawBody(Result<Bytes, ErrorReply>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        let bytes = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await;
        Ok(Self(match bytes {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(rejection)) => {
                let code = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
                    _ => Code::BadRequest,
                };
                Err(ErrorReply::new(code, rejection.body_text()))
            }
            Err(_) => Err(ErrorReply::new(Code::BadRequest, "the body did not come in time")),
        }))
    }
}

fn routes(commands: mpsc::Sender<Envelope>) -> Router {
    Router::new()
        .route("/v1/whoami", get(whoami))
        .route("/v1/self/denials", get(own_denials))
        .route("/v1/runs", get(list).post(launch))
        .route("/v1/runs/{id}", get(show))
        .route("/v1/runs/{id}/revoke", post(revoke))
        .route("/v1/runs/{id}/why", post(why))
        .route("/v1/events", get(events))
        .route("/v1/status", get(status))
        .route("/v1/delegate", post(delegate))
        .route("/v1/adopt", post(adopt))
        .route("/v1/tree", get(tree))
        .route("/v1/owners/deny", post(deny_owner))
        .route("/v1/owners/allow", post(allow_owner))
        .route("/v1/select", post(select))
        .route("/v1/revoke", post(revoke_all))
        .route("/v1/suspend", post(suspend))
        .route("/v1/resume", post(resume))
        .route("/v1/extend", post(extend))
        .route("/v1/policies", get(policies))
        .route("/v1/policies/{name}", get(policy))
        .fallback(async || failure(ErrorReply::new(Code::NoRoute, "no such route")))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(commands)
}

async fn whoami(desk: Desk, peer: Peer) -> Response {
    answer(ask(desk, peer, Command::WhoAmI).await)
}

async fn own_denials(desk: Desk, peer: Peer) -> Response {
    answer(ask(desk, peer, Command::OwnDenials).await)
}

async fn status(desk: Desk, peer: Peer) -> Response {
    answer(ask(desk, peer, Command::Status).await)
}

async fn launch(desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Launch(Box::new(request), reply)).await)
        }
        Err(error) => failure(error),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    all: bool,
}

async fn list(desk: Desk, peer: Peer, query: Result<Query<ListQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(ListQuery { all })) => {
            answer(ask(desk, peer, |reply| Command::List { all, reply }).await)
        }
        Err(error) => failure(ErrorReply::new(Code::BadRequest, error.body_text())),
    }
}

async fn show(desk: Desk, peer: Peer, Segment(id): Segment<String>) -> Response {
    answer(ask(desk, peer, |reply| Command::Show { id, reply }).await)
}

async fn revoke(desk: Desk, peer: Peer, Segment(id): Segment<String>, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Revoke { id, request, reply }).await)
        }
        Err(error) => failure(error),
    }
}

async fn tree(desk: Desk, peer: Peer) -> Response {
    answer(ask(desk, peer, Command::Tree).await)
}

async fn deny_owner(desk: Desk, peer: Peer, body: RawBody) -> Response {
    owner(true, desk, peer, body).await
}

async fn allow_owner(desk: Desk, peer: Peer, body: RawBody) -> Response {
    owner(false, desk, peer, body).await
}

async fn owner(denied: bool, desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Owner { denied, request, reply }).await)
        }
        Err(error) => failure(error),
    }
}

async fn delegate(desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Delegate(Box::new(request), reply)).await)
        }
        Err(error) => failure(error),
    }
}

async fn adopt(desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Adopt(Box::new(request), reply)).await)
        }
        Err(error) => failure(error),
    }
}

async fn select(desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => answer(ask(desk, peer, |reply| Command::Select { request, reply }).await),
        Err(error) => failure(error),
    }
}

async fn revoke_all(desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => answer(ask(desk, peer, |reply| Command::RevokeAll { request, reply }).await),
        Err(error) => failure(error),
    }
}

async fn suspend(desk: Desk, peer: Peer, body: RawBody) -> Response {
    change(Kind::Suspend, desk, peer, body).await
}

async fn resume(desk: Desk, peer: Peer, body: RawBody) -> Response {
    change(Kind::Resume, desk, peer, body).await
}

async fn extend(desk: Desk, peer: Peer, body: RawBody) -> Response {
    change(Kind::Extend, desk, peer, body).await
}

async fn change(kind: Kind, desk: Desk, peer: Peer, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => {
            answer(ask(desk, peer, |reply| Command::Change { kind, request, reply }).await)
        }
        Err(error) => failure(error),
    }
}

async fn why(desk: Desk, peer: Peer, Segment(id): Segment<String>, body: RawBody) -> Response {
    match parse(body) {
        Ok(request) => answer(ask(desk, peer, |reply| Command::Why { id, request, reply }).await),
        Err(error) => failure(error),
    }
}

async fn policies(desk: Desk, peer: Peer) -> Response {
    answer(ask(desk, peer, Command::Policies).await)
}

async fn policy(desk: Desk, peer: Peer, Segment(name): Segment<String>) -> Response {
    answer(ask(desk, peer, |reply| Command::Policy { name, reply }).await)
}

async fn events(
    desk: Desk,
    peer: Peer,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return failure(ErrorReply::new(Code::BadRequest, error.body_text())),
    };
    match ask(desk, peer, |reply| Command::Events { query, reply }).await {
        Ok(feed) => {
            let body = Body::new(EventBody::from(feed));
            ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Err(error) => failure(error),
    }
}

/// Hands a command over and waits for its answer.
async fn ask<T>(
    State(commands): Desk,
    Extension(caller): Peer,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Answer<T> {
    let stopping = || ErrorReply::new(Code::Stopping, "the daemon is stopping");
    let (reply, answer) = oneshot::channel();
    let envelope = Envelope { caller, arrived: Instant::now(), command: command(reply) };
    commands.send(envelope).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

fn parse<T: DeserializeOwned>(body: RawBody) -> Result<T, ErrorReply> {
    let bytes = body.0?;
    serde_json::from_slice(&bytes).map_err(|error| {
        ErrorReply::new(Code::BadRequest, format!("the body is not what is expected: {error}"))
    })
}

fn answer<T: Serialize>(answer: Answer<T>) -> Response {
    match answer {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => failure(error),
    }
}

fn failure(error: ErrorReply) -> Response {
    let status = StatusCode::from_u16(error.code.status());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), axum::Json(error)).into_response()
}
