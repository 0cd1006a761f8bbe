//! Answering commands. Who may ask is decided here, once, before anything else is looked at.

use std::path::Path;

use agentid_common::{ABI_VERSION, file::Rights, map, net::Verb, tag::Tag};
use tracing::{debug, error};
use uuid::Uuid;

use super::{Supervisor, launch::chain, stopping::totals};
use crate::{
    control::{
        api::{
            Code, ErrorReply, HookView, LOG, MapView, PolicyView, RunView, StatusReply, WhoAmI,
            WhyReply, WhyRequest,
        },
        caller::{Ask, Standing},
    },
    event::{
        event::{MOST_DENIALS, MOST_OF_DENIALS, OwnDenial, What},
        export::Filter,
    },
    image::AbstractName,
    instance::{Phase, Run},
    kernel::LocateError,
    metrics::kernel::Reading,
    policy::Policy,
    supervisor::{
        command::{Answer, Command, Envelope, Reply, Scrape},
        grant,
        moving::Moving,
        refusal::Refusal,
        told, view,
        why::{self, Question, Texts},
    },
};

impl Supervisor {
    pub(super) fn answer(&mut self, envelope: Envelope) {
        let Envelope { caller, arrived, command } = envelope;
        let verb = command.verb();
        let tag = match self.kernel.tag_of(caller.process(), caller.socket()) {
            Ok(tag) => tag,
            Err(failure) => {
                // Somebody whose tag cannot be read may be a run.
                error!(tgid = caller.tgid, message = %chain(&failure), "a caller's tag is unknown");
                self.count(verb, &Err(Code::Internal));
                let message = "the daemon cannot tell whether the asking process is a run";
                return command.refuse(ErrorReply::new(Code::Internal, message, LOG));
            }
        };
        let standing =
            Standing { uid: caller.uid, operator: caller.operator, tagged: tag.is_some() };
        let own = standing.may(Ask::Own);
        match command {
            Command::WhoAmI(reply) => {
                let run = tag.map(|tag| Uuid::from_bytes(tag.invocation.0));
                let about = run.and_then(|id| self.state.registry.get(id));
                let about = about.map(|run| view::own(run, self.now()));
                let answer = WhoAmI { uid: caller.uid, operator: caller.operator, run, about };
                self.reply(verb, reply, Ok(answer));
            }
            Command::OwnDenials(reply) => {
                let allowed = standing.may(Ask::OwnDenials);
                let answer = allowed.map(|()| self.own_denials(tag));
                self.reply(verb, reply, answer);
            }
            Command::Launch(request, reply) => {
                let answer = own.and_then(|()| {
                    let answer = self.launch(&caller, &standing, *request);
                    self.launched(answer)
                });
                self.reply(verb, reply, answer);
            }
            Command::List { all, reply } => {
                let answer = own.map(|()| self.list(&standing, all)).map(|it| self.listed(it));
                self.reply(verb, reply, answer);
            }
            Command::Show { id, reply } => {
                let answer = own.and_then(|()| self.show_one(&standing, &id));
                self.reply(verb, reply, answer);
            }
            Command::Revoke { id, request, reply } => match own {
                Ok(()) => self.revoke(&standing, &id, request, arrived, reply),
                Err(refused) => self.reply(verb, reply, Err(refused)),
            },
            Command::End { request, reply } => match standing.may(Ask::OwnEnd) {
                Ok(()) => self.end(&standing, tag, request, arrived, reply),
                Err(refused) => self.reply(verb, reply, Err(refused)),
            },
            Command::Why { id, request, reply } => {
                let answer = own.and_then(|()| self.why(&standing, &id, &request));
                self.reply(verb, reply, answer);
            }
            Command::Events { query, reply } => {
                let answer = own.and_then(|()| self.events(&standing, &query));
                self.reply(verb, reply, answer);
            }
            Command::Status(reply) => {
                let answer = own.map(|()| self.status(&standing));
                self.reply(verb, reply, answer);
            }
            Command::Tree { query, reply } => {
                let answer = own.and_then(|()| self.tree(&standing, &query));
                self.reply(verb, reply, answer);
            }
            Command::Owner { denied, request, reply } => {
                let allowed = standing.may(Ask::Host);
                let answer = allowed.and_then(|()| self.owner(&standing, request, denied));
                self.reply(verb, reply, answer);
            }
            Command::Delegate(request, reply) => {
                let answer = standing.may(Ask::Delegate).and_then(|()| match tag {
                    Some(tag) => {
                        let answer = self.delegate(&caller, &tag, *request);
                        self.launched(answer)
                    }
                    None => Err(Refusal::Gone.into()),
                });
                self.reply(verb, reply, answer);
            }
            Command::Adopt(request, reply) => {
                let allowed = standing.may(Ask::Host);
                let answer = allowed.and_then(|()| {
                    let answer = self.enlist(&caller, &standing, *request);
                    self.launched(answer)
                });
                self.reply(verb, reply, answer);
            }
            Command::Select { request, reply } => {
                let runs = own.and_then(|()| self.select(&standing, &request));
                let answer = runs.map(|runs| self.listed(runs));
                self.reply(verb, reply, answer);
            }
            Command::RevokeAll { request, reply } => match own {
                Ok(()) => self.revoke_all(&standing, &request, arrived, reply),
                Err(refused) => self.reply(verb, reply, Err(refused)),
            },
            Command::Change { kind, request, reply } => {
                let answer = own.and_then(|()| self.change(&standing, kind, request));
                self.reply(verb, reply, answer);
            }
            Command::Policies(reply) => {
                let answer = own.map(|()| self.policies(&standing));
                self.reply(verb, reply, answer);
            }
            Command::Policy { name, reply } => {
                let answer = own.and_then(|()| self.policy(&standing, &name));
                self.reply(verb, reply, answer);
            }
            Command::Document(reply) => self.reply(verb, reply, own),
        }
    }

    /// The last denials of the run with this tag, the oldest first; before them, whether there may be some that are not known
    /// any more.
    fn own_denials(&self, tag: Option<Tag>) -> Vec<OwnDenial> {
        let run = tag.map(|tag| Uuid::from_bytes(tag.invocation.0));
        let Some(run) = run else { return Vec::new() };
        let events =
            self.hub.history(&Filter { run: Some(run), ..Filter::default() }, self.known());
        let denials = events.iter().filter(|event| event.what.is_denial());
        let told = denials.rev().take(MOST_DENIALS).map(|event| OwnDenial {
            time_ms: event.time_ms,
            what: event.what.clone(),
            grant: grant::smallest(&event.what),
        });
        let told = told::within(told, MOST_OF_DENIALS);
        let launched_ms = self.state.registry.get(run).map_or(0, |run| run.launched_ms);
        let missed = self.hub.missed_denials(run, launched_ms, self.started_ms);
        let missed = missed.map(|missed| OwnDenial {
            time_ms: launched_ms,
            what: What::Missed(missed),
            grant: None,
        });
        missed.into_iter().chain(told.into_iter().rev()).collect()
    }

    pub(super) fn find(&self, standing: &Standing, text: &str) -> Result<&Run, ErrorReply> {
        let seen = |run: &Run| standing.sees(run.uid);
        Ok(self.state.registry.find(text, seen).map_err(Refusal::from)?)
    }

    fn list(&self, standing: &Standing, all: bool) -> Vec<RunView> {
        let seen = |run: &&Run| standing.sees(run.uid) && (all || run.phase.holds_slot());
        self.state.registry.all().filter(seen).map(|run| self.view(run)).collect()
    }

    pub(super) fn view(&self, run: &Run) -> RunView {
        let holds = run.phase.holds_slot();
        let activity = if holds { self.activity(run.place.slot) } else { None };
        let tasks = activity.map_or(0, |activity| activity.live);
        let view = view::run(run, tasks, activity.map(|activity| totals(&activity)), self.now());
        RunView { names: self.names_of(run.id), ..view }
    }

    fn why(&self, standing: &Standing, id: &str, request: &WhyRequest) -> Answer<WhyReply> {
        let run = self.find(standing, id)?;
        let above = self.texts_above(run);
        let texts = Texts { own: self.text(run), above: &above };
        let facts = self.rules.at(self.kernel.boot_ns());
        let locate =
            |path: &Path| self.kernel.locate_name(path).map_err(|failure| unlocated(&failure));
        let named = |path: &Path, want| {
            let place = locate(path)?.place;
            let object = path.display().to_string();
            Ok(Question { run: run.into(), texts, object: &object }.file(&facts, &place, want))
        };
        let called = |name: &str, want| {
            why::check_abstract(name)?;
            let place = AbstractName::new(name.as_bytes(), &self.kernel.names());
            Ok(why::abstract_name(&facts, run, texts, name, place, want))
        };
        match request {
            WhyRequest::Open { path, want } => {
                let want = why::rights(want)?;
                let place = self.kernel.locate(path).map_err(|failure| unlocated(&failure))?;
                let object = path.display().to_string();
                Ok(Question { run: run.into(), texts, object: &object }.file(&facts, &place, want))
            }
            WhyRequest::Create(name) => named(&name.path, Rights::CREATE),
            WhyRequest::Delete(name) => named(&name.path, Rights::DELETE),
            WhyRequest::Move { from, to } | WhyRequest::Link { from, to } => {
                let link = matches!(request, WhyRequest::Link { .. });
                let (old, new) = (locate(from)?, locate(to)?);
                let (from, to) = (from.display().to_string(), to.display().to_string());
                let moving = Moving { from: (&from, &old), to: (&to, &new), link };
                Ok(moving.why(&facts, run.into(), texts))
            }
            WhyRequest::Connect(end) => Ok(why::end(&facts, run, texts, Verb::Connect, end)),
            WhyRequest::ConnectName(end) => Ok(self.why_name(run, end)),
            WhyRequest::Send(end) => Ok(why::end(&facts, run, texts, Verb::Send, end)),
            WhyRequest::Listen(end) => Ok(why::end(&facts, run, texts, Verb::Listen, end)),
            WhyRequest::Accept(end) => Ok(why::end(&facts, run, texts, Verb::Accept, end)),
            WhyRequest::ConnectAbstract(it) => called(&it.name, Rights::CONNECT),
            WhyRequest::ListenAbstract(it) => called(&it.name, Rights::CREATE),
            WhyRequest::Capability(name) => why::capability(&facts, run, texts, name),
        }
    }

    /// What a run's policy says, if it is at hand.
    pub(super) fn text(&self, run: &Run) -> Option<&Policy> {
        self.rules.document(&run.policy).map(|document| &document.policy)
    }

    /// The same of the runs above it, the one right above first.
    pub(super) fn texts_above(&self, run: &Run) -> Vec<(Uuid, Option<&Policy>)> {
        let text = |id: &Uuid| self.state.registry.get(*id).and_then(|run| self.text(run));
        run.above.iter().map(|id| (*id, text(id))).collect()
    }

    fn status(&self, standing: &Standing) -> StatusReply {
        let posture = &self.state.posture;
        let hooks = self.kernel.hooks().into_iter().map(|hook| HookView {
            name: hook.name.to_owned(),
            needed: hook.needed,
            attached: hook.attached.is_ok(),
            why_not: hook.attached.err().filter(|_| hook.needed),
        });
        let maps = self.kernel.fill().into_iter().map(|(name, entries, capacity)| MapView {
            name: name.to_owned(),
            entries,
            capacity,
        });
        let policies = self.rules.offered().map(|(version, policy)| PolicyView {
            name: version.name.clone(),
            digest: version.digest.clone(),
            description: Some(policy.description()).filter(|text| !text.is_empty()).map(Into::into),
            params: policy.params().to_vec(),
        });
        StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            abi: ABI_VERSION,
            posture: posture.name().to_owned(),
            why: posture.why().map(ToOwned::to_owned),
            started_ms: self.started_ms,
            active: self.number_of(|phase| phase == Phase::Active),
            suspended: self.number_of(|phase| phase == Phase::Suspended),
            stopping: self.number_of(|phase| !phase.is_live()),
            slots: u64::from(map::SLOTS) - 1,
            hooks: hooks.collect(),
            maps: maps.collect(),
            policies: policies.collect(),
            policy_mistakes: if standing.operator { self.policy_mistakes() } else { Vec::new() },
            denied_owners: self.denied_owners(standing),
            unsaved: if standing.operator { self.owed.files() } else { 0 },
        }
    }

    fn number_of(&self, which: impl Fn(Phase) -> bool) -> u64 {
        self.state.registry.live().filter(|run| which(run.phase)).count() as u64
    }

    /// The text of all metrics, the kernel's counters as they stand now.
    pub(super) fn scrape(&mut self, scrape: Scrape) {
        let text = match self.kernel.counters() {
            Ok(counters) => {
                let hooks = self.kernel.hooks();
                let hooks = hooks.into_iter().filter(|hook| hook.needed || hook.attached.is_ok());
                let hooks = hooks.map(|hook| (hook.name, hook.attached.is_ok()));
                let reading = Reading {
                    counter: &|index| counters.get(index),
                    hooks: hooks.collect(),
                    fill: self.kernel.fill(),
                };
                self.metrics.kernel.observe(&reading);
                self.gauges();
                self.metrics.text().map_err(|failure| chain(&failure))
            }
            Err(failure) => Err(chain(&failure)),
        };
        if scrape.send(text).is_err() {
            debug!("a scraper has gone");
        }
    }

    fn gauges(&self) {
        let posture = self.state.posture.name();
        for name in crate::instance::Posture::NAMES {
            self.metrics.posture.with_label_values(&[name]).set(i64::from(name == posture));
        }
        let none: [&str; 0] = [];
        let unsaved = i64::try_from(self.owed.files()).unwrap_or(i64::MAX);
        self.metrics.unsaved.with_label_values(&none).set(unsaved);
        let [active, suspended, stopping, _] = Phase::NAMES;
        for name in [active, suspended, stopping] {
            let count = self.number_of(|phase| phase.name() == name);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.instances.with_label_values(&[name]).set(count);
        }
    }

    /// Counts what came of a launch. What somebody may not ask at all is none.
    fn launched<T>(&self, answer: Answer<T>) -> Answer<T> {
        self.metrics.launches.with_label_values(&[result(&answer)]).inc();
        answer
    }

    /// Gives an answer, and counts what it was.
    pub(super) fn reply<T>(&self, verb: &str, reply: Reply<T>, answer: Answer<T>) {
        self.count(verb, &answer.as_ref().map(|_| ()).map_err(|error| error.code));
        if reply.send(answer).is_err() {
            debug!(verb, "who asked has gone");
        }
    }

    pub(super) fn count(&self, verb: &str, result: &Result<(), Code>) {
        let result = match result {
            Ok(()) => "ok",
            Err(Code::Internal) => "failed",
            Err(_) => "refused",
        };
        self.metrics.requests.with_label_values(&[verb, result]).inc();
    }
}

fn result<T>(answer: &Answer<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(error) if error.code == Code::Internal => "failed",
        Err(_) => "refused",
    }
}

fn unlocated(failure: &LocateError) -> ErrorReply {
    let remedy = "give a path from / on, of which all folders are there";
    ErrorReply::new(Code::BadRequest, chain(failure), remedy)
}
