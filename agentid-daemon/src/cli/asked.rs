//! What can be asked about: a file, a name, a peer, an address, a capability.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::control::api::Protocol;

/// The options of which one says what is asked about.
pub const OBJECTS: [&str; 10] = [
    "open",
    "create",
    "delete",
    "moved",
    "linked",
    "connect",
    "send",
    "listen",
    "accept",
    "capability",
];

/// What a run may ask of the kernel
#[derive(Debug, Default, Args)]
#[group(skip)]
pub struct Asked {
    /// A file to open
    #[arg(long, value_name = "PATH")]
    pub open: Option<PathBuf>,
    /// Open it for writing
    #[arg(long, requires = "open")]
    pub write: bool,
    /// Execute it
    #[arg(long, requires = "open", conflicts_with = "write")]
    pub exec: bool,
    /// A name to make a file, a folder or a link of
    #[arg(long, value_name = "PATH")]
    pub create: Option<PathBuf>,
    /// A file or a folder to remove
    #[arg(long, value_name = "PATH")]
    pub delete: Option<PathBuf>,
    /// A file or a folder to give another name, and that name
    #[arg(long = "move", value_names = ["FROM", "TO"], num_args = 2)]
    pub moved: Option<Vec<PathBuf>>,
    /// A file to give one more name, and that name
    #[arg(long = "link", value_names = ["FROM", "TO"], num_args = 2)]
    pub linked: Option<Vec<PathBuf>>,
    /// A peer to connect to, such as 10.1.0.7:443, [::1]:8080, api.example.org:443, /run/x.sock or the abstract name @x
    #[arg(long, value_name = "ADDRESS:PORT|NAME:PORT|PATH|@NAME")]
    pub connect: Option<Whom>,
    /// A peer to send a message to that carries the address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub send: Option<SocketAddr>,
    /// An address and a port to listen on, such as 127.0.0.1:8000 or [::]:8000, or the abstract name @x
    #[arg(long, value_name = "ADDRESS:PORT|@NAME")]
    pub listen: Option<Where>,
    /// An address and a port where another process listens, to take connections there
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub accept: Option<SocketAddr>,
    /// A capability, such as net_raw
    #[arg(long, value_name = "NAME")]
    pub capability: Option<String>,
    /// By which protocol [default: tcp, or udp for --send]
    #[arg(long, value_enum, conflicts_with_all = ["open", "create", "delete", "moved", "linked", "capability"])]
    pub proto: Option<Protocol>,
}

/// Somebody to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    Peer(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
    /// A unix socket.
    Socket(PathBuf),
    /// A unix socket with an abstract name.
    Abstract(String),
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    At(SocketAddr),
    /// By an abstract name.
    Abstract(String),
}

impl std::str::FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None => text
                .parse()
                .map(Self::At)
                .map_err(|_| "expected an address with a port, or an abstract name".to_owned()),
        }
    }
}

impl std::str::FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Socket(text.into()));
        }
        if let Some(name) = text.strip_prefix('@') {
            return Ok(Self::Abstract(name.to_owned()));
        }
        if let Ok(peer) = text.parse() {
            return Ok(Self::Peer(peer));
        }
        let is_name = |name: &str| name.contains(|sign: char| sign.is_ascii_alphabetic());
        match text.rsplit_once(':') {
            Some((name, port)) if is_name(name) && !name.contains([':', '/', '[']) => port
                .parse()
                .map(|port| Self::Name(name.to_owned(), port))
                .map_err(|_| format!("`{port}` is not a port")),
            _ => {
                Err("expected an address or a name with a port, or the path of a socket".to_owned())
            }
        }
    }
}
