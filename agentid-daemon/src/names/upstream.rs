//! The host's own servers of names.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt as _;
use hickory_net::{
    NetError,
    runtime::TokioRuntimeProvider,
    tcp::TcpClientStream,
    udp::UdpClientStream,
    xfer::{DnsHandle as _, DnsRequestSender as _},
};
use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, Edns, Message, OpCode, Query, ResponseCode,
};

/// Where the host says which servers it asks.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of a server for which no other is named.
const PORT: u16 = 53;
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often all servers are asked.
const ROUNDS: usize = 2;
/// Bytes of an answer over UDP that pass everywhere without being cut into fragments (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("read {RESOLV_CONF}")]
    Unreadable(#[source] io::Error),
    #[error("understand {RESOLV_CONF}")]
    Malformed(#[source] resolv_conf::ParseError),
    #[error("find a server of names: {RESOLV_CONF} names none")]
    Nobody,
    #[error("ask {server}")]
    Silent { server: SocketAddr, source: NetError },
    #[error("ask {server}: it gives no answer")]
    Empty { server: SocketAddr },
}

/// Which servers are asked.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// As the settings name them; without any, those of the host.
    servers: Vec<SocketAddr>,
}

/// What is passed on of a question.
#[derive(Clone, Debug)]
pub struct Asked {
    pub query: Query,
    pub dnssec_ok: bool,
}

impl Upstream {
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The answer of the first server that gives one which is not about the server itself.
    pub async fn ask(&self, asked: &Asked) -> Result<Message, UpstreamError> {
        let servers = if self.servers.is_empty() {
            servers_of(Path::new(RESOLV_CONF))?
        } else {
            self.servers.clone()
        };
        let mut outcome = Err(UpstreamError::Nobody);
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            outcome = one(*server, asked).await;
            let told = |message: &Message| {
                !matches!(
                    message.metadata.response_code,
                    ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp
                )
            };
            if outcome.as_ref().is_ok_and(told) {
                break;
            }
        }
        outcome
    }
}

/// The servers that a file names, as resolv.conf(5) writes them.
fn servers_of(file: &Path) -> Result<Vec<SocketAddr>, UpstreamError> {
    let text = fs::read(file).map_err(UpstreamError::Unreadable)?;
    let config = resolv_conf::Config::parse(text).map_err(UpstreamError::Malformed)?;
    let address = |server: &resolv_conf::ScopedIp| SocketAddr::new(IpAddr::from(server), PORT);
    let servers: Vec<SocketAddr> = config.nameservers.iter().map(address).collect();
    if servers.is_empty() { Err(UpstreamError::Nobody) } else { Ok(servers) }
}

/// One question, over TCP when the answer does not fit into a datagram.
async fn one(server: SocketAddr, asked: &Asked) -> Result<Message, UpstreamError> {
    let answer = over_udp(server, asked).await?;
    if answer.metadata.truncation { over_tcp(server, asked).await } else { Ok(answer) }
}

async fn over_udp(server: SocketAddr, asked: &Asked) -> Result<Message, UpstreamError> {
    // A socket, a port and a number of its own for each question, so that nobody guesses them.
    let mut stream = UdpClientStream::builder(server, TokioRuntimeProvider::new())
        .with_timeout(Some(PATIENCE))
        .build();
    let answer = stream.send_message(request(asked)).next().await;
    let answer = answer.ok_or(UpstreamError::Empty { server })?;
    Ok(answer.map_err(|source| UpstreamError::Silent { server, source })?.into_message())
}

async fn over_tcp(server: SocketAddr, asked: &Asked) -> Result<Message, UpstreamError> {
    let failed = |source| UpstreamError::Silent { server, source };
    // What goes on behind the exchange ends with the last of its providers.
    let provider = TokioRuntimeProvider::new();
    let exchange = TcpClientStream::exchange(server, None, PATIENCE, None, provider.clone());
    let answer = exchange.await.map_err(failed)?.send(request(asked)).next().await;
    drop(provider);
    let answer = answer.ok_or(UpstreamError::Empty { server })?;
    Ok(answer.map_err(failed)?.into_message())
}

fn request(asked: &Asked) -> DnsRequest {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = true;
    // What the host's servers check is checked, whatever the run asks for: their answer is what is pinned.
    message.metadata.checking_disabled = false;
    message.add_query(asked.query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_dnssec_ok(asked.dnssec_ok);
    message.set_edns(edns);
    DnsRequest::new(message, DnsRequestOptions::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_the_file_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        fs::write(&file, "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
            .unwrap();
        let servers = servers_of(&file).unwrap();
        assert_eq!(servers, ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()]);
        fs::write(&file, "search example.org\n").unwrap();
        assert!(matches!(servers_of(&file), Err(UpstreamError::Nobody)));
        fs::write(&file, "nameserver nobody\n").unwrap();
        assert!(matches!(servers_of(&file), Err(UpstreamError::Malformed(_))));
        fs::remove_file(&file).unwrap();
        assert!(matches!(servers_of(&file), Err(UpstreamError::Unreadable(_))));
    }
}
