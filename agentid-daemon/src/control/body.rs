//! What a request carries, read within bounds; and its answer.

use std::{convert::Infallible, mem::discriminant, time::Duration};

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use hyper::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::api::{Code, ErrorReply, PROBLEM};

/// How long a caller may take to say what it wants.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A body that came in time, is not too large, and is not said to be something else than JSON.
pub struct RawBody(Result<Bytes, ErrorReply>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        if !is_json(request.headers()) {
            let error = ErrorReply::new(Code::BadMediaType, "the body is said to be no JSON");
            return Ok(Self(Err(error.remedy("send it as application/json"))));
        }
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

impl RawBody {
    pub fn parse<T: DeserializeOwned + Serialize>(self) -> Result<T, ErrorReply> {
        let bytes = self.0?;
        parse(&bytes).map_err(|error| {
            ErrorReply::new(Code::BadRequest, format!("the body is not what is expected: {error}"))
        })
    }
}

/// What the text means, read as the document of the API says it: serde alone would take a list of its members for an object
/// and an object for a word, and would not take `5.0` for the integer that it is in JSON.
pub(super) fn parse<T: DeserializeOwned + Serialize>(text: &[u8]) -> Result<T, serde_json::Error> {
    let mut said: Value = serde_json::from_slice(text)?;
    let meant: T = match serde_json::from_slice(text) {
        Ok(meant) => meant,
        Err(_) if make_whole(&mut said) => serde_json::from_value(said.clone())?,
        Err(error) => return Err(error),
    };
    if is_like(&said, &serde_json::to_value(&meant)?) {
        Ok(meant)
    } else {
        Err(serde::de::Error::custom("an object, a list and a text are not the same"))
    }
}

/// Writes whole numbers without a point; tells whether there was one.
fn make_whole(value: &mut Value) -> bool {
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    match value {
        Value::Object(members) => members.values_mut().fold(false, |any, it| make_whole(it) | any),
        Value::Array(items) => items.iter_mut().fold(false, |any, it| make_whole(it) | any),
        Value::Number(number) => match number.as_f64() {
            Some(whole)
                if number.is_f64() && whole.fract() == 0.0 && (0.0..BEYOND).contains(&whole) =>
            {
                *number = (whole as u64).into();
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_like(said: &Value, meant: &Value) -> bool {
    match (said, meant) {
        (Value::Object(said), Value::Object(meant)) => {
            said.iter().all(|(name, said)| meant.get(name).is_none_or(|meant| is_like(said, meant)))
        }
        (Value::Array(said), Value::Array(meant)) => {
            said.iter().zip(meant).all(|(said, meant)| is_like(said, meant))
        }
        (said, meant) => discriminant(said) == discriminant(meant),
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
    (status, [(CONTENT_TYPE, PROBLEM)], axum::Json(error)).into_response()
}
