//! Whom, or which addresses of the run's own, a `[[net]]` rule names.
//!
//! ```text
//!   api.example.org:443       one port of a host
//!   *.example.org:443         the same of every host below
//!   10.1.0.0/16:5432          one port of a block
//!   [2001:db8::]/32:443       the same in IPv6
//!   127.0.0.1:8000-8999       a range of ports of one address
//!   192.0.2.7:80,8000-8999    each port and range of a list
//!   192.0.2.7:*               every port
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use agentid_common::net::V4_PREFIX;

use super::{
    error::Flaw,
    host::Host,
    policy::{Named, Prefix, Target},
};

/// An address or a name, with ports.
pub(super) enum End {
    Address(Target),
    Name(Named),
}

/// One for each port or range that is named.
pub(super) fn parse(text: &str) -> Result<Vec<End>, Flaw> {
    if text.starts_with("unix:") || text.starts_with('/') || text.starts_with('@') {
        return Err(Flaw::new(format!("`{text}` is no address, but a unix socket"))
            .help("grant it in [[unix]]: allow = [\"connect\"]"));
    }
    if text.split_once(',').is_some_and(|(_, rest)| rest.contains(':')) {
        return Err(Flaw::new(format!("`{text}` names more than one address"))
            .help("write each in quotes of its own"));
    }
    if let Some((host, rest)) = name(text) {
        let host = Host::parse(host)?;
        if let (Some(bits), _) = split(text, rest)? {
            return Err(Flaw::new(format!(
                "`/{bits}` belongs to an address, and {host} is a name"
            ))
            .help("leave it out"));
        }
        let (_, ports) = split(text, rest)?;
        let named = |(first, last)| End::Name(Named { host: host.clone(), first, last });
        return Ok(self::ports(ports)?.into_iter().map(named).collect());
    }
    let (prefix, ports) = match text.strip_prefix('[') {
        Some(rest) => v6(text, rest)?,
        None => v4(text)?,
    };
    let target = |(first, last)| End::Address(Target { prefix, first, last });
    Ok(self::ports(ports)?.into_iter().map(target).collect())
}

/// A block of addresses without ports.
pub(super) fn block(text: &str) -> Result<Prefix, Flaw> {
    // What is said of a port that is missing would be of no help.
    if text.contains("]:") || text.matches(':').count() == 1 {
        return Err(Flaw::new(format!("`{text}` names a port, and only addresses are meant here"))
            .help("leave the port out"));
    }
    let text = format!("{text}:*");
    match parse(&text)?.as_slice() {
        [End::Address(Target { prefix, .. })] => Ok(*prefix),
        _ => Err(Flaw::new(format!("`{}` is not an address", text.trim_end_matches(":*")))
            .help("write one such as `10.1.0.0/16`")),
    }
}

/// Splits a host name off, if what stands there can only be one.
fn name(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('[') || text.matches(':').count() > 1 {
        return None;
    }
    let end = text.find(['/', ':']).unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    let is_address = host.chars().all(|sign| sign.is_ascii_digit() || sign == '.');
    (!host.is_empty() && host != "*" && !is_address).then_some((host, rest))
}

fn v6<'t>(text: &str, rest: &'t str) -> Result<(Prefix, &'t str), Flaw> {
    let (address, rest) = rest.split_once(']').ok_or_else(|| {
        Flaw::new(format!("`{text}` has `[` without `]`")).help("write `[2001:db8::]/32:443`")
    })?;
    if let Some((address, bits)) = address.split_once('/') {
        return Err(Flaw::new("length of the prefix stands within the brackets")
            .help(format!("write `[{address}]/{bits}{rest}`")));
    }
    if let Some((address, zone)) = address.split_once('%') {
        return Err(Flaw::new(format!("`%{zone}` names an interface, and rules name addresses"))
            .help(format!("write `[{address}]`, which is that address on every interface")));
    }
    let address: Ipv6Addr = address.parse().map_err(|_| {
        Flaw::new(format!("`{address}` is not an IPv6 address"))
            .help("write one such as `2001:db8::1`")
    })?;
    let (bits, ports) = split(text, rest)?;
    let prefix = prefix(address, bits, 0)?;
    Ok((prefix, ports))
}

fn v4(text: &str) -> Result<(Prefix, &str), Flaw> {
    let end = text.find(['/', ':']).unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    if text.parse::<Ipv6Addr>().is_ok() || rest.matches(':').count() > 1 {
        return Err(Flaw::new(format!("IPv6 address without brackets in `{text}`"))
            .help("write `[2001:db8::]/32:443`"));
    }
    let address: Ipv4Addr = host.parse().map_err(|_| not_an_address(host))?;
    let (bits, ports) = split(text, rest)?;
    let prefix = prefix(address.to_ipv6_mapped(), bits, V4_PREFIX)?;
    Ok((prefix, ports))
}

fn not_an_address(host: &str) -> Flaw {
    if host.is_empty() || host == "*" {
        return Flaw::new("address is missing")
            .help("write `0.0.0.0/0` or `[::]/0` for all of them");
    }
    Flaw::new(format!("`{host}` is not an IPv4 address"))
        .help("write one such as `192.0.2.7:443`, or a name such as `api.example.org:443`")
}

/// Splits `/BITS:PORTS` or `:PORTS`.
fn split<'t>(text: &str, rest: &'t str) -> Result<(Option<&'t str>, &'t str), Flaw> {
    let (bits, ports) = rest.split_once(':').ok_or_else(|| {
        Flaw::new(format!("`{text}` names no port"))
            .help(format!("write `{text}:443`, or `{text}:*` for all"))
    })?;
    match bits.strip_prefix('/') {
        Some(bits) => Ok((Some(bits), ports)),
        None if bits.is_empty() => Ok((None, ports)),
        None => Err(Flaw::new(format!("`{bits}` before the port is not expected"))
            .help("write `ADDRESS/BITS:PORT`")),
    }
}

/// `hidden` bits come before what the author counts.
fn prefix(address: Ipv6Addr, bits: Option<&str>, hidden: u8) -> Result<Prefix, Flaw> {
    let most = 128 - hidden;
    let bits = match bits {
        None => most,
        Some(text) => number::<u8>(text).filter(|bits| *bits <= most).ok_or_else(|| {
            Flaw::new(format!("`/{text}` is not the length of a prefix"))
                .help(format!("from /0 to /{most}"))
        })?,
    };
    Prefix::new(address, hidden + bits).ok_or_else(|| {
        let mask = u128::MAX.checked_shl(u32::from(most - bits)).unwrap_or(0);
        let clear = Ipv6Addr::from_bits(address.to_bits() & mask);
        let meant = match clear.to_ipv4_mapped() {
            Some(clear) if hidden != 0 => format!("{clear}/{bits}"),
            _ => format!("[{clear}]/{bits}"),
        };
        Flaw::new(format!("address has bits beyond its prefix /{bits}"))
            .help(format!("did you mean `{meant}`?"))
    })
}

/// Every port, or each port and range of a list.
fn ports(text: &str) -> Result<Vec<(u16, u16)>, Flaw> {
    if text == "*" {
        return Ok(vec![(0, u16::MAX)]);
    }
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 1 {
        if parts.contains(&"*") {
            return Err(Flaw::new(format!("`*` in the list `{text}` is every port"))
                .help("write `*` alone, or leave it out"));
        }
        if parts.iter().any(|part| part.trim().is_empty() || part.contains(char::is_whitespace)) {
            return Err(Flaw::new(format!("`{text}` has a space, or a comma without a port"))
                .help("write a list such as `80,443,8000-8999`"));
        }
    }
    parts.into_iter().map(range).collect()
}

fn range(text: &str) -> Result<(u16, u16), Flaw> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number::<u16>(first), number::<u16>(last)) {
        (Some(0), _) => Err(Flaw::new("port 0 is no port")
            .help("write `*` for every port, which covers those that the kernel chooses")),
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(first), Some(last)) => Err(Flaw::new(format!("range of ports `{text}` is empty"))
            .help(format!("did you mean `{last}-{first}`?"))),
        _ => Err(Flaw::new(format!("`{text}` is not a port"))
            .help("write a port, a range such as `8000-8999`, a list such as `80,443`, or `*`")),
    }
}

/// Digits only: what `parse` would take beyond them (a sign) is a slip.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
