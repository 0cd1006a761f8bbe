//! A run's sockets as the protocol shows them.

use std::net::SocketAddr;

use agentid_common::{
    net::{Address, ICMP},
    record::SocketLine,
    socket::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, Transport, transport},
    tag::LISTENS,
};

use crate::{
    control::api::SocketView,
    event::enrich::{ip, protocol_name},
};

/// include/net/tcp_states.h, from 1 on, in the words of `ss`.
const STATES: [&str; 13] = [
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "close",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
    "new-syn-recv",
    "bound-inactive",
];
const ESTABLISHED: u16 = 1;
const CLOSE: u16 = 7;
const LISTEN: u16 = 10;

/// One socket.
pub fn view(line: &SocketLine) -> SocketView {
    let is_ip = line.family == AF_INET || line.family == AF_INET6;
    let has_peer = is_ip && line.state != CLOSE && line.state != LISTEN;
    SocketView {
        protocol: protocol(line),
        state: state(line.state),
        own: is_ip.then(|| end(&line.own, line.own_port)),
        peer: has_peer.then(|| end(&line.peer, line.peer_port)),
        serves: line.mark & LISTENS != 0,
    }
}

fn end(address: &Address, port: u16) -> String {
    SocketAddr::new(ip(address), port).to_string()
}

fn protocol(line: &SocketLine) -> String {
    match transport(line.family, line.kind, line.protocol) {
        Transport::Tcp => "tcp".to_owned(),
        Transport::Udp => "udp".to_owned(),
        Transport::Icmp => protocol_name(ICMP),
        Transport::Local if line.family == AF_UNIX => "unix".to_owned(),
        Transport::Local if line.family == AF_NETLINK => "netlink".to_owned(),
        Transport::Local | Transport::Other => {
            format!("{}:{}:{}", line.family, line.kind, line.protocol)
        }
    }
}

fn state(number: u16) -> String {
    let known = usize::from(number).checked_sub(usize::from(ESTABLISHED));
    let known = known.and_then(|index| STATES.get(index));
    known.map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use agentid_common::{net::Address, record::SocketLine, tag::LISTENS};

    use super::*;

    fn tcp(state: u16) -> SocketLine {
        SocketLine {
            own: Address::v4([127, 0, 0, 1]),
            peer: Address::v4([10, 0, 0, 2]),
            own_port: 4000,
            peer_port: 443,
            family: AF_INET,
            kind: 1,
            protocol: 6,
            state,
            ..SocketLine::default()
        }
    }

    #[test]
    fn a_connection_has_two_ends() {
        let view = view(&tcp(ESTABLISHED));
        assert_eq!((view.protocol.as_str(), view.state.as_str()), ("tcp", "established"));
        assert_eq!(view.own.as_deref(), Some("127.0.0.1:4000"));
        assert_eq!(view.peer.as_deref(), Some("10.0.0.2:443"));
        assert!(!view.serves);
    }

    #[test]
    fn who_listens_has_no_peer() {
        let view = view(&SocketLine { mark: LISTENS, ..tcp(LISTEN) });
        assert_eq!((view.state.as_str(), view.peer, view.serves), ("listen", None, true));
    }

    #[test]
    fn what_is_not_of_ip_has_no_address() {
        let view =
            view(&SocketLine { family: AF_UNIX, kind: 1, state: 1, ..SocketLine::default() });
        assert_eq!((view.protocol.as_str(), view.own, view.peer), ("unix", None, None));
    }

    #[test]
    fn unknown_numbers_are_shown_as_such() {
        let view = view(&SocketLine { family: 40, kind: 5, state: 99, ..SocketLine::default() });
        assert_eq!((view.protocol.as_str(), view.state.as_str()), ("40:5:0", "99"));
    }
}
