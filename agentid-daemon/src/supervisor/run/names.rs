//! Names: whose question is it, is the name granted, and which addresses are pinned for it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use agentid_common::{
    net::{Address, Asker, PeerKey},
    verdict::Reason,
};
use tracing::{debug, error};
use uuid::Uuid;

use super::{Supervisor, launch::chain};
use crate::{
    control::api::{NameView, NamedEndpoint, WhyReply},
    event::event::{Name, What},
    image::{HostRules, MapOp},
    instance::{
        Phase, Run,
        run::{PolicyVersion, RunMode},
    },
    kernel::address,
    names::{Ask, Found, Pinned as Outcome, Request, Verdict},
    supervisor::{
        budget::Budget,
        pinned::Answer,
        rules::Release,
        tripwire, view,
        why::{self, Texts},
    },
};

/// Questions of one run at once, and in each second after that. More than a build asks, less than it takes to carry much
/// out of the host in names.
const QUESTIONS: (u32, u32) = (300, 20);
/// Most addresses in one answer; of more the first are told.
const ADDRESSES: usize = 256;
/// Records of one run's names in the same way; what is left out is counted in the next one.
const RECORDS: (u32, u32) = (200, 5);

/// In a record that is about every question of a run.
const ANY_NAME: &str = "*";
const ANY_KIND: &str = "ANY";

/// Why a name is not told that nobody may ask for.
const TRIPWIRE: &str = Reason::Tripwire.name();

/// What one run may still ask.
#[derive(Debug)]
pub(super) struct Allowance {
    questions: Budget,
    records: Budget,
    unrecorded: u64,
    /// It was recorded that it has more of the resolver than its share.
    crowds: bool,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        let ((most, each), (records, each_record)) = (QUESTIONS, RECORDS);
        Self {
            questions: Budget::new(most, each, now),
            records: Budget::new(records, each_record, now),
            unrecorded: 0,
            crowds: false,
        }
    }
}

/// How long an address stays pinned, whatever the answer says.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    pub least: Duration,
    pub most: Duration,
}

impl Lifetimes {
    fn of(self, seconds: u32) -> Duration {
        Duration::from_secs(seconds.into()).clamp(self.least, self.most)
    }
}

impl Supervisor {
    pub(super) fn name(&mut self, request: Request) {
        match request {
            Request::Ask(ask) => self.asked(ask),
            Request::Found(found) => self.found(found),
            Request::Crowds(asker) => self.crowds(&asker),
        }
    }

    /// Records of a run once that it has more of the resolver than its share.
    fn crowds(&mut self, asker: &Asker) {
        let Some(run) = self.state.registry.holder(asker.slot, asker.generation) else { return };
        let id = run.id;
        if !std::mem::replace(&mut self.allowance(id, Instant::now()).crowds, true) {
            // Beside the records that the run may have: its questions have used those up.
            let event = Name {
                name: ANY_NAME.to_owned(),
                record: ANY_KIND.to_owned(),
                verdict: "deny".to_owned(),
                reason: Some("crowded".to_owned()),
                rule: None,
                by: None,
                because: None,
                addresses: Vec::new(),
                unrecorded: 0,
            };
            self.publish(Some(id), What::Name(event));
        }
    }

    fn asked(&mut self, ask: Ask) {
        let verdict = self.verdict(&ask);
        let result = match &verdict {
            Verdict::Granted { .. } => "granted",
            Verdict::Denied(_) => "denied",
            Verdict::Limited(_) => "limited",
            Verdict::Nobody => "stranger",
        };
        self.metrics.names.with_label_values(&[result]).inc();
        // Who has asked may not wait any more.
        ask.reply.send(verdict).unwrap_or(());
    }

    fn verdict(&mut self, ask: &Ask) -> Verdict {
        let Some(run) = self.asker(ask) else { return Verdict::Nobody };
        if run.phase != Phase::Active {
            return Verdict::Nobody;
        }
        let (id, audits) = (run.id, run.mode == RunMode::Audit);
        let now = Instant::now();
        if !self.allowance(id, now).questions.take(now) {
            return Verdict::Limited(id);
        }
        let refused = match self.granted(id, &ask.name) {
            Ok(()) if ask.long => Refused::for_reason("long_name"),
            Ok(()) => return Verdict::Granted { run: id, edition: self.names_edition },
            Err(refused) => refused,
        };
        let verdict = if audits { "audit" } else { "deny" };
        self.tell(id, &ask.name, &ask.kind, verdict, Some(&refused), &[]);
        if audits {
            return Verdict::Granted { run: id, edition: self.names_edition };
        }
        if refused.reason == TRIPWIRE {
            self.trip(id, tripwire::lookup(&ask.name, refused.rule));
        }
        Verdict::Denied(id)
    }

    /// What the run may still ask, with all that stand on the same first run: delegating gives no more.
    fn allowance(&mut self, id: Uuid, now: Instant) -> &mut Allowance {
        let first = self.state.registry.get(id).and_then(|run| run.above.last().copied());
        self.allowances.entry(first.unwrap_or(id)).or_insert_with(|| Allowance::new(now))
    }

    /// The run that has sent the question, by what the kernel programs saw of it.
    fn asker(&self, ask: &Ask) -> Option<&Run> {
        let asker = match self.kernel.askers().find(ask.protocol, ask.from) {
            Ok(asker) => asker?,
            Err(failure) => {
                error!(message = %chain(&failure), "who asks for a name is unknown");
                return None;
            }
        };
        self.state.registry.holder(asker.slot, asker.generation)
    }

    /// Whether the rules of the run, and of every run above it, grant the name.
    fn granted(&self, id: Uuid, name: &str) -> Result<(), Refused> {
        let registry = &self.state.registry;
        let own = registry.get(id).ok_or(Refused::for_reason("not_live"))?;
        let chain = std::iter::once(&own.id).chain(&own.above);
        let refused: Vec<Refused> = chain
            .filter_map(|id| {
                let by = (*id != own.id).then_some(*id);
                match self.host_rules(*id, name) {
                    Some(HostRules { allows: Some(_), .. }) => None,
                    Some(HostRules { denies, tripwire, .. }) => {
                        let reason = if *tripwire { TRIPWIRE } else { "deny_rule" };
                        Some(Refused { reason, rule: *denies, by })
                    }
                    None => Some(Refused { reason: "no_rule", rule: None, by }),
                }
            })
            .collect();
        // As the kernel does: the first counts, unless there is a tripwire.
        let met = refused.iter().find(|refused| refused.reason == TRIPWIRE);
        met.or(refused.first()).map_or(Ok(()), |refused| Err(*refused))
    }

    fn host_rules(&self, id: Uuid, name: &str) -> Option<&HostRules> {
        let run = self.state.registry.get(id)?;
        self.rules.hosts_of(id, &run.policy)?.find(name)
    }

    fn found(&mut self, found: Found) {
        let Found { run, name, kind, addresses, reply } = found;
        let outcome = self.pin(run, &name, &kind, &addresses);
        reply.send(outcome).unwrap_or(());
    }

    /// Pins what the rules let the name be. In audit mode all of it passes, and needs no pin.
    fn pin(&mut self, id: Uuid, name: &str, kind: &str, addresses: &[(IpAddr, u32)]) -> Outcome {
        let Some(run) = self.state.registry.get(id).filter(|run| run.phase == Phase::Active) else {
            return Outcome::Over;
        };
        let chain_of: Vec<Uuid> =
            std::iter::once(run.id).chain(run.above.iter().copied()).collect();
        let most = u32::try_from(self.lifetimes.most.as_secs()).unwrap_or(u32::MAX);
        if self.granted(id, name).is_err() {
            let kept = addresses.iter().map(|(address, _)| *address).collect();
            let edition = self.names_edition;
            // The rules have changed since, or it is an audit.
            return if run.mode == RunMode::Audit {
                Outcome::These { kept, most, edition }
            } else {
                Outcome::Over
            };
        }
        let boot_ns = self.kernel.boot_ns();
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for &(address, ttl) in addresses.iter().take(ADDRESSES) {
            if self.may_be(&chain_of, name, address) {
                let life = u64::try_from(self.lifetimes.of(ttl).as_nanos()).unwrap_or(u64::MAX);
                kept.push((address, boot_ns.saturating_add(life)));
            } else {
                refused.push(address);
            }
        }
        if !self.write_answers(&chain_of, name, &kept, boot_ns) {
            return Outcome::Full;
        }
        if !refused.is_empty() {
            let reason = Refused::for_reason("special_address");
            self.tell(id, name, kind, "deny", Some(&reason), &refused);
            self.metrics.names.with_label_values(&["rebound"]).inc();
        }
        let kept: Vec<IpAddr> = kept.into_iter().map(|(address, _)| address).collect();
        if !kept.is_empty() || refused.is_empty() {
            self.tell(id, name, kind, "allow", None, &kept);
        }
        Outcome::These { kept, most, edition: self.names_edition }
    }

    /// Whether every run of the chain lets the name stand for the address.
    fn may_be(&self, chain: &[Uuid], name: &str, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        chain.iter().all(|id| self.host_rules(*id, name).is_some_and(|rules| rules.may_be(address)))
    }

    /// Pins them for each run of the chain, or for none.
    fn write_answers(
        &mut self,
        chain_of: &[Uuid],
        name: &str,
        addresses: &[(IpAddr, u64)],
        now: u64,
    ) -> bool {
        let more: Vec<Address> = addresses.iter().map(|(ip, _)| address(*ip)).collect();
        let mut ops = Vec::new();
        for id in chain_of {
            let Ok(past) = self.pinned.make_room(*id, &more, now) else {
                debug!(%id, "a run has as many addresses of names as one may have");
                return false;
            };
            ops.extend(past.iter().filter_map(|address| self.pins_now(*id, *address)));
        }
        for id in chain_of {
            let Some(pattern) = self.host_rules(*id, name).map(|rules| rules.pattern) else {
                return false;
            };
            for &(ip, until) in addresses {
                let answer = Answer { name: name.to_owned(), pattern, until };
                if self.pinned.add(*id, address(ip), answer) {
                    // Who was told of the one that gives way has to ask again.
                    self.names_edition += 1;
                }
                ops.extend(self.pins_now(*id, address(ip)));
            }
        }
        match self.apply(&ops) {
            Ok(()) => true,
            Err(failure) => {
                debug!(message = %chain(&failure), "an address is not pinned");
                false
            }
        }
    }

    /// The write that has the kernel's table say of an address what is known of it.
    fn pins_now(&self, id: Uuid, address: Address) -> Option<MapOp> {
        let run = self.state.registry.get(id)?;
        let key = PeerKey { scope: self.rules.scope_of(id)?, address };
        let hosts = self.rules.hosts_of(id, &run.policy)?;
        Some(match self.pinned.pins(id, key, hosts) {
            Some(pins) => MapOp::SetPins(key, pins),
            None => MapOp::RemovePins(key),
        })
    }

    /// Gives a run's addresses to the rules that it is about to be bound to, before any hook asks those.
    pub(super) fn carry_names(&mut self, id: Uuid, version: &PolicyVersion, from: u64, to: u64) {
        self.names_edition += 1;
        let (Some(hosts), addresses) =
            (self.rules.hosts_of(id, version), self.pinned.addresses(id))
        else {
            return;
        };
        self.pinned.rebase(id, hosts);
        let ops: Vec<MapOp> = addresses
            .iter()
            .filter_map(|&address| {
                let key = PeerKey { scope: to, address };
                Some(MapOp::SetPins(key, self.pinned.pins(id, key, hosts)?))
            })
            .collect();
        if let Err(failure) = self.apply(&ops) {
            error!(%id, message = %chain(&failure), "the run has to ask for its names again");
        }
        let old = addresses.iter().map(|&address| PeerKey { scope: from, address });
        self.garbage.push(Release::of_pins(old));
    }

    /// Finds in the kernel's tables what an earlier daemon has pinned for a run.
    pub(super) fn adopt_names(&mut self, id: Uuid, version: &PolicyVersion, from: u64) {
        let Some(hosts) = self.rules.hosts_of(id, version) else { return };
        for (address, pins) in self.rules.image().pins_of(from) {
            for pin in pins.list.iter().filter(|pin| pin.until != 0) {
                if let Some(rules) = hosts.by_pattern(pin.pattern) {
                    let (name, pattern) = (rules.host.to_string(), rules.pattern);
                    self.pinned.add(id, address, Answer { name, pattern, until: pin.until });
                }
            }
        }
    }

    /// Forgets the names of a run that has left its slot.
    pub(super) fn forget_names(&mut self, id: Uuid) {
        self.allowances.remove(&id);
        let addresses = self.pinned.forget(id);
        if let Some(scope) = self.rules.scope_of(id) {
            let keys = addresses.into_iter().map(|address| PeerKey { scope, address });
            self.garbage.push(Release::of_pins(keys));
        }
    }

    fn tell(
        &mut self,
        id: Uuid,
        name: &str,
        kind: &str,
        verdict: &str,
        refused: Option<&Refused>,
        addresses: &[IpAddr],
    ) {
        let now = Instant::now();
        let allowance = self.allowance(id, now);
        if !allowance.records.take(now) {
            allowance.unrecorded += 1;
            return;
        }
        let unrecorded = std::mem::take(&mut allowance.unrecorded);
        let by = refused.and_then(|refused| refused.by);
        let policy = self.state.registry.get(by.unwrap_or(id)).map(|run| &run.policy);
        let document = policy.and_then(|version| self.rules.document(version));
        let granting = match refused {
            Some(refused) => refused.rule,
            None => self.host_rules(id, name).and_then(|rules| rules.allows),
        };
        let because = granting.and_then(|rule| document?.policy.because_net(rule));
        let event = Name {
            name: name.to_owned(),
            record: kind.to_owned(),
            verdict: verdict.to_owned(),
            reason: refused.map(|refused| refused.reason.to_owned()),
            rule: granting.map(u32::from),
            by,
            because: because.map(ToOwned::to_owned),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            unrecorded,
        };
        self.publish(Some(id), What::Name(event));
    }

    /// May the run connect to a peer of that name?
    pub(super) fn why_name(&self, run: &Run, end: &NamedEndpoint) -> WhyReply {
        let name = end.name.trim_end_matches('.').to_ascii_lowercase();
        let mut known = self.names_of(run.id);
        // After a restart of the daemon only the pattern is known.
        let pattern = self.host_rules(run.id, &name).map(|rules| rules.host.to_string());
        known.retain(|it| it.name == name || Some(&it.name) == pattern.as_ref());
        let classes = std::iter::once(&run.id)
            .chain(&run.above)
            .filter_map(|id| Some((self.rules.scope_of(*id)?, self.host_rules(*id, &name)?.class)));
        let above = self.texts_above(run);
        let texts = Texts { own: self.text(run), above: &above };
        let facts = self.rules.at(self.kernel.boot_ns());
        let end = NamedEndpoint { name: name.clone(), ..end.clone() };
        why::named(&facts, run, texts, &end, known, classes)
    }

    /// The names of a run as the protocol shows them.
    pub(super) fn names_of(&self, id: Uuid) -> Vec<NameView> {
        let now = self.now();
        self.pinned
            .of(id)
            .filter(|(_, answer)| answer.until > now.boot_ns)
            .map(|(address, answer)| NameView {
                name: answer.name.clone(),
                address: ip(address).to_string(),
                until_ms: view::wall_of(answer.until, now),
            })
            .collect()
    }
}

/// Why a name is not told.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reason: &'static str,
    rule: Option<u16>,
    /// The run above whose rules say so.
    by: Option<Uuid>,
}

impl Refused {
    const fn for_reason(reason: &'static str) -> Self {
        Self { reason, rule: None, by: None }
    }
}

/// As people have it.
pub fn ip(address: Address) -> IpAddr {
    IpAddr::from(address.0).to_canonical()
}
