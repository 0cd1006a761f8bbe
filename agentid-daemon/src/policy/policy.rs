//! A policy whose rules all make sense.

use std::{net::Ipv6Addr, time::Duration};

use agentid_common::{capability::Capabilities, file::Rights, instance::Ladder, verdict::Mode};

use super::{
    expectation::Expectation,
    host::Host,
    pattern::{Pattern, Root},
    verbs::{Side, Verbs},
};

/// Named rules that an invocation can be bound to. Only [`super::parse`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) params: Vec<String>,
    pub(super) mode: Mode,
    pub(super) on_end: Ladder,
    pub(super) capabilities: Capabilities,
    pub(super) files: Vec<FileRule>,
    pub(super) nets: Vec<NetRule>,
    pub(super) delegate: Option<Delegate>,
    pub(super) limits: Limits,
    pub(super) expectations: Vec<Expectation>,
}

impl Policy {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Empty when the document gives none.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How long an invocation lives when its launcher asks for nothing else.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How long an invocation can live at most, extensions included; at least [`Self::ttl`].
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Names of the folders that are given at launch, in the order of their heads, which begin at 1.
    pub fn params(&self) -> &[String] {
        &self.params
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What happens to tasks that are left when the run has ended.
    pub fn on_end(&self) -> Ladder {
        self.on_end
    }

    /// Those that its runs may use, where they have them.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Those of files in the order of the document, then those of unix sockets; the number of a rule in verdicts is its index
    /// plus one.
    pub fn file_rules(&self) -> &[FileRule] {
        &self.files
    }

    /// In the order of the document; the number of a rule in verdicts is its index plus one.
    pub fn net_rules(&self) -> &[NetRule] {
        &self.nets
    }

    /// Whether a rule grants a host name, so that its runs ask the daemon for names.
    pub fn grants_names(&self) -> bool {
        let mut allowing = self.nets.iter().filter(|rule| matches!(rule.effect, Effect::Allow(_)));
        allowing.any(|rule| !rule.names.is_empty())
    }

    /// What its runs may start below themselves; nothing without it.
    pub fn delegate(&self) -> Option<&Delegate> {
        self.delegate.as_ref()
    }

    /// Whether a rule of it is a tripwire.
    pub fn has_tripwires(&self) -> bool {
        self.files.iter().any(|rule| rule.tripwire) || self.nets.iter().any(|rule| rule.tripwire)
    }

    /// What ends a run of it, and what it can use of the host.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What its author expects of the rules.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// Why file rule `number` exists, in the author's words.
    pub fn because_file(&self, number: u16) -> Option<&str> {
        usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.files.get(index))
            .and_then(|rule| rule.because.as_deref())
    }

    /// Why net rule `number` exists, in the author's words.
    pub fn because_net(&self, number: u16) -> Option<&str> {
        usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.nets.get(index))
            .and_then(|rule| rule.because.as_deref())
    }
}

/// `[delegate]`: what a run may start below itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    pub to: Vec<Delegated>,
    /// How many levels of runs may stand below the run.
    pub depth: u32,
    /// How many runs may live right below the run at a time.
    pub fan_out: u32,
    /// What becomes of a run that asks for more.
    pub on_excess: Excess,
}

/// What becomes of a run that asks for more runs below it than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is told so.
    Refuse,
    /// It is ended.
    End,
}

impl Excess {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::End => "end",
        }
    }
}

impl Delegate {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.to.iter().map(|delegated| delegated.policy.as_str())
    }
}

/// `[limits]`: what a run is ended for, and what its tasks can use of the host together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So many denials within a minute are borne.
    pub denials_per_minute: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    /// Hundredths of a processor.
    pub cpu: Option<u32>,
}

/// A policy that is named in `[delegate]`, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    pub policy: String,
    pub line: usize,
    pub column: usize,
}

/// What a rule does with what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<R> {
    Allow(R),
    Deny(R),
}

/// A `[[file]]`, or a `[[unix]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRule {
    pub patterns: Vec<Pattern>,
    pub effect: Effect<Rights>,
    /// Whether a run that meets it is ended; only of a rule that denies.
    pub tripwire: bool,
    pub because: Option<String>,
}

impl FileRule {
    /// Whether it is about abstract names.
    pub fn is_abstract(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.root == Root::Abstract)
    }
}

/// A `[[net]]`: whom a run may talk to, or where it may listen, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetRule {
    pub side: Side,
    pub targets: Vec<Target>,
    /// Host names, only of peers.
    pub names: Vec<Named>,
    /// Addresses that the names may have although they are no public ones.
    pub resolves_to: Vec<Prefix>,
    /// Numbers of IP protocols, in the order of [`super::PROTOCOLS`].
    pub protocols: Vec<u8>,
    /// Verbs of the rule's side, as they are written; [`super::meaning`] says what they stand for.
    pub effect: Effect<Verbs>,
    /// Whether a run that meets it is ended; only of a rule about peers that denies.
    pub tripwire: bool,
    pub because: Option<String>,
}

/// Addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub prefix: Prefix,
    /// First port, at most `last`.
    pub first: u16,
    pub last: u16,
}

/// A host name and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub host: Host,
    /// First port, at most `last`.
    pub first: u16,
    pub last: u16,
}

/// A block of addresses, IPv4 as `::ffff:a.b.c.d` with 96 bits more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: u128,
    bits: u8,
}

impl Prefix {
    /// `None` when the address has bits beyond the prefix, or the prefix is longer than an address.
    pub fn new(address: Ipv6Addr, bits: u8) -> Option<Self> {
        let prefix = Self { address: address.to_bits(), bits };
        (bits <= 128 && prefix.address & !prefix.mask() == 0).then_some(prefix)
    }

    /// First address of the block.
    pub fn address(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address)
    }

    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether every address of `other` is in this block.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && other.address & self.mask() == self.address
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }
}
