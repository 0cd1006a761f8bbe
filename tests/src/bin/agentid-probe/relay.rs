//! Passes on what comes by TCP to a Unix socket, whose peer is then this process with its user.

use std::{
    io::{self, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};

/// Says at which port of loopback it listens, and goes on until it is killed.
pub fn relay(socket: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to listen")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    loop {
        let (outer, _) = listener.accept().context("failed to accept")?;
        let socket = socket.to_owned();
        thread::spawn(move || {
            if let Err(error) = pass(&outer, &socket) {
                eprintln!("a connection was not passed on: {error}");
            }
        });
    }
}

/// Until the inner end has answered all and is gone; whoever asks is waited for no longer than that.
fn pass(outer: &TcpStream, socket: &Path) -> io::Result<()> {
    let inner = UnixStream::connect(socket)?;
    thread::scope(|scope| {
        let asking = scope.spawn(|| io::copy(&mut { outer }, &mut { &inner }));
        let answered = io::copy(&mut { &inner }, &mut { outer });
        outer.shutdown(Shutdown::Both).and(answered)?;
        // Its end is that of the connection, whatever it says.
        drop(asking.join());
        Ok(())
    })
}
