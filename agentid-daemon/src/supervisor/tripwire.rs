//! A tripwire that a run has met, in words.

use crate::event::event::{Access, Object};

/// By an operation that the kernel has denied.
pub fn access(access: &Access) -> String {
    met(&object(access.object.as_ref()), access.rule, access.because.as_deref())
}

/// By asking for a name.
pub fn lookup(name: &str, rule: Option<u16>) -> String {
    met(&format!("lookup of {name}"), rule.map(u32::from), None)
}

fn met(what: &str, rule: Option<u32>, because: Option<&str>) -> String {
    let rule = rule.map(|rule| format!(" (rule {rule})")).unwrap_or_default();
    let because = because.map(|because| format!(": {because}")).unwrap_or_default();
    format!("{what} met a tripwire{rule}{because}")
}

fn object(object: Option<&Object>) -> String {
    match object {
        Some(Object::File { path, want }) => {
            format!("{} of {}", want.join(", "), path.as_deref().unwrap_or("a file"))
        }
        Some(Object::AbstractSocket { name, want }) => format!("{} of @{name}", want.join(", ")),
        Some(Object::Peer { address, port, verb, .. }) => {
            let verb = verb.as_deref().unwrap_or("connect");
            match address.as_deref() {
                Some(address) if address.contains(':') => format!("{verb} to [{address}]:{port}"),
                Some(address) => format!("{verb} to {address}:{port}"),
                None => format!("{verb} to a peer"),
            }
        }
        Some(Object::Socket { .. } | Object::SocketOption { .. } | Object::Capability { .. })
        | None => "what it did".to_owned(),
    }
}
