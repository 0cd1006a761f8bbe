//! One request to the daemon on its control socket, without `agentid`: starting a program takes longer than many requests.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
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

/// What can be asked, by the document that the daemon serves.
pub struct Operation {
    pub id: String,
    /// Such as `GET /v1/runs/{id}`.
    pub line: String,
}

pub fn operations(socket: &Path) -> Result<Vec<Operation>> {
    let document = ask(socket, "GET /v1/openapi.json", &Value::Null)?;
    let paths = document["paths"].as_object().context("the document has no paths")?;
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let id = operation["operationId"].as_str().context("an operation has no ID")?;
            let line = format!("{} {path}", method.to_uppercase());
            operations.push(Operation { id: id.to_owned(), line });
        }
    }
    Ok(operations)
}

/// Closes all but the standard streams: whoever asks to become a run may have nothing else open.
pub fn close_others() {
    // SAFETY: whatever is open there is not used any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Keeps this as the standard output, and closes all others but the standard streams.
pub fn keep_alone(writes: OwnedFd) -> Result<File> {
    // SAFETY: nobody uses what was the standard output before; the descriptor's only owner is what is given back.
    let kept = unsafe {
        ensure!(libc::dup2(writes.as_raw_fd(), 1) == 1, "dup2: {}", io::Error::last_os_error());
        File::from_raw_fd(1)
    };
    drop(writes);
    close_others();
    Ok(kept)
}

/// A request, as its bytes.
pub fn request(line: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: agentid\r\nContent-Length: {length}\r\n\r\n{body}")
}
