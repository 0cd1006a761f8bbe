//! The control socket: connections to commands, answers to HTTP.
//!
//! Nothing is decided here. [`routes`] say what was asked, the kernel says by whom, and the supervisor answers.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::unistd::{Gid, chown};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    body::PATIENCE,
    caller, feed,
    places::{Places, Role, TAKEN_SOON, Visitor},
    rate::{self, Rates},
    routes,
};
use crate::supervisor::command::{Caller, Commands};

/// Most bytes of a request's head, and most headers in it; hyper answers what has more with 431.
pub(super) const HEAD: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;
/// How long a caller may take to read an answer, which is in memory until then.
const TAKEN: Duration = Duration::from_secs(30);

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
    commands: Commands,
}

impl Server {
    /// Binds the socket. Everyone may connect: what a caller may ask is decided by its credentials.
    pub fn bind(
        path: &Path,
        operators: Option<u32>,
        commands: impl Into<Commands>,
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
        Ok(Self { listener, path: path.to_owned(), operators, commands: commands.into() })
    }

    /// Serves until the task is dropped; the kernel says which callers are runs.
    pub async fn serve(self, is_run: impl Fn(&Caller) -> bool) {
        let app = routes::of_the_api().serve(self.commands.clone());
        let mut rates = Rates::default();
        let mut places = Places::default();
        let mut talks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if places.are_to_be_had() => {
                    match accepted {
                        Ok((stream, _)) => {
                            if let Some(visitor) = self.admit(&stream, &is_run, &mut places) {
                                let wait = rates.take(visitor.caller.account, visitor.role(), Instant::now()).err();
                                let whom = Whom { visitor, wait };
                                let visitor = Arc::clone(&whom.visitor);
                                let talk = talks.spawn(converse(stream, app.clone(), TAKEN, whom));
                                places.take(&visitor, talk);
                            }
                            // Who has come is heard before the next one, for whom it may have to go.
                            tokio::task::yield_now().await;
                        }
                        Err(error) => {
                            warn!(%error, "failed to accept a connection");
                            // Out of descriptors, most likely: give others time to end.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
                Some(ended) = talks.join_next_with_id() => {
                    places.leave(ended.map_or_else(|error| error.id(), |(talk, ())| talk));
                }
                // Some answer may have waited for long enough by then, which nothing else tells.
                () = tokio::time::sleep(TAKEN_SOON), if !places.are_to_be_had() => {}
            }
        }
    }

    /// Whom to talk to, once there is room.
    fn admit(
        &self,
        stream: &UnixStream,
        is_run: impl Fn(&Caller) -> bool,
        places: &mut Places,
    ) -> Option<Arc<Visitor>> {
        let caller = match caller::identify(stream, self.operators) {
            Ok(caller) => caller,
            Err(error) => {
                debug!(%error, "a peer cannot be known");
                return None;
            }
        };
        let role = Role::of(&caller, is_run(&caller));
        if !places.make_room(&caller, role) {
            places.refuse(caller.uid);
            return None;
        }
        Some(Arc::new(Visitor::new(caller, role)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, "failed to remove the control socket");
        }
    }
}

/// With whom a conversation is, and how long he is to wait where he has asked too often.
pub(super) struct Whom {
    pub(super) visitor: Arc<Visitor>,
    pub(super) wait: Option<Duration>,
}

/// One request on one connection. An answer that ends is to be taken in this time; a stream of events waits for its reader,
/// and what it waits with is bounded.
pub(super) async fn converse(
    stream: UnixStream,
    app: Router,
    patience: Duration,
    Whom { visitor, wait }: Whom,
) {
    let app = TowerToHyperService::new(app);
    let answered = Notify::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (app, answered, visitor) = (&app, &answered, &visitor);
        async move {
            let answer = match wait {
                Some(wait) if !rate::ends_runs(request.uri().path()) => rate::refusal(wait),
                _ => {
                    request.extensions_mut().insert(Arc::clone(visitor));
                    app.call(request).await?
                }
            };
            if !feed::is_stream(answer.headers()) {
                visitor.is_answered();
                answered.notify_one();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let overdue = async {
        answered.notified().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            debug!(%error, "a connection ended early");
        },
        () = overdue => debug!("an answer was not taken in time"),
    }
}
