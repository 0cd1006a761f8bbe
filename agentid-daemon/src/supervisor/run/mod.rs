//! The loop around [`step`]: the only owner of the state, of the kernel's tables and of the state folder.
//!
//! It waits for a command, a record, a scrape or the clock, asks [`step`] what follows, and does that. One thing at a
//! time: whatever it calls returns soon, and nothing here is shared.

mod adopt;
mod answer;
mod binding;
mod clock;
mod effects;
mod enclose;
mod enlist;
mod feed;
mod first;
mod freeze;
mod hold;
mod launch;
mod limits;
mod links;
mod mounts;
pub mod names;
pub mod offline;
mod orphans;
mod owed;
mod owner;
mod policies;
mod records;
mod reload;
mod revoke;
mod select;
mod shown;
mod stopping;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use agentid_common::{ABI_VERSION, instance::Instance, map};
use prometheus::IntCounter;
use thiserror::Error;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::MissedTickBehavior,
};
use tracing::{debug, error, warn};
use uuid::Uuid;

use self::{
    launch::chain,
    names::{Allowance, Lifetimes},
    owed::Owed,
    revoke::Waiter,
    stopping::{COURTESY, Stopping, Unseen},
};
use super::{
    command::{Caller, Command, Envelope, Scrape, Waiting},
    folder::Text,
    limits::Denials,
    pinned::Pinned,
    rules::{Release, Rules},
    step::{Input, Now, OnLost, State, step},
    store::{Store, StoreError},
};
use crate::{
    event::{
        export::Hub,
        number::{self, Numbers},
        sight::Sight,
    },
    instance::{Demand, Ending, Phase, Posture, Registry, run::PolicyVersion},
    kernel::{
        self, ApplyError, Askers, Kernel, Options, Precedence, ReadError, ResolverError, Ring,
        StartError,
    },
    metrics::series::{Labels, Metrics},
    names::{Request, Requests},
    settings::{OnEnforcementLost, Settings},
};

/// Events that are kept for those who ask later.
const HISTORY: usize = 10_000;
/// How often the canary is asked and the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// After how many ticks the counts of tasks are compared with the tasks; while a run is stopping, after each.
const RECONCILE: u64 = 10;
/// After how many ticks records that are too old are looked for, or after the time that they are kept, if that is shorter.
const TIDY: u64 = 60 * 60;
/// By how much the wall clock may be moved between two such looks.
const STEADY: u64 = 60_000;
/// At every turn with such a number what is urgent does not come first.
const OTHERS: u32 = 4;
/// How often the ring is looked at while there is a run. The kernel wakes the daemon only when a run has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no supervisor.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("start enforcement")]
    Start(#[from] StartError),
    #[error("read what an earlier daemon has left in the kernel")]
    Image(#[source] ReadError),
    #[error("replace what an earlier daemon has left in the kernel")]
    Adopt(#[source] ApplyError),
    #[error("find out where the resolver was, or who asks it")]
    Resolver(#[source] ReadError),
    #[error("find out which connections are of runs")]
    Callers(#[source] ReadError),
    #[error("tell the kernel programs where the resolver is")]
    SetResolver(#[from] ResolverError),
    #[error("open the ring of records")]
    Ring(#[source] ReadError),
    #[error("wait for records")]
    Wait(#[source] io::Error),
    #[error("set up the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// All state of the daemon.
pub struct Supervisor {
    kernel: Kernel,
    state: State,
    rules: Rules,
    store: Store,
    hub: Hub,
    numbers: Numbers,
    metrics: Metrics,
    /// The names that runs have asked for, and what each may still ask.
    pinned: Pinned,
    allowances: BTreeMap<Uuid, Allowance>,
    lifetimes: Lifetimes,
    /// Where filesystems could be seen at the last survey, for records.
    sights: Vec<Sight>,
    /// Slots as an earlier daemon left them, until their runs have rules again.
    adopted: BTreeMap<Uuid, Instance>,
    /// What runs were denied within the last minute, where their policies set a limit.
    denials: Denials,
    /// Live runs that had met a tripwire at the last look.
    tripped: BTreeSet<Uuid>,
    stopping: BTreeMap<Uuid, Stopping>,
    /// When tasks of ended runs were last looked at, and what they have left of connections.
    passed: Instant,
    pass_took: Duration,
    orphans_seen: Instant,
    orphans: orphans::Left,
    /// What is left of [`orphans::COURTESY`] until the next tick.
    farewell: Duration,
    waiters: Vec<Waiter>,
    owed: Owed,
    /// Of all runs, by the kernel's last list.
    absent: Unseen,
    /// Of those that are stopped, by the last pass.
    unseen: Unseen,
    /// What is left of [`COURTESY`] until the next tick.
    courtesy: Duration,
    /// Rises whenever a run may no longer be told what it was told of a name before.
    names_edition: u64,
    /// Whether there may be a socket that a run has made, or a task that was tagged; of an earlier daemon as well.
    sockets_left: bool,
    /// When a run, or what one has left, was last seen to need programs, and how long they stay attached after that.
    needed: Option<Instant>,
    detach_after: Duration,
    ticks: u64,
    precedence: Precedence,
    keep_ended: Duration,
    /// When this host was started, in milliseconds since 1970, as the clocks said at the last look for old records.
    booted_ms: u64,
    /// What ended runs have needed, to be taken back at the next tick.
    garbage: Vec<Release>,
    /// Cgroups that were made for runs which have ended.
    groups_left: BTreeSet<PathBuf>,
    /// Where the cgroups of runs are whose policies limit them, below the root of the hierarchy.
    limited: PathBuf,
    /// Points at which something was mounted or unmounted to which rules have not been laid.
    moved: BTreeSet<PathBuf>,
    /// Policies of which the compiled form is of mounts that are not there any more, and could not be made anew.
    stale: BTreeSet<PolicyVersion>,
    started_ms: u64,
    /// The same by the boot clock, in nanoseconds.
    started_ns: u64,
    /// Where the policies are, and what was wrong with them when they were read last.
    folder: PathBuf,
    mistakes: Vec<String>,
    /// Symbolic links that no rule is laid through, because runs of these policies could have made them.
    made_links: BTreeMap<PathBuf, PolicyVersion>,
}

/// What comes to the loop from outside.
pub struct Inbox {
    pub commands: Waiting,
    pub scrapes: mpsc::Receiver<Scrape>,
    /// The policies are to be read again.
    pub reloads: mpsc::Receiver<()>,
    /// Runs ask for names.
    pub names: Requests,
}

/// What the loop has waited for.
enum Woken {
    Command(Box<Envelope>),
    Scrape(Scrape),
    Reload,
    Name(Request),
    Pass,
    Orphans,
    Tick,
    Records,
}

impl Supervisor {
    /// Starts enforcement and takes up the runs of an earlier daemon.
    pub fn start(
        settings: &Settings,
        options: &Options,
        mut store: Store,
        policies: Vec<Text>,
    ) -> Result<Self, RunError> {
        // Read before anything is touched: a file that cannot be read leaves all as it was.
        let known = store.runs()?;
        let denied = store.owners()?;
        let numbers = Numbers::above(store.numbered()?.max(number::of_clock(clock::wall_ms())));
        let metrics = Metrics::new(&labels(), env!("CARGO_PKG_VERSION"), ABI_VERSION)?;
        let (mut kernel, held) = Kernel::start(options)?;
        let image = kernel.image().map_err(RunError::Image)?;
        let used = held.iter().map(|held| {
            let Instance { generation, policy, params, .. } = held.instance;
            generation.max(policy).max(params) + 1
        });
        // Sockets and tasks may have tags of runs that only a lost state folder knew: those that began at this boot's clock, and not at
        // a mark from before the boot, are below it now, because no launch takes less than a microsecond.
        let boot_us = kernel.boot_ns() / 1000;
        let next = used.fold(store.mark().max(boot_us), u64::max);
        let (rules, leftover) = Rules::new(kernel.names(), image, next);
        let state = State {
            registry: Registry::new(map::SLOTS, settings.keep_ended_at_most),
            denied,
            // Until the canary has spoken nothing is launched.
            posture: Posture::Off("the canary has not reported yet".to_owned()),
            on_lost: match settings.on_enforcement_lost {
                OnEnforcementLost::Kill => OnLost::Kill,
                OnEnforcementLost::Deny => OnLost::Keep,
            },
            slots: map::SLOTS,
            per_user: settings.runs_per_user,
        };
        let started_ns = kernel.boot_ns();
        let mut supervisor = Self {
            kernel,
            state,
            rules,
            store,
            hub: Hub::new(HISTORY, numbers.start()),
            numbers,
            metrics,
            pinned: Pinned::default(),
            allowances: BTreeMap::new(),
            lifetimes: Lifetimes {
                least: settings.pin_at_least,
                most: settings.pin_at_most.max(settings.pin_at_least),
            },
            sights: Vec::new(),
            adopted: BTreeMap::new(),
            denials: Denials::default(),
            tripped: BTreeSet::new(),
            stopping: BTreeMap::new(),
            passed: Instant::now(),
            pass_took: Duration::ZERO,
            orphans_seen: Instant::now(),
            orphans: orphans::Left::new(),
            farewell: orphans::COURTESY,
            waiters: Vec::new(),
            owed: Owed::default(),
            absent: Unseen::default(),
            unseen: Unseen::default(),
            courtesy: COURTESY,
            names_edition: 0,
            sockets_left: true,
            needed: None,
            detach_after: settings.detach_after,
            ticks: 0,
            precedence: Precedence::default(),
            keep_ended: settings.keep_ended,
            booted_ms: clock::wall_ms().saturating_sub(started_ns / 1_000_000),
            garbage: Vec::new(),
            groups_left: BTreeSet::new(),
            limited: kernel::group_place(&settings.limited_runs),
            moved: BTreeSet::new(),
            stale: BTreeSet::new(),
            started_ms: clock::wall_ms(),
            started_ns,
            folder: settings.policies.clone(),
            mistakes: Vec::new(),
            made_links: BTreeMap::new(),
        };
        if let Err(failure) = supervisor.kernel.know_mounts() {
            // With the first change all rules are laid anew.
            warn!(message = %chain(&failure), "what is mounted is not known yet");
        }
        supervisor.offer(policies);
        supervisor.adopt(known, held, leftover)?;
        supervisor.renew_all();
        supervisor.know_orphans();
        // What the kernel has told while nobody was there comes first.
        let mut ring = supervisor.kernel.ring().map_err(RunError::Ring)?;
        let mut more = true;
        while more {
            let records;
            (records, more) = records::read(&mut ring);
            supervisor.take(records);
        }
        supervisor.tick();
        Ok(supervisor)
    }

    /// Port of the resolver that an earlier daemon had, or 0.
    pub fn resolver(&self) -> Result<u16, RunError> {
        self.kernel.resolver().map_err(RunError::Resolver)
    }

    /// Says where the resolver is from now on.
    pub fn set_resolver(&mut self, port: u16) -> Result<(), RunError> {
        Ok(self.kernel.set_resolver(port)?)
    }

    /// What the resolver needs to give each run its share: who has asked, and where it is counted who asks too much.
    pub fn asking(&self) -> Result<(Askers, IntCounter), RunError> {
        let askers = self.kernel.open_askers().map_err(RunError::Resolver)?;
        Ok((askers, self.metrics.names.with_label_values(&["crowded"])))
    }

    /// Whether a caller has connected as a run, or it cannot be told. That says only whose places he takes: what he may ask is
    /// decided anew, by his process as well.
    pub fn tells_runs(&self) -> Result<impl Fn(&Caller) -> bool + Send + 'static, RunError> {
        let callers = self.kernel.open_callers().map_err(RunError::Callers)?;
        Ok(move |caller: &Caller| !matches!(callers.get(caller.socket()), Ok(None)))
    }

    /// Serves until `stop` is ready. Enforcement goes on after that.
    pub async fn run(
        mut self,
        mut inbox: Inbox,
        mut each_tick: impl FnMut(),
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let ring: Ring = self.kernel.ring().map_err(RunError::Ring)?;
        #[expect(
            deprecated,
            reason = "its successor wants a promise that the type gives: a ring owns its descriptor"
        )]
        let ring = AsyncFd::with_interest(ring, Interest::READABLE);
        let mut ring = ring.map_err(RunError::Wait)?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        let (mut turn, mut more) = (0_u32, false);
        loop {
            let (pass, orphans) = (self.next_pass(), self.next_orphans());
            let holds = self.state.registry.live().next().is_some();
            let Waiting { urgent, usual } = &mut inbox.commands;
            let any = async {
                Ok::<Woken, RunError>(tokio::select! {
                    Some(envelope) = usual.recv() => Woken::Command(Box::new(envelope)),
                    Some(()) = inbox.reloads.recv() => Woken::Reload,
                    Some(request) = inbox.names.recv() => Woken::Name(request),
                    Some(scrape) = inbox.scrapes.recv() => Woken::Scrape(scrape),
                    () = sleep_until(pass), if pass.is_some() => Woken::Pass,
                    () = sleep_until(orphans), if orphans.is_some() => Woken::Orphans,
                    _ = tick.tick() => Woken::Tick,
                    ready = ring.readable_mut() => {
                        ready.map_err(RunError::Wait)?.clear_ready();
                        Woken::Records
                    }
                    () = tokio::time::sleep(LOOK), if holds => Woken::Records,
                    () = std::future::ready(()), if more => Woken::Records,
                })
            };
            // Not always first: many of them are not to keep time from passing.
            turn = turn.wrapping_add(1);
            let woken = if turn.is_multiple_of(OTHERS) {
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    woken = any => woken?,
                    Some(envelope) = urgent.recv() => Woken::Command(Box::new(envelope)),
                }
            } else {
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    Some(envelope) = urgent.recv() => Woken::Command(Box::new(envelope)),
                    woken = any => woken?,
                }
            };
            // Whatever it is, what the kernel has told before comes first.
            let records;
            (records, more) = records::read(ring.get_mut());
            self.take(records);
            match woken {
                Woken::Command(envelope) => self.answer(*envelope),
                Woken::Scrape(scrape) => self.scrape(scrape),
                Woken::Reload => self.reload(),
                Woken::Name(request) => self.name(request),
                Woken::Pass => self.pass(),
                Woken::Orphans => self.end_orphans(),
                Woken::Tick => {
                    self.tick();
                    each_tick();
                }
                Woken::Records => {}
            }
        }
    }

    /// What time alone brings about.
    fn tick(&mut self) {
        self.precedence.renew();
        let posture = self.kernel.prove();
        if posture != self.state.posture {
            warn!(%posture, was = %self.state.posture, "the posture has changed");
        }
        self.input(Input::Posture(posture));
        self.input(Input::Tick);
        self.look_at_mounts();
        self.settle_debts();
        self.hold_to_limits();
        self.look_at_tripwires();
        self.look_for_empty();
        self.courtesy = COURTESY;
        self.farewell = orphans::COURTESY;
        self.pass();
        self.end_orphans();
        self.ticks += 1;
        if self.ticks.is_multiple_of(self.keep_ended.as_secs().clamp(1, TIDY)) {
            self.tidy();
        }
        if !self.stopping.is_empty() || self.ticks.is_multiple_of(RECONCILE) {
            self.reconcile();
        }
        self.retire();
        self.garbage.extend(self.rules.drop_superseded());
        self.collect();
        self.disband();
        self.settle_demand();
    }

    /// Lets go of records that need not be kept any longer; not while the clock by which that is so is being set.
    fn tidy(&mut self) {
        let now = self.now();
        let booted_ms = now.wall_ms.saturating_sub(now.boot_ns / 1_000_000);
        let before = std::mem::replace(&mut self.booted_ms, booted_ms);
        if before.abs_diff(booted_ms) > STEADY {
            warn!("the clock was set; records of runs that have ended are kept until it is steady");
            return;
        }
        let kept = u64::try_from(self.keep_ended.as_millis()).unwrap_or(u64::MAX);
        self.input(Input::Tidy { by_ms: now.wall_ms.saturating_sub(kept) });
        self.forget_policies();
    }

    /// Lets go of the versions of policies that nobody is offered, and that no run on record has had.
    fn forget_policies(&mut self) {
        let had: BTreeSet<&PolicyVersion> =
            self.state.registry.all().map(|run| &run.policy).collect();
        self.rules.forget(|version| had.contains(version));
        let kept = self.rules.versions().chain(had).map(PolicyVersion::to_string).collect();
        for failure in self.store.sweep_policies(&kept) {
            warn!(message = %chain(&failure), "the text of a policy that is gone stays");
        }
    }

    /// Detaches what no run needs any more, and attaches what could not be attached when it was asked for.
    ///
    /// Done at a tick and not with the end of a run: the next one may begin before, and no answer waits for it.
    fn settle_demand(&mut self) {
        let mut demand = Demand::of(&self.state.registry);
        self.sockets_left = demand.network || self.sockets_left && self.sockets_are_left();
        demand.network = self.sockets_left;
        if demand.network {
            self.needed = Some(Instant::now());
        }
        // The next run finds attached what the last one has needed: that is most of what the first one's launch costs.
        let lingers = self.needed.is_some_and(|needed| needed.elapsed() < self.detach_after);
        let kept = Demand { network: demand.network || lingers, ..demand };
        if let Err(failure) = self.kernel.meet(demand).and_then(|()| self.kernel.relent(kept)) {
            // It was an error when it was asked for; until it has come about the posture tells.
            debug!(message = %chain(&failure), "programs are not attached as the runs need it");
        }
    }

    /// Whether a socket has outlived its run, which another process has, or on which the kernel has not yet sent all that was
    /// written; or a task, which was tagged for a run that was not launched after all.
    fn sockets_are_left(&mut self) -> bool {
        let left = self.kernel.has_sockets().and_then(|some| Ok(some || self.kernel.has_tasks()?));
        left.unwrap_or_else(|failure| {
            debug!(message = %chain(&failure), "which sockets are left is not known");
            true
        })
    }

    /// Asks [`step`], and does what it says.
    fn input(&mut self, input: Input) {
        let now = self.now();
        match step(&mut self.state, input, now) {
            Ok(effects) => self.perform(effects),
            // Only commands are refused, and those do not come this way.
            Err(refusal) => error!(%refusal, "an input of the daemon itself was refused"),
        }
    }

    fn now(&self) -> Now {
        clock::now(|| self.kernel.boot_ns())
    }
}

/// The closed labels of the metrics.
pub fn labels() -> Labels {
    Labels {
        postures: Posture::NAMES.to_vec(),
        states: Phase::NAMES[..3].to_vec(),
        endings: Ending::ALL.iter().map(|ending| ending.name()).collect(),
        verbs: Command::VERBS.to_vec(),
    }
}

async fn sleep_until(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when.into()).await;
    }
}
