//! The image in lines that people can read and compare.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    net::Ipv6Addr,
};

use agentid_common::{
    file::{
        ANCHOR_FOLDER, ANCHOR_TYPE, AnchorKey, EDGE_GLOBS, EdgeKey, MAX_GLOBS, Node, RIGHTS, Rights,
    },
    net::{ICMP, PEER_SCOPE_BITS, PORT_CLASS_BITS, TCP, UDP, Verb},
    verdict::{MAX_RULE, TRIPWIRE},
};

use super::image::Image;

/// An image with the names behind the hashes, as far as they are known.
pub struct Readable<'i> {
    pub image: &'i Image,
    pub names: &'i BTreeMap<u64, String>,
}

impl Display for Image {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        Readable { image: self, names: &BTreeMap::new() }.fmt(out)
    }
}

impl Display for Readable<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.instances(out)?;
        self.anchors(out)?;
        self.nodes(out)?;
        self.nets(out)
    }
}

impl Readable<'_> {
    fn instances(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (slot, instance) in &self.image.instances {
            writeln!(
                out,
                "slot {slot}: generation {}, state {}, policy {}, params {}",
                instance.generation, instance.state.0, instance.policy, instance.params
            )?;
        }
        Ok(())
    }

    fn anchors(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (key, number) in &self.image.anchors {
            writeln!(out, "anchor {number}: {}", anchor(key))?;
            for (key, entry) in self.image.entries.iter().filter(|(key, _)| key.anchor == *number) {
                let [first, rest @ ..] = entry.states;
                write!(out, "  scope {}: state {first}", key.scope)?;
                for (head, state) in (1..).zip(rest).filter(|(_, state)| *state != 0) {
                    write!(out, ", parameter {head} state {state}")?;
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }

    fn nodes(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (state, node) in &self.image.nodes {
            writeln!(out, "state {state}:{}", says(node))?;
            let mut edges: Vec<(String, u32)> = self
                .image
                .edges
                .iter()
                .filter(|(key, _)| key.state == *state)
                .map(|(key, target)| (self.edge(key, node), *target))
                .collect();
            edges.sort();
            for (name, target) in edges {
                writeln!(out, "  {name} -> {target}")?;
            }
            if node.other != 0 {
                writeln!(out, "  * -> {}", node.other)?;
            }
        }
        Ok(())
    }

    fn edge(&self, key: &EdgeKey, node: &Node) -> String {
        if key.kind == EDGE_GLOBS { self.set(key.name, node) } else { self.name(key.name) }
    }

    /// The globs of a state that are in a set.
    fn set(&self, set: u64, node: &Node) -> String {
        let mut index = node.globs;
        let mut globs = Vec::new();
        for bit in 0..MAX_GLOBS {
            let Some(glob) = self.image.globs.get(&index) else { break };
            if set >> bit & 1 != 0 {
                globs.push(glob.pattern().escape_ascii().to_string());
            }
            index = glob.next;
        }
        format!("fits {}", globs.join(" and "))
    }

    fn name(&self, hash: u64) -> String {
        match self.names.get(&hash) {
            Some(name) => name.escape_debug().to_string(),
            None => format!("#{hash:016x}"),
        }
    }

    fn nets(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for ((key, bits), class) in &self.image.peers {
            let address = Ipv6Addr::from(key.address.0);
            let bits = bits - PEER_SCOPE_BITS;
            match (address.to_ipv4_mapped(), bits.checked_sub(96)) {
                (Some(v4), Some(bits)) => write!(out, "peer scope {}: {v4}/{bits}", key.scope)?,
                _ => write!(out, "peer scope {}: {address}/{bits}", key.scope)?,
            }
            writeln!(out, " -> class {class}")?;
        }
        for ((key, bits), rule) in &self.image.ports {
            let first = u16::from_be_bytes(key.port);
            let free = 16 - (bits - PORT_CLASS_BITS);
            let last = u32::from(first) + (1 << free) - 1;
            let says = if rule.deny == 0 { "allow" } else { "deny" };
            let (verb, protocol) = (verb(key.verb), protocol(key.protocol));
            let ports = if free == 0 { first.to_string() } else { format!("{first}-{last}") };
            let by = by(rule.rule);
            writeln!(out, "class {}: {verb} {protocol} {ports}: {says} by {by}", key.class)?;
        }
        Ok(())
    }
}

fn anchor(key: &AnchorKey) -> String {
    if key.kind == ANCHOR_TYPE {
        return format!("filesystems of type {:#x}", key.filesystem);
    }
    let AnchorKey { filesystem, inode, generation, kind } = key;
    let tree = if *kind == ANCHOR_FOLDER { String::new() } else { format!(" tree {kind}") };
    format!("filesystem {filesystem}{tree} inode {inode} generation {generation}")
}

fn verb(number: u8) -> String {
    Verb::from_u8(number).map_or_else(|| format!("verb {number}"), |verb| verb.name().to_owned())
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn says(node: &Node) -> String {
    let allow = list("allow", node.allow, &node.allow_rule);
    allow + &list("deny", node.deny, &node.deny_rule)
}

/// The rights by the rule that they come from.
fn list(what: &str, rights: Rights, rules: &[u16; RIGHTS]) -> String {
    let mut by_rule: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for ((right, name), rule) in Rights::NAMES.iter().zip(rules) {
        if rights.contains(*right) {
            by_rule.entry(*rule).or_default().push(name);
        }
    }
    let text =
        |(rule, names): (&u16, &Vec<&str>)| format!(" {what} {} by {}", names.join(","), by(*rule));
    by_rule.iter().map(text).collect()
}

/// A rule by its number in a table.
fn by(number: u16) -> String {
    let tripwire = if number & TRIPWIRE == 0 { "" } else { ", a tripwire" };
    format!("{}{tripwire}", number & MAX_RULE)
}
