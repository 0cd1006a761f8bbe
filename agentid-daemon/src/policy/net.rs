//! Validates a `[[net]]`.

use agentid_common::net::{ICMP, TCP, Verb};
use toml::Spanned;

use super::{
    document::{NetTable, Words},
    error::Flaw,
    nearest::nearest,
    policy::{Effect, Named, NetRule, Prefix},
    reader::Reader,
    rights,
    target::{self, End},
    validate::{list, tripwire},
    verbs::{PROTOCOLS, Side, Verbs, meaning},
};

pub(super) fn net(table: &NetTable, reader: &mut Reader<'_>) -> Option<NetRule> {
    let side = side(table, reader);
    let effect = rights::net(&table.effect, side, &table.span, reader);
    let field = side.and_then(|side| match side {
        Side::Peer => table.to.as_ref(),
        Side::Own => table.on.as_ref(),
    });
    let ends = field.and_then(|field| {
        list(side?.key(), Some(field.get_ref()), &field.span(), reader, target::parse)
    });
    let because = table.because.as_ref().map(|text| text.get_ref().clone());
    let (side, effect, ends) = (side?, effect?, ends?);
    let (mut targets, mut names) = (Vec::new(), Vec::new());
    for end in ends.into_iter().flatten() {
        match end {
            End::Address(target) => targets.push(target),
            End::Name(named) => names.push(named),
        }
    }
    if side == Side::Own && !names.is_empty() {
        let flaw = Flaw::new("`on` names addresses of the run's own, and a host name is a peer's");
        reader.flaw(&table.span, flaw.help("write the address, or `to`"));
        return None;
    }
    let resolves_to = resolves_to(table, &effect, &names, reader)?;
    let ports = targets.iter().map(|it| (it.first, it.last));
    let ports: Vec<_> = ports.chain(names.iter().map(|it| (it.first, it.last))).collect();
    let protocols = protocols(table, side, &effect, &ports, reader)?;
    let tripwire = tripwire(table.tripwire.as_ref(), &effect, reader);
    if tripwire && side == Side::Own {
        let flaw =
            Flaw::new("`tripwire` in a rule with `on`: whoever connects to the run could end it");
        reader.flaw(&table.span, flaw.help("leave it out, or name peers with `to`"));
    }
    Some(NetRule { side, targets, names, resolves_to, protocols, effect, tripwire, because })
}

/// Addresses that the names of a rule may have although they are no public ones.
fn resolves_to(
    table: &NetTable,
    effect: &Effect<Verbs>,
    names: &[Named],
    reader: &mut Reader<'_>,
) -> Option<Vec<Prefix>> {
    let Some(field) = &table.resolves_to else { return Some(Vec::new()) };
    if names.is_empty() || matches!(effect, Effect::Deny(_)) {
        let flaw =
            Flaw::new("`resolves_to` is about host names that the rule allows, and there are none");
        reader.flaw(&field.span(), flaw.help("leave it out, or name hosts in `to`"));
        return None;
    }
    list("resolves_to", Some(field.get_ref()), &field.span(), reader, target::block)
}

fn side(table: &NetTable, reader: &mut Reader<'_>) -> Option<Side> {
    match (&table.to, &table.on) {
        (Some(_), None) => Some(Side::Peer),
        (None, Some(_)) => Some(Side::Own),
        (Some(_), Some(on)) => {
            let flaw = Flaw::new("rule has both `to` and `on`").help("make it two rules");
            reader.flaw(&on.span(), flaw);
            None
        }
        (None, None) => {
            let flaw = Flaw::new("rule has neither `to` nor `on`");
            let help = "`to` names peers to connect to, `on` addresses to listen on";
            reader.flaw(&table.span, flaw.help(help));
            None
        }
    }
}

/// The protocols of a rule, each of which has what the rule speaks of.
fn protocols(
    table: &NetTable,
    side: Side,
    effect: &Effect<Verbs>,
    ports: &[(u16, u16)],
    reader: &mut Reader<'_>,
) -> Option<Vec<u8>> {
    let (named, span) = match (&table.proto, effect) {
        // A denial that names no protocol means the peer, however it is reached.
        (None, Effect::Deny(_)) => return Some(side.protocols().to_vec()),
        (None, Effect::Allow(_)) => (vec![TCP], table.span.clone()),
        (Some(field), _) => (named(field, reader)?, field.span()),
    };
    let verbs = match effect {
        // Everything that the protocol has.
        Effect::Deny(verbs) if *verbs == side.verbs() => &Verbs::default(),
        Effect::Allow(verbs) | Effect::Deny(verbs) => verbs,
    };
    for &protocol in &named {
        if let Some(flaw) = missing(protocol, *verbs, ports) {
            reader.flaw(&span, flaw);
            return None;
        }
    }
    Some(PROTOCOLS.iter().map(|(_, number)| *number).filter(|it| named.contains(it)).collect())
}

fn named(field: &Spanned<Words>, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let number = |text: &str| {
        PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number).ok_or_else(
            || {
                let names = || PROTOCOLS.iter().map(|(name, _)| *name);
                let flaw = Flaw::new(format!("unknown protocol `{text}`"));
                match nearest(text, names()) {
                    Some(near) => flaw.help(format!("did you mean `{near}`?")),
                    None => {
                        flaw.help(format!("protocols: {}", names().collect::<Vec<_>>().join(", ")))
                    }
                }
            },
        )
    };
    match field.get_ref() {
        Words::One(text) => reader.check(&field.span(), number(text)).map(|number| vec![number]),
        Words::List(list) if list.is_empty() => {
            reader.flaw(
                &field.span(),
                Flaw::new("list names no protocol").help("name one, or leave `proto` out"),
            );
            None
        }
        Words::List(list) => {
            let known: Vec<u8> = list
                .iter()
                .filter_map(|item| reader.check(&item.span(), number(item.get_ref())))
                .collect();
            (known.len() == list.len()).then_some(known)
        }
    }
}

/// What of the rule this protocol does not have.
fn missing(protocol: u8, verbs: Verbs, ports: &[(u16, u16)]) -> Option<Flaw> {
    let lacking = verbs.iter().find(|verb| meaning(*verb, protocol).is_empty());
    match (lacking, protocol) {
        (Some(Verb::Send), _) => Some(
            Flaw::new("`send` is about messages that carry an address, and tcp has none")
                .help("write `connect`, or `proto = \"udp\"`"),
        ),
        (Some(verb), ICMP) => {
            let flaw = Flaw::new(format!("`{}` is about ports, and icmp has none", verb.name()));
            Some(flaw.help("leave icmp out"))
        }
        (Some(verb), _) => Some(
            Flaw::new(format!("`{}` is about connections, and udp has none", verb.name()))
                .help("write `listen`"),
        ),
        (None, ICMP) if ports.iter().any(|it| *it != (0, u16::MAX)) => {
            let flaw = Flaw::new("ports are named, and icmp has none");
            Some(flaw.help("make it a rule of its own, with addresses such as `192.0.2.7:*`"))
        }
        (None, _) => None,
    }
}
