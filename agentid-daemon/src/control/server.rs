//! The control socket: connections to commands, answers to HTTP.
//!
//! Nothing is decided here. [`routes`] say what was asked, the kernel says by whom, and the supervisor answers.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::unistd::{Gid, chown};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    body::PATIENCE,
    caller,
    rate::{self, Rates},
    routes,
};
use crate::supervisor::command::{Caller, Commands};

/// Most bytes of a request's head, and most headers in it; hyper answers what has more with 431.
pub(super) const HEAD: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;
/// Most connections at once; of those most that others than operators have; and of those most that one user has.
const CONNECTIONS: usize = 320;
const COMMON: usize = 256;
const PER_USER: usize = 64;

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

    /// Serves until the task is dropped.
    pub async fn serve(self) {
        let app = routes::of_the_api().serve(self.commands.clone());
        let mut rates = Rates::default();
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
                                let now = Instant::now();
                                let app = match rates.take(&caller, now) {
                                    Ok(()) => app.clone(),
                                    Err(wait) => rate::refusing(wait, &app),
                                };
                                let app = app.layer(Extension(Arc::new(caller)));
                                connections.spawn(async move { converse(stream, app).await; uid });
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
pub(super) async fn converse(stream: UnixStream, app: Router) {
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection ended early");
    }
}
