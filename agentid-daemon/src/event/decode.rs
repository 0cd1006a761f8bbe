//! Bytes from the ring to a checked record. Total: whatever the bytes, the answer is a record or an error.

use agentid_common::{
    file::Rights,
    net::Address,
    record::{
        KIND_EMPTY, KIND_EXEC, KIND_FILE, KIND_PEER, KIND_PLAIN, LEFT_BY_SETTING, LEFT_FOR_ROOM,
        LEFT_NOTHING, LEFT_UNREAD, MAX_ARGUMENTS, MAX_PATH, MAX_SCRIPT,
    },
    tag::InvocationId,
    verdict::{Fault, Hook, Reason, Verdict},
};
use thiserror::Error;

/// A record whose every number has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    pub sequence: u64,
    pub generation: u64,
    pub invocation: InvocationId,
    pub slot: u32,
    pub hook: Hook,
    pub verdict: Verdict,
    pub reason: Reason,
    pub fault: Fault,
    pub rule: u16,
    /// How many steps above the run stands the one whose rules say so.
    pub above: u16,
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub comm: [u8; 16],
    pub body: Body,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Plain,
    /// The path is `None` where the kernel could not tell it.
    File {
        want: Rights,
        path: Option<Vec<u8>>,
        /// 0, or our number of the filesystem from whose root the path is told.
        filesystem: u64,
    },
    /// The file as in `File`, with the right to execute it.
    Exec {
        path: Option<Vec<u8>>,
        execution: Execution,
    },
    Peer {
        address: Address,
        family: u16,
        port: u16,
        protocol: u8,
        verb: u8,
        level: u16,
    },
    /// The run's last task is gone.
    Empty,
}

/// What is executed, beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub script: Script,
    /// How many arguments the program has.
    pub count: u32,
    /// The first ones; the last of them may be cut.
    pub arguments: Vec<Vec<u8>>,
    pub left_out: LeftOut,
}

/// The script that a file interprets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    None,
    /// There is one, whose name is too long.
    Nameless,
    /// As who executes it has called it.
    Named(Vec<u8>),
}

/// Why arguments are not in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    Nothing,
    BySetting,
    ForRoom,
    Unread,
}

impl LeftOut {
    const fn from_u32(value: u32) -> Option<Self> {
        match value {
            LEFT_NOTHING => Some(Self::Nothing),
            LEFT_BY_SETTING => Some(Self::BySetting),
            LEFT_FOR_ROOM => Some(Self::ForRoom),
            LEFT_UNREAD => Some(Self::Unread),
            _ => None,
        }
    }

    /// The name in events; `None` where nothing is left out.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::BySetting => Some("setting"),
            Self::ForRoom => Some("room"),
            Self::Unread => Some("unread"),
        }
    }
}

/// Why bytes are no record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{have} bytes end before field {field}")]
    Short { field: &'static str, have: usize },
    #[error("kind {0} is unknown")]
    Kind(u32),
    #[error("{field} has no member {value}")]
    Number { field: &'static str, value: u32 },
    #[error("a path of {0} bytes is longer than the field")]
    Path(u32),
    #[error("what is executed is told from the root of a filesystem")]
    Exec,
    #[error("{field} of {length} bytes is longer than the field")]
    Long { field: &'static str, length: u32 },
}

/// Reads one record. Bytes after it are ignored: the ring pads.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut cursor = Cursor { whole: bytes.len(), rest: bytes };
    let time = cursor.u64("time")?;
    let sequence = cursor.u64("sequence")?;
    let generation = cursor.u64("generation")?;
    let invocation = InvocationId(cursor.take("invocation")?);
    let slot = cursor.u32("slot")?;
    let kind = cursor.u32("kind")?;
    let hook = cursor.member("hook", Hook::from_u32)?;
    let verdict = cursor.member("verdict", Verdict::from_u32)?;
    let reason = cursor.member("reason", Reason::from_u32)?;
    let fault = cursor.member("fault", Fault::from_u32)?;
    let (rule, above) = (cursor.u16("rule")?, cursor.u16("above")?);
    let tgid = cursor.u32("tgid")?;
    let tid = cursor.u32("tid")?;
    let uid = cursor.u32("uid")?;
    let comm = cursor.take("comm")?;
    let body = match kind {
        KIND_PLAIN => Body::Plain,
        KIND_FILE => cursor.file()?,
        KIND_EXEC => cursor.exec()?,
        KIND_PEER => cursor.peer()?,
        KIND_EMPTY => Body::Empty,
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    Ok(Record {
        time,
        sequence,
        generation,
        invocation,
        slot,
        hook,
        verdict,
        reason,
        fault,
        rule,
        above,
        tgid,
        tid,
        uid,
        comm,
        body,
    })
}

/// A script whose name is not here.
const NAMELESS: u32 = MAX_SCRIPT as u32;

/// The bytes that are left. The order of the reads is the order of the fields, which `layout.rs` asserts to be gapless.
struct Cursor<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(DecodeError::Short { field, have: self.whole }),
        }
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.take(field).map(u64::from_ne_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.take(field).map(u32::from_ne_bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.take(field).map(u16::from_ne_bytes)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.take(field).map(|[byte]: [u8; 1]| byte)
    }

    fn member<T>(
        &mut self,
        field: &'static str,
        from: fn(u32) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let value = self.u32(field)?;
        from(value).ok_or(DecodeError::Number { field, value })
    }

    fn file(&mut self) -> Result<Body, DecodeError> {
        let want = self.u32("want")?;
        if !Rights::ALL.contains(Rights(want)) {
            return Err(DecodeError::Number { field: "want", value: want });
        }
        let length = self.u32("length")?;
        let filesystem = self.u64("filesystem")?;
        let bytes = usize::try_from(length).map_err(|_| DecodeError::Path(length))?;
        if bytes >= MAX_PATH {
            return Err(DecodeError::Path(length));
        }
        let path =
            self.rest.get(..bytes).ok_or(DecodeError::Short { field: "path", have: self.whole })?;
        let path = (!path.is_empty()).then(|| path.to_vec());
        Ok(Body::File { want: Rights(want), filesystem, path })
    }

    fn exec(&mut self) -> Result<Body, DecodeError> {
        let want = self.u32("want")?;
        if Rights(want) != Rights::EXEC {
            return Err(DecodeError::Number { field: "want", value: want });
        }
        let (length, filesystem) = (self.u32("length")?, self.u64("filesystem")?);
        if filesystem != 0 {
            return Err(DecodeError::Exec);
        }
        let path = self.text::<MAX_PATH>("path", length)?;
        let path = (!path.is_empty()).then_some(path);
        let (count, length) = (self.u32("count")?, self.u32("length")?);
        let left_out = self.member("left_out", LeftOut::from_u32)?;
        let script = match self.u32("script_length")? {
            0 => self.take::<MAX_SCRIPT>("script").map(|_| Script::None)?,
            NAMELESS => self.take::<MAX_SCRIPT>("script").map(|_| Script::Nameless)?,
            length => {
                let mut name = self.text::<MAX_SCRIPT>("script", length)?;
                name.pop();
                Script::Named(name)
            }
        };
        let arguments = self.text::<MAX_ARGUMENTS>("arguments", length)?;
        Ok(Body::Exec {
            path,
            execution: Execution { script, count, arguments: split(&arguments), left_out },
        })
    }

    /// The used bytes of a field.
    fn text<const N: usize>(
        &mut self,
        field: &'static str,
        length: u32,
    ) -> Result<Vec<u8>, DecodeError> {
        let bytes = self.take::<N>(field)?;
        let used = usize::try_from(length).ok().and_then(|used| bytes.get(..used));
        used.map(<[u8]>::to_vec).ok_or(DecodeError::Long { field, length })
    }

    fn peer(&mut self) -> Result<Body, DecodeError> {
        let address = Address(self.take("address")?);
        let family = self.u16("family")?;
        let port = self.u16("port")?;
        let protocol = self.u8("protocol")?;
        let verb = self.u8("verb")?;
        let level = self.u16("level")?;
        Ok(Body::Peer { address, family, port, protocol, verb, level })
    }
}

/// Arguments that each end with a zero, but for one that is cut.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut arguments: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    // What comes after the last zero is a cut argument, or nothing.
    if arguments.last().is_some_and(Vec::is_empty) {
        arguments.pop();
    }
    arguments
}
