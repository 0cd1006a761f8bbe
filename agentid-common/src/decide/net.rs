//! May a run use this peer, or this address of its own?

use crate::{
    decide::lifecycle::{Question, Scopes, alive, ask_each},
    facts::{Facts, Flow, Turn},
    net::{Address, PINS_EACH, Peer, PeerKey, Pins, PortKey, TCP, Verb},
    tag::Tag,
    verdict::{Answer, Reason, Refusal},
};

/// May this run, and every run above it, use the peer or the address so?
#[inline(always)]
pub fn may_use<F: Facts>(facts: &F, tag: &Tag, peer: &Peer) -> Answer {
    ask_each(facts, tag, &MayUse { facts, peer, stands: false })
}

/// The same of a conversation that stands: a name that has led to the peer before need not do so any more.
#[inline(always)]
pub fn may_go_on_with<F: Facts>(facts: &F, tag: &Tag, peer: &Peer) -> Answer {
    ask_each(facts, tag, &MayUse { facts, peer, stands: true })
}

/// Whether a connect is let go although the rules do not grant the peer: of datagrams none leaves by it.
#[inline(always)]
pub const fn only_takes_a_peer(protocol: u8, answer: Answer) -> bool {
    let no_grant =
        matches!(answer, Err(Refusal::Denied { reason: Reason::NoRule | Reason::DenyRule, .. }));
    protocol != TCP && no_grant
}

struct MayUse<'a, F> {
    facts: &'a F,
    peer: &'a Peer,
    stands: bool,
}

impl<F: Facts> Question for MayUse<'_, F> {
    // What the hook has read of the socket is on the stack already.
    const BEFORE_LOOP: bool = false;

    #[inline(always)]
    fn ask(&self, scopes: &Scopes) -> Answer {
        let rule = rules_allow(self.facts, scopes, self.peer, self.stands)?;
        if self.peer.takes_ipv4_too() {
            let ipv4 = Peer { address: Address::ANY_V4, ..*self.peer };
            rules_allow(self.facts, scopes, &ipv4, false)?;
        }
        Ok(rule)
    }
}

/// May a packet of the run pass, as far as its addresses go?
#[inline(always)]
pub fn may_reach<F: Facts>(facts: &F, tag: &Tag, peer: &Peer) -> Answer {
    // No room but the stack: what the current task has is not the run's.
    alive(facts, tag)?.each(facts, &MayPass { facts, peer })
}

/// May the packet pass, as far as its addresses go? Where it comes to is judged as being there, whom a datagram goes to or
/// comes from as sending there, with a message that says so or to the peer that the socket has, and of a connection that
/// stands whether it may go on.
struct MayPass<'a, F> {
    facts: &'a F,
    peer: &'a Peer,
}

impl<F: Facts> Question for MayPass<'_, F> {
    // The stack is short.
    const BEFORE_LOOP: bool = false;

    #[inline(always)]
    fn ask(&self, scopes: &Scopes) -> Answer {
        let Self { facts, peer } = *self;
        if peer.verb != Verb::Send {
            return MayUse { facts, peer, stands: true }.ask(scopes);
        }
        rules_allow(facts, scopes, peer, false).or_else(|_| {
            let peer = Peer { verb: Verb::Connect, ..*peer };
            rules_allow(facts, scopes, &peer, false)
        })
    }
}

/// Rules that name addresses come first. Where they say nothing, a name that stands for the address may.
#[inline(always)]
fn rules_allow<F: Facts>(facts: &F, scopes: &Scopes, peer: &Peer, stands: bool) -> Answer {
    let answer = by_address(facts, scopes, peer);
    match answer {
        Err(Refusal::Denied { reason: Reason::NoRule, .. }) if !peer.verb.is_local() => {
            by_name(facts, scopes, peer, stands)
        }
        _ => answer,
    }
}

#[inline(always)]
fn by_address<F: Facts>(facts: &F, scopes: &Scopes, peer: &Peer) -> Answer {
    let key = PeerKey { scope: scopes.policy, address: peer.address };
    let class = facts.class(&key).ok_or(Refusal::denied(Reason::NoRule))?;
    of_class(facts, class, peer)
}

/// What the rules of a class say of the port.
#[inline(always)]
fn of_class<F: Facts>(facts: &F, class: u32, peer: &Peer) -> Answer {
    let key = PortKey {
        class,
        verb: peer.verb as u8,
        protocol: peer.protocol,
        port: peer.port.to_be_bytes(),
    };
    match facts.port_rule(&key) {
        Some(found) if found.deny == 0 => Ok(found.rule),
        Some(found) => Err(Refusal::by_rule(found.rule)),
        None => Err(Refusal::denied(Reason::NoRule)),
    }
}

/// Of several names that stand for one address, one that denies the port beats those that allow it.
#[inline(always)]
fn by_name<F: Facts>(facts: &F, scopes: &Scopes, peer: &Peer, stands: bool) -> Answer {
    let key = PeerKey { scope: scopes.params, address: peer.address };
    let Some(pins) = facts.pins(&key) else {
        return Err(Refusal::denied(Reason::NoRule));
    };
    let answer = Err(Refusal::denied(Reason::NoRule));
    let now = if stands { 0 } else { facts.now() };
    let mut named = Named { facts, pins, peer, now, answer };
    facts.repeat(PINS_EACH, &mut named)?;
    let answer = named.answer;
    // Its place may have been given to another run's address while it was read.
    if pins.key == key { answer } else { Err(Refusal::denied(Reason::NoRule)) }
}

/// The names of one address, one after the other.
struct Named<'a, F> {
    facts: &'a F,
    pins: &'a Pins,
    peer: &'a Peer,
    now: u64,
    answer: Answer,
}

impl<F: Facts> Turn for Named<'_, F> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> Flow {
        let pin = &self.pins.list[index as usize & (PINS_EACH as usize - 1)];
        if pin.until <= self.now {
            return Flow::GoOn;
        }
        match of_class(self.facts, pin.class, self.peer) {
            Err(Refusal::Denied { reason: Reason::NoRule, .. }) => Flow::GoOn,
            Ok(rule) => {
                self.answer = Ok(rule);
                Flow::GoOn
            }
            refused => {
                self.answer = refused;
                Flow::Stop
            }
        }
    }
}
