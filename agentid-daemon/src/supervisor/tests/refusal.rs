//! What everybody reads to whom something is refused.

use uuid::Uuid;

use crate::{
    control::api::{Code, ErrorReply},
    instance::{Ambiguous, Ending},
    policy::golden,
    supervisor::refusal::Refusal,
};

/// One of each kind. A kind that is missing here does not compile in [`kind`], or is missed by the test.
fn all() -> Vec<Refusal> {
    let id = Uuid::from_u128(0xabc);
    let text = |text: &str| text.to_owned();
    let policy = || text("review");
    let known = || vec![text("review"), text("tested")];
    vec![
        Refusal::Missing { field: "owner" },
        Refusal::Long { field: text("task"), length: 300, limit: 256 },
        Refusal::Control { field: text("task") },
        Refusal::ManyLabels { count: 40, limit: 32 },
        Refusal::MuchSaid { bytes: 9000, limit: 8192 },
        Refusal::NoTtl,
        Refusal::LongTtl { asked_ms: 7_200_000, limit_ms: 3_600_000 },
        Refusal::UnknownPolicy { name: text("reveiw"), known: known() },
        Refusal::UnknownPolicy { name: text("review"), known: Vec::new() },
        Refusal::UnknownParam { policy: policy(), param: text("work"), known: Vec::new() },
        Refusal::NotDelegated { policy: policy(), name: text("root"), known: Vec::new() },
        Refusal::MissingParam { policy: policy(), param: text("workspace") },
        Refusal::UnknownParam {
            policy: policy(),
            param: text("work"),
            known: vec![text("workspace")],
        },
        Refusal::RelativeParam { param: text("workspace"), path: "work".into() },
        Refusal::NoFolder { param: text("workspace"), path: "/nowhere".into() },
        Refusal::Threads(3),
        Refusal::Traced(4711),
        Refusal::Mapped(text("a file")),
        Refusal::MayGain,
        Refusal::Crowd { uid: 1000, limit: 4096 },
        Refusal::HeldByOther { id, by_uid: 0 },
        Refusal::Gone,
        Refusal::Tagged(id),
        Refusal::NoSlot(16_383),
        Refusal::NoRoom(text("PEERS is full")),
        Refusal::NotEnforcing(text("an open was not denied")),
        Refusal::ParentEnded(id),
        Refusal::ParentSuspended(id),
        Refusal::Deep { parent: id, depth: 4, limit: 4 },
        Refusal::Run(Ambiguous::Unknown(text("dead"))),
        Refusal::Run(Ambiguous::Many { text: text("dead"), count: 2, some: vec![id, Uuid::nil()] }),
        Refusal::Run(Ambiguous::Many { text: text("dead"), count: 9, some: vec![id] }),
        Refusal::Run(Ambiguous::Short(text("d"))),
        Refusal::Ended { id, ending: Ending::Revoked },
        Refusal::NoDelegation { policy: policy() },
        Refusal::NotDelegated { policy: policy(), name: text("root"), known: known() },
        Refusal::FanOut { policy: policy(), limit: 8 },
        Refusal::Levels { policy: policy(), limit: 1 },
        Refusal::LastTask,
        Refusal::OwnerDenied { owner: text("dana"), reason: Some(text("has left")) },
        Refusal::OwnerAllowed(text("dana")),
        Refusal::Suspended(id),
        Refusal::NotSuspended(id),
        Refusal::NoExtension,
        Refusal::Late(id),
        Refusal::LongExtension { id, left_ms: 60_000 },
        Refusal::LongExtension { id, left_ms: 0 },
        Refusal::BeyondParent { id, left_ms: 60_000 },
        Refusal::NoSelection,
        Refusal::NoLimits {
            policy: policy(),
            why: text("cgroup / has no controller `memory`"),
            remedy: "boot with cgroup v2 alone",
        },
        Refusal::LimitsAtLaunch { policy: policy() },
        Refusal::Ring(text("as descriptor 7")),
        Refusal::Listens(0),
        Refusal::Folder(0),
        Refusal::Open { number: 7, what: text("a file") },
        Refusal::Shares("memory"),
        Refusal::Unseen(text("Permission denied (os error 13)")),
        Refusal::Changing,
    ]
}

/// The number of a kind.
const fn kind(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Missing { .. } => 0,
        Refusal::Long { .. } => 1,
        Refusal::Control { .. } => 2,
        Refusal::ManyLabels { .. } => 3,
        Refusal::NoTtl => 4,
        Refusal::LongTtl { .. } => 5,
        Refusal::UnknownPolicy { .. } => 6,
        Refusal::MissingParam { .. } => 7,
        Refusal::UnknownParam { .. } => 8,
        Refusal::RelativeParam { .. } => 9,
        Refusal::NoFolder { .. } => 10,
        Refusal::Threads(_) => 11,
        Refusal::Traced(_) => 12,
        Refusal::Gone => 13,
        Refusal::Tagged(_) => 14,
        Refusal::NoSlot(_) => 15,
        Refusal::NoRoom(_) => 16,
        Refusal::NotEnforcing(_) => 17,
        Refusal::ParentEnded(_) => 18,
        Refusal::ParentSuspended(_) => 19,
        Refusal::Deep { .. } => 20,
        Refusal::Run(_) => 21,
        Refusal::Ended { .. } => 22,
        Refusal::NoDelegation { .. } => 23,
        Refusal::NotDelegated { .. } => 24,
        Refusal::FanOut { .. } => 25,
        Refusal::Levels { .. } => 26,
        Refusal::LastTask => 27,
        Refusal::OwnerDenied { .. } => 28,
        Refusal::OwnerAllowed(_) => 29,
        Refusal::Suspended(_) => 30,
        Refusal::NotSuspended(_) => 31,
        Refusal::NoExtension => 32,
        Refusal::Late(_) => 33,
        Refusal::LongExtension { .. } => 34,
        Refusal::BeyondParent { .. } => 35,
        Refusal::NoSelection => 36,
        Refusal::NoLimits { .. } => 37,
        Refusal::LimitsAtLaunch { .. } => 38,
        Refusal::Ring(_) => 39,
        Refusal::Listens(_) => 40,
        Refusal::Folder(_) => 41,
        Refusal::Open { .. } => 42,
        Refusal::Unseen(_) => 43,
        Refusal::Shares(_) => 44,
        Refusal::Mapped(_) => 46,
        Refusal::Changing => 45,
        Refusal::MayGain => 47,
        Refusal::Crowd { .. } => 49,
        Refusal::MuchSaid { .. } => 50,
        Refusal::HeldByOther { .. } => 48,
    }
}

const KINDS: usize = 51;

/// Each says what happened, to what, and what to do.
#[test]
fn every_refusal_has_its_remedy() {
    let all = all();
    for number in 0..KINDS {
        assert!(all.iter().any(|refusal| kind(refusal) == number), "none of kind {number}");
    }
    let mut text = String::new();
    for refusal in all {
        let ErrorReply { code, message, remedy } = refusal.into();
        assert_ne!(code, Code::Internal, "{message}");
        for part in [&message, &remedy] {
            assert!(!part.ends_with('.') && !part.contains('\n'), "{part}");
            let first = part.chars().next().unwrap();
            assert!(!first.is_uppercase(), "{part}");
        }
        text += &format!("{} {}: {message}\n  help: {remedy}\n", code.status(), code.name());
    }
    golden::check("refusals.txt", &text);
}
