//! A route, declared once: how it is answered, and what the document says of it.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body,
    extract::{
        DefaultBodyLimit, Path as Segment, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::{
    api::{Code, ErrorReply, LAST_EVENT, MAX_BODY},
    body::{DOCUMENT, RawBody, failure, success},
    document::{self, Document, Operation},
    feed::{EventBody, STREAM, last_event},
    long::LongAnswers,
    places::Visitor,
};
use crate::{
    event::event::Event,
    supervisor::command::{Answer, Command, Commands, Envelope, EventsQuery, Feed, Listed, Reply},
};

/// What every request needs.
#[derive(Clone)]
pub struct Desk {
    commands: Commands,
    long: LongAnswers,
    document: Bytes,
}

type Peer = Extension<Arc<Visitor>>;
type Asked<Q> = Result<Query<Q>, QueryRejection>;
type Named = Result<Segment<String>, PathRejection>;

/// What a route is for, and the refusals that it alone has.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    pub id: &'static str,
    pub summary: &'static str,
    pub codes: &'static [Code],
}

/// All routes, and their description.
pub struct Routes {
    router: Router<Desk>,
    document: Document,
}

impl Routes {
    pub fn new(document: Document) -> Self {
        Self { router: Router::new(), document }
    }

    /// `GET`, of nothing in particular.
    pub fn get<T: Serialize + JsonSchema + Send + 'static>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(Reply<T>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self {
        self.document.add(path, "get", Operation::new(says).weighed().tells::<T>());
        let route = get(async move |State(desk): State<Desk>, peer: Peer| {
            tell(&desk, peer, command, said).await
        });
        self.with(path, route)
    }

    /// `GET`, with a query.
    pub fn get_asked<Q, T>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(Q, Reply<T>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + Send + 'static,
    {
        self.document.add(path, "get", Operation::new(says).weighed().query::<Q>().tells::<T>());
        let route =
            get(async move |State(desk): State<Desk>, peer: Peer, query: Asked<Q>| match query {
                Ok(Query(query)) => tell(&desk, peer, |reply| command(query, reply), said).await,
                Err(error) => failure(unread(&error.body_text())),
            });
        self.with(path, route)
    }

    /// `GET`, with a query, of what events are told about.
    pub fn get_list<Q, T>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(Q, Reply<Listed<T>>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + Send + 'static,
    {
        let operation = Operation::new(says).weighed().query::<Q>().tells::<T>().up_to_an_event();
        self.document.add(path, "get", operation);
        let route =
            get(async move |State(desk): State<Desk>, peer: Peer, query: Asked<Q>| match query {
                Ok(Query(query)) => tell(&desk, peer, |reply| command(query, reply), listed).await,
                Err(error) => failure(unread(&error.body_text())),
            });
        self.with(path, route)
    }

    /// `GET`, of something that the path names.
    pub fn get_named<T: Serialize + JsonSchema + Send + 'static>(
        mut self,
        path: &str,
        named: document::Named,
        says: Says,
        command: impl Fn(String, Reply<T>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self {
        self.document.add(path, "get", Operation::new(says).weighed().of(named).tells::<T>());
        let route =
            get(async move |State(desk): State<Desk>, peer: Peer, name: Named| match name {
                Ok(Segment(id)) => tell(&desk, peer, |reply| command(id, reply), said).await,
                Err(error) => failure(unread(&error.body_text())),
            });
        self.with(path, route)
    }

    /// `POST`, with a body.
    pub fn post<B, T>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(B, Reply<T>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        B: DeserializeOwned + Serialize + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + Send + 'static,
    {
        self.document.add(path, "post", Operation::new(says).body::<B>().tells::<T>());
        let route =
            post(async move |State(desk): State<Desk>, peer: Peer, body: RawBody| {
                match body.parse() {
                    Ok(body) => said(ask(&desk, peer, |reply| command(body, reply)).await),
                    Err(error) => failure(error),
                }
            });
        self.with(path, route)
    }

    /// `POST`, with a body that only asks, of what events are told about.
    pub fn post_list<B, T>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(B, Reply<Listed<T>>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        B: DeserializeOwned + Serialize + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + Send + 'static,
    {
        let operation = Operation::new(says).weighed().body::<B>().tells::<T>().up_to_an_event();
        self.document.add(path, "post", operation);
        let route =
            post(async move |State(desk): State<Desk>, peer: Peer, body: RawBody| {
                match body.parse() {
                    Ok(body) => tell(&desk, peer, |reply| command(body, reply), listed).await,
                    Err(error) => failure(error),
                }
            });
        self.with(path, route)
    }

    /// `POST`, to one run.
    pub fn post_run<B, T>(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(String, B, Reply<T>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        B: DeserializeOwned + Serialize + JsonSchema + Send + 'static,
        T: Serialize + JsonSchema + Send + 'static,
    {
        self.document.add(
            path,
            "post",
            Operation::new(says).of(document::RUN).body::<B>().tells::<T>(),
        );
        let route =
            post(async move |State(desk): State<Desk>, peer: Peer, name: Named, body: RawBody| {
                let id = name.map_err(|error| unread(&error.body_text()));
                match id.and_then(|Segment(id)| Ok((id, body.parse()?))) {
                    Ok((id, body)) => {
                        said(ask(&desk, peer, |reply| command(id, body, reply)).await)
                    }
                    Err(error) => failure(error),
                }
            });
        self.with(path, route)
    }

    /// `GET`, of a stream of events.
    pub fn get_events(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(EventsQuery, Reply<Feed>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self {
        let operation = Operation::new(says).query::<EventsQuery>().after_an_event();
        self.document.add(path, "get", operation.streams::<Event>());
        let route = get(
            async move |State(desk): State<Desk>,
                        peer: Peer,
                        headers: HeaderMap,
                        query: Asked<EventsQuery>| {
                let query = query.map_err(|error| unread(&error.body_text()));
                let query = query.and_then(|Query(query)| {
                    // Who comes again has the address that he began with, and his number from the stream.
                    Ok(EventsQuery { after: last_event(&headers)?.or(query.after), ..query })
                });
                let feed = match query {
                    Ok(query) => ask(&desk, peer, |reply| command(query, reply)).await,
                    Err(error) => Err(error),
                };
                match feed {
                    Ok(feed) => {
                        let body = Body::new(EventBody::from(feed));
                        ([(CONTENT_TYPE, STREAM)], body).into_response()
                    }
                    Err(error) => failure(error),
                }
            },
        );
        self.with(path, route)
    }

    /// `GET`, of the document itself.
    pub fn get_document(
        mut self,
        path: &str,
        says: Says,
        command: impl Fn(Reply<()>) -> Command + Clone + Send + Sync + 'static,
    ) -> Self {
        self.document.add(path, "get", Operation::new(says).weighed().tells::<serde_json::Value>());
        let route = get(async move |State(desk): State<Desk>, peer: Peer| {
            let document = desk.document.clone();
            let answer = |answer: Answer<()>| match answer {
                Ok(()) => ([(CONTENT_TYPE, "application/json")], document).into_response(),
                Err(error) => failure(error),
            };
            tell(&desk, peer, command, answer).await
        });
        self.with(path, route)
    }

    fn with(self, path: &str, route: axum::routing::MethodRouter<Desk>) -> Self {
        Self { router: self.router.route(path, route), ..self }
    }

    /// Answers on all routes; what is none is refused as everything is.
    pub fn serve(self, commands: Commands) -> Router {
        let document = Bytes::from(self.document.text());
        self.router
            .fallback(async || failure(ErrorReply::new(Code::NoRoute, "no such route", DOCUMENT)))
            .method_not_allowed_fallback(async || {
                let message = "the route is not for this method";
                let remedy = "the answer's Allow header has those that it is for";
                failure(ErrorReply::new(Code::BadMethod, message, remedy))
            })
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Desk { commands, long: LongAnswers::default(), document })
    }
}

/// Hands a command over and waits for its answer.
async fn ask<T>(
    desk: &Desk,
    Extension(visitor): Peer,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Answer<T> {
    let stopping = || {
        let remedy = "ask again when it has started: systemctl status agentid";
        ErrorReply::new(Code::Stopping, "the daemon is stopping", remedy)
    };
    let (reply, answer) = oneshot::channel();
    let command = command(reply);
    if let Some(part) = desk.long.begin(&visitor, &command)? {
        visitor.keep(part);
    }
    visitor.asks();
    let caller = Arc::clone(&visitor.caller);
    let envelope = Envelope { caller, arrived: Instant::now(), command };
    if !desk.commands.hand_in(envelope).await {
        return Err(stopping());
    }
    answer.await.map_err(|_| stopping())?
}

/// The same of what changes nothing, and is told if there is room for it.
async fn tell<T>(
    desk: &Desk,
    peer: Peer,
    command: impl FnOnce(Reply<T>) -> Command,
    answer: impl FnOnce(Answer<T>) -> Response,
) -> Response {
    let Extension(visitor) = peer.clone();
    desk.long.weigh(&visitor, answer(ask(desk, peer, command).await))
}

fn said<T: Serialize>(answer: Answer<T>) -> Response {
    match answer {
        Ok(value) => success(value),
        Err(error) => failure(error),
    }
}

/// The same with the number of events up to which it holds.
fn listed<T: Serialize>(answer: Answer<Listed<T>>) -> Response {
    match answer {
        Ok(Listed { seq, value }) => {
            ([(LAST_EVENT, seq.to_string())], success(value)).into_response()
        }
        Err(error) => failure(error),
    }
}

fn unread(why: &str) -> ErrorReply {
    ErrorReply::new(Code::BadRequest, why, DOCUMENT)
}

#[cfg(test)]
impl Routes {
    /// What describes all routes.
    pub(super) fn described(self) -> String {
        self.document.text()
    }
}
