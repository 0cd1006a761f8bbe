//! The client of a process that becomes a run: nothing but the connection is open while it asks, as the daemon wants it.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use hyper::StatusCode;
use serde::{Serialize, de::DeserializeOwned};

use super::client::{ClientError, away, refusal};

/// One request on one connection, which the daemon closes after its answer.
pub fn post<B: Serialize, T: DeserializeOwned>(
    socket: &Path,
    route: &str,
    body: &B,
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(ClientError::Answer)?;
    let mut stream = UnixStream::connect(socket).map_err(|source| away(socket, source))?;
    let answer = exchange(&mut stream, route, &body).map_err(ClientError::Plain)?;
    let (status, body) = parts(&answer).ok_or_else(|| {
        let what = "the connection was closed before there was an answer";
        ClientError::Plain(io::Error::new(io::ErrorKind::UnexpectedEof, what))
    })?;
    if status.is_success() {
        serde_json::from_slice(body).map_err(ClientError::Answer)
    } else {
        Err(ClientError::Refused(refusal(status, body)))
    }
}

fn exchange(stream: &mut UnixStream, route: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = format!(
        "POST {route} HTTP/1.1\r\nhost: agentid\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Who refuses early does not read it all, and has answered nevertheless.
    match stream.write_all(&[head.as_bytes(), body].concat()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// The status and the body of an answer that is whole.
fn parts(answer: &[u8]) -> Option<(StatusCode, &[u8])> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(answer.get(..end)?).ok()?, answer.get(end + 4..)?);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    (length.is_none_or(|length| length == body.len())).then_some((status, body))
}
