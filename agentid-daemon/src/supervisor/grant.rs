//! The smallest addition to a policy that would allow what was denied.

use crate::event::event::{Access, Name, Object, What};

/// In the language of policies; `None` where a rule denies it, where no rule could grant it, or where what was asked for cannot
/// be told exactly.
pub fn smallest(what: &What) -> Option<String> {
    if let What::Name(name) = what {
        return host(name);
    }
    let What::Access(Access { reason: Some(reason), object: Some(object), .. }) = what else {
        return None;
    };
    match (reason.as_str(), object) {
        ("no_rule", Object::File { path: Some(path), want }) => file(path, want),
        ("no_rule", Object::AbstractSocket { name, want }) => abstract_name(name, want),
        (
            "no_rule",
            Object::Peer { address: Some(address), port, protocol, verb: Some(verb), .. },
        ) => peer(address, *port, protocol, verb),
        ("capability", Object::Capability { name }) => capability(name),
        _ => None,
    }
}

/// These rights of this file.
pub fn file(path: &str, want: &[String]) -> Option<String> {
    let grants = || rule("file", &[("paths", list([path])), ("allow", list(want))]);
    is_pattern_of_itself(path).then(grants)
}

/// This abstract name of a unix socket.
pub fn abstract_name(name: &str, want: &[String]) -> Option<String> {
    let grants = || rule("unix", &[("abstract", list([name])), ("allow", list(want))]);
    let is_itself = !name.is_empty() && !name.starts_with('@') && has_no_signs(name);
    is_itself.then(grants)
}

/// This capability.
pub fn capability(name: &str) -> Option<String> {
    let is_name = name.starts_with(|sign: char| sign.is_ascii_lowercase());
    is_name.then(|| format!("capabilities = {}\n", list([name])))
}

/// Whether the path, read as a pattern, means that path and no other.
fn is_pattern_of_itself(path: &str) -> bool {
    path.starts_with('/') && has_no_signs(path)
}

/// Whether nothing in it stands for something else.
fn has_no_signs(text: &str) -> bool {
    !text.contains(['*', '?', '[', '{', '$', '\0', '\u{fffd}'])
}

/// This end of a conversation.
pub fn peer(address: &str, port: u16, protocol: &str, verb: &str) -> Option<String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let end = match protocol {
        "tcp" | "udp" => format!("{host}:{port}"),
        "icmp" => format!("{host}:*"),
        _ => return None,
    };
    let side = match verb {
        "connect" | "send" => "to",
        "listen" | "accept" => "on",
        _ => return None,
    };
    let proto = quoted(protocol);
    Some(rule("net", &[(side, list([&end])), ("proto", proto), ("allow", list([verb]))]))
}

/// Of a name that was asked for no port is known.
fn host(Name { name, verdict, reason, .. }: &Name) -> Option<String> {
    if verdict != "deny" || reason.as_deref() != Some("no_rule") {
        return None;
    }
    let end = format!("{name}:443");
    let rule = rule("net", &[("to", list([&end])), ("allow", list(["connect"]))]);
    Some(format!("# Which port is not known yet; 443 is that of HTTPS.\n{rule}"))
}

fn rule(kind: &str, fields: &[(&str, String)]) -> String {
    let lines = fields.iter().map(|(name, value)| format!("{name} = {value}\n"));
    format!("[[{kind}]]\n{}", lines.collect::<String>())
}

fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
