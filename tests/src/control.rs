//! One request to the daemon on its control socket, without `agentid`: starting a program takes longer than many requests.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Asks, and gives what was answered. Whatever is not a success is an error.
pub fn ask(socket: &Path, line: &str, body: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("failed to reach {}", socket.display()))?;
    stream.write_all(request(line, &body.to_string()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{line}: {answer}");
    serde_json::from_str(body).with_context(|| format!("failed to read {body}"))
}

/// A request, as its bytes.
pub fn request(line: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: agentid\r\nContent-Length: {length}\r\n\r\n{body}")
}
