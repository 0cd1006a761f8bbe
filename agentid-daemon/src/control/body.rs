//! What a request carries, read within bounds; and its answer.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{FromRequest, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use hyper::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    api::{Code, ErrorReply, PROBLEM, parse},
    long::WAIT,
};

/// How long a caller may take to say what it wants.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Where it is said what a request looks like.
pub const DOCUMENT: &str = "GET /v1/openapi.json says what each route takes";

/// A body that came in time, is not too large, and is not said to be something else than JSON.
pub struct RawBody(Result<Bytes, ErrorReply>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        Ok(Self::within(PATIENCE, request, state).await)
    }
}

impl RawBody {
    pub(super) async fn within<S: Send + Sync>(
        patience: Duration,
        request: Request,
        state: &S,
    ) -> Self {
        if !is_json(request.headers()) {
            let (message, remedy) =
                ("the body is said to be no JSON", "send it as application/json");
            return Self(Err(ErrorReply::new(Code::BadMediaType, message, remedy)));
        }
        let bytes = tokio::time::timeout(patience, Bytes::from_request(request, state)).await;
        Self(match bytes {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(rejection)) => {
                let (code, remedy) = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => (Code::TooLarge, "send at most 64 KiB"),
                    _ => (Code::BadRequest, "send a body as long as its Content-Length says"),
                };
                Err(ErrorReply::new(code, rejection.body_text(), remedy))
            }
            Err(_) => {
                let message = "the body did not come in time";
                let remedy = "send all of it within five seconds of the head";
                Err(ErrorReply::new(Code::BadRequest, message, remedy))
            }
        })
    }

    pub fn parse<T: DeserializeOwned + Serialize>(self) -> Result<T, ErrorReply> {
        let bytes = self.0?;
        parse(&bytes).map_err(|error| {
            let message = format!("the body is not what is expected: {error}");
            ErrorReply::new(Code::BadRequest, message, DOCUMENT)
        })
    }
}

/// Whether the body may be JSON. Without a word it is taken for it.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let kind = value.to_str().ok().and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

pub fn success<T: Serialize>(value: T) -> Response {
    axum::Json(value).into_response()
}

/// A refusal, as problem details.
pub fn failure(error: ErrorReply) -> Response {
    let status = StatusCode::from_u16(error.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let wait = (error.code == Code::TooMany).then(|| [(RETRY_AFTER, WAIT.to_string())]);
    (status, [(CONTENT_TYPE, PROBLEM)], wait, axum::Json(error)).into_response()
}
