//! May a run use this peer?

use crate::{
    decide::lifecycle::{Question, Scopes, ask_each},
    facts::Facts,
    net::{Peer, PeerKey, PortKey},
    tag::Tag,
    verdict::{Answer, Reason, Refusal},
};

/// May this run, and every run above it, use the peer?
#[inline(always)]
pub fn may_use<F: Facts>(facts: &F, tag: &Tag, peer: &Peer) -> Answer {
    ask_each(facts, tag, &MayUse { facts, peer })
}

struct MayUse<'a, F> {
    facts: &'a F,
    peer: &'a Peer,
}

impl<F: Facts> Question for MayUse<'_, F> {
    // What the hook has read of the socket is on the stack already.
    const BEFORE_LOOP: bool = false;

    #[inline(always)]
    fn ask(&self, scopes: &Scopes) -> Answer {
        rules_allow(self.facts, scopes, self.peer)
    }
}

#[inline(always)]
fn rules_allow<F: Facts>(facts: &F, scopes: &Scopes, peer: &Peer) -> Answer {
    let key = PeerKey { scope: scopes.policy, address: peer.address };
    let class = facts.class(&key).ok_or(Refusal::denied(Reason::NoRule))?;
    let key = PortKey {
        class,
        verb: peer.verb as u8,
        protocol: peer.protocol,
        port: peer.port.to_be_bytes(),
    };
    match facts.port_rule(&key) {
        Some(found) if found.deny == 0 => Ok(found.rule),
        Some(found) => Err(Refusal::Denied { reason: Reason::DenyRule, rule: found.rule }),
        None => Err(Refusal::denied(Reason::NoRule)),
    }
}
