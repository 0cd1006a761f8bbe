//! A run as the protocol shows it.

use super::step::Now;
use crate::{
    control::api::{ChangeView, EndView, IssuerView, LimitsView, OwnRun, RunView, TotalsView},
    event::event::{LaunchIssuer, LaunchLimits},
    instance::{
        Bounds, Run,
        run::{Change, Changed, End, Issuer, Totals},
    },
};

/// What a run is told of itself.
pub fn own(run: &Run, now: Now) -> OwnRun {
    OwnRun {
        agent: run.agent.clone(),
        owner: run.owner.clone(),
        on_behalf_of: run.on_behalf_of.clone(),
        task: run.task.clone(),
        purpose: run.purpose.clone(),
        policy: run.policy.to_string(),
        above: run.above.clone(),
        phase: run.phase.name().to_owned(),
        deadline_ms: wall_of(run.place.deadline, now),
    }
}

/// The run with what the kernel has counted of it so far.
pub fn run(run: &Run, tasks: u64, live: Option<Totals>, now: Now) -> RunView {
    let totals = live.or(run.end.as_ref().and_then(|end| end.totals));
    RunView {
        id: run.id,
        agent: run.agent.clone(),
        owner: run.owner.clone(),
        task: run.task.clone(),
        on_behalf_of: run.on_behalf_of.clone(),
        purpose: run.purpose.clone(),
        labels: run.labels.clone(),
        policy: run.policy.to_string(),
        params: run.params.clone(),
        mode: run.mode.name().to_owned(),
        on_end: run.on_end.name().to_owned(),
        parent: run.parent,
        above: run.above.clone(),
        below: None,
        command: run.command.clone(),
        uid: run.uid,
        tgid: run.tgid,
        issued_by: run.issued_by.as_ref().map(issuer_view),
        phase: run.phase.name().to_owned(),
        frozen: run.frozen,
        limits: run.enclosure.as_ref().map(|it| limits(&it.bounds)),
        usage: None,
        launched_ms: run.launched_ms,
        deadline_ms: wall_of(run.place.deadline, now),
        tasks,
        totals: totals.map(totals_view),
        names: Vec::new(),
        sockets: Vec::new(),
        more_sockets: 0,
        sockets_unknown: None,
        changes: run.changes.iter().map(change_view).collect(),
        end: run.end.as_ref().map(end_view),
    }
}

fn limits(bounds: &Bounds) -> LimitsView {
    let Bounds { memory, tasks, cpu } = *bounds;
    LimitsView { memory, tasks, cpu }
}

/// The same in the record of a launch.
pub fn launched(bounds: &Bounds) -> LaunchLimits {
    let Bounds { memory, tasks, cpu } = *bounds;
    LaunchLimits { memory, tasks, cpu }
}

/// When the boot clock will show this, or did, in milliseconds since 1970.
pub fn wall_of(boot_ns: u64, now: Now) -> u64 {
    let boot_ms = boot_ns / 1_000_000;
    (now.wall_ms + boot_ms).saturating_sub(now.boot_ns / 1_000_000)
}

/// The same for its event.
pub fn launched_by(issuer: &Issuer) -> LaunchIssuer {
    let IssuerView { uid, tgid, executable } = issuer_view(issuer);
    LaunchIssuer { uid, tgid, executable }
}

fn issuer_view(issuer: &Issuer) -> IssuerView {
    let Issuer { uid, tgid, executable } = issuer;
    let executable = executable.as_ref().map(|path| path.to_string_lossy().into_owned());
    IssuerView { uid: *uid, tgid: *tgid, executable }
}

fn totals_view(totals: Totals) -> TotalsView {
    let Totals { started, allowed, denied, faults, records, lost } = totals;
    TotalsView { started, allowed, denied, faults, records, lost }
}

fn change_view(change: &Change) -> ChangeView {
    let by_ms = match change.what {
        Changed::Suspended | Changed::Resumed => None,
        Changed::Extended { by_ms } => Some(by_ms),
    };
    ChangeView {
        at_ms: change.at_ms,
        by_uid: change.by_uid,
        reason: change.reason.clone(),
        what: change.what.name().to_owned(),
        by_ms,
    }
}

fn end_view(end: &End) -> EndView {
    EndView {
        ending: end.ending.name().to_owned(),
        at_ms: end.at_ms,
        reason: end.reason.clone(),
        by_uid: end.by_uid,
    }
}
