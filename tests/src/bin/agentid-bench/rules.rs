//! The same rules for agentid and for Landlock.
//!
//! `n` rules are `n` for files and `n` for peers; the first of each is the one that grants what is measured, the others
//! are there to be looked through.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::names;
use crate::situation::Neighbour;
use crate::terrain::{GRANTED, GRANTED_PORT, ruled_folder};

/// How many rules a policy of ours may have.
pub const MOST: u16 = 1000;
/// The numbers of rules that are measured.
pub const NUMBERS: [u16; 3] = [1, 10, MOST];

const POLICIES: &str = "/etc/agentid/policies.d";

/// Folders that may be read and executed from.
pub fn folders(count: u16) -> impl Iterator<Item = String> {
    std::iter::once(GRANTED.to_owned()).chain((1..count).map(ruled_folder))
}

/// Ports of 127.0.0.1 that may be connected to.
pub fn ports(count: u16) -> impl Iterator<Item = u16> {
    (0..count).map(|number| GRANTED_PORT + number * 10)
}

/// Name of the policy with so many rules.
pub fn policy(count: u16) -> String {
    format!("bench-{count}")
}

/// Name of the same with one more, which denies a name in every folder: no name on the way can be left unread.
pub fn policy_with_denied_name(count: u16) -> String {
    format!("bench-{count}-name")
}

/// Name of the same with one more, which grants the name of a host.
pub fn policy_with_host(count: u16) -> String {
    format!("bench-{count}-host")
}

/// Name of the policy of a run that others are measured beside.
pub fn policy_of_neighbour(neighbour: Neighbour) -> &'static str {
    match neighbour {
        Neighbour::Deny => "bench-beside-deny",
        Neighbour::Kill => "bench-beside-kill",
        Neighbour::Host => "bench-beside-host",
    }
}

/// Writes the policies where the daemon finds them.
pub fn write_policies() -> Result<()> {
    for count in NUMBERS {
        write_policy(&policy(count), &text(count)?)?;
        let denied = "[[file]]\npaths = [\"**/.env\"]\ndeny = \"all\"\n";
        write_policy(&policy_with_denied_name(count), &(text(count)? + denied))?;
        let mut with_host = text(count)?;
        names::write_rule(&mut with_host)?;
        write_policy(&policy_with_host(count), &with_host)?;
    }
    for neighbour in [Neighbour::Deny, Neighbour::Kill, Neighbour::Host] {
        let on_end = if neighbour == Neighbour::Kill { "kill" } else { "deny" };
        let mut rules = format!("on_end = \"{on_end}\"\n") + &text(1)?;
        if neighbour == Neighbour::Host {
            names::write_rule(&mut rules)?;
        }
        write_policy(policy_of_neighbour(neighbour), &rules)?;
    }
    Ok(())
}

fn write_policy(name: &str, rules: &str) -> Result<()> {
    let file = format!("{POLICIES}/{name}.toml");
    let head = format!("name = \"{name}\"\ndescription = \"for the bench\"\nttl = \"1h\"\n");
    fs::write(&file, head + rules).with_context(|| format!("failed to write {file}"))
}

fn text(count: u16) -> Result<String> {
    let mut text = String::new();
    for folder in folders(count) {
        write!(text, "[[file]]\npaths = [\"{folder}/**\"]\nallow = [\"read\", \"exec\"]\n")?;
    }
    for port in ports(count) {
        write!(text, "[[net]]\nto = [\"127.0.0.1:{port}\"]\nallow = [\"connect\"]\n")?;
    }
    write!(
        text,
        "[[net]]\nto = [\"127.0.0.1:{GRANTED_PORT}\"]\nproto = \"udp\"\nallow = [\"send\"]\n"
    )?;
    // The listener is the worker's own.
    text += "[[net]]\non = [\"127.0.0.1:*\"]\nproto = [\"tcp\", \"udp\"]\nallow = [\"listen\"]\n";
    Ok(text)
}
