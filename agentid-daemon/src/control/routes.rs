//! Every route of the API, once: what it is for, which refusals it has beside those that all have, and which command it is.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    api::Code,
    document::{self, Document},
    route::{Routes, Says},
};
use crate::supervisor::command::{Command, Kind};

/// Which runs are listed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Also those that have ended.
    #[serde(default)]
    all: bool,
}

/// Where one run is asked about, or one may be named.
const RUN: &[Code] = &[Code::Tagged, Code::UnknownRun];
/// Where runs are changed.
const CHANGE: &[Code] = &[Code::Tagged, Code::UnknownRun, Code::Ended, Code::BadState, Code::Bound];

/// All routes of the control socket.
pub fn of_the_api() -> Routes {
    changes(runs(about(Routes::new(Document::default()))))
}

/// Who asks, and whom.
fn about(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/whoami",
            Says { id: "whoami", summary: "Who asks, by the kernel's word", codes: &[] },
            Command::WhoAmI,
        )
        .get(
            "/v1/self/denials",
            Says {
                id: "own_denials",
                summary: "The last denials of the asking run, the oldest first",
                codes: &[Code::Forbidden],
            },
            Command::OwnDenials,
        )
        .post(
            "/v1/self/end",
            Says {
                id: "end",
                summary: "End the asking run, and all below it",
                codes: &[Code::Forbidden, Code::Ended],
            },
            |request, reply| Command::End { request, reply },
        )
        .get(
            "/v1/status",
            Says {
                id: "status",
                summary: "What is enforced on this host, and with what",
                codes: &[Code::Tagged],
            },
            Command::Status,
        )
        .get(
            "/v1/policies",
            Says { id: "policies", summary: "Policies that are in force", codes: &[Code::Tagged] },
            Command::Policies,
        )
        .get_named(
            "/v1/policies/{name}",
            document::POLICY,
            Says {
                id: "policy",
                summary: "One policy with its text",
                codes: &[Code::Tagged, Code::UnknownPolicy],
            },
            |name, reply| Command::Policy { name, reply },
        )
        .get_events(
            "/v1/events",
            Says {
                id: "events",
                summary: "What has happened, and with follow=true what happens from now on",
                codes: &[Code::Tagged, Code::UnknownRun, Code::Full],
            },
            |query, reply| Command::Events { query, reply },
        )
        .get_document(
            "/v1/openapi.json",
            Says { id: "openapi", summary: "This document", codes: &[Code::Tagged] },
            Command::Document,
        )
}

/// Runs that begin, and as they are.
fn runs(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/runs",
            Says {
                id: "launch",
                summary: "Make the asking process the first one of a run",
                codes: &[
                    Code::Tagged,
                    Code::OwnerDenied,
                    Code::UnknownPolicy,
                    Code::UnknownRun,
                    Code::BadParams,
                    Code::BadProcess,
                    Code::BadParent,
                    Code::Full,
                    Code::NotEnforcing,
                ],
            },
            |request, reply| Command::Launch(Box::new(request), reply),
        )
        .post(
            "/v1/delegate",
            Says {
                id: "delegate",
                summary: "Make the asking process, which belongs to a run, the first one of a run below it",
                codes: &[
                    Code::Forbidden,
                    Code::NotDelegated,
                    Code::OwnerDenied,
                    Code::UnknownPolicy,
                    Code::BadParams,
                    Code::BadProcess,
                    Code::BadParent,
                    Code::Full,
                    Code::NotEnforcing,
                ],
            },
            |request, reply| Command::Delegate(Box::new(request), reply),
        )
        .post(
            "/v1/adopt",
            Says {
                id: "adopt",
                summary: "Make a run of processes that run already",
                codes: &[
                    Code::Tagged,
                    Code::Forbidden,
                    Code::OwnerDenied,
                    Code::UnknownPolicy,
                    Code::UnknownRun,
                    Code::BadParams,
                    Code::BadProcess,
                    Code::BadParent,
                    Code::Full,
                    Code::NotEnforcing,
                ],
            },
            |request, reply| Command::Adopt(Box::new(request), reply),
        )
        .get_list(
            "/v1/runs",
            Says {
                id: "list",
                summary: "All runs that the caller may see",
                codes: &[Code::Tagged],
            },
            |ListQuery { all }, reply| Command::List { all, reply },
        )
        .get_named(
            "/v1/runs/{id}",
            document::RUN,
            Says { id: "show", summary: "One run, with its sockets", codes: RUN },
            |id, reply| Command::Show { id, reply },
        )
        .post_run(
            "/v1/runs/{id}/why",
            Says { id: "why", summary: "Whether a run would be allowed something now", codes: RUN },
            |id, request, reply| Command::Why { id, request, reply },
        )
        .post_list(
            "/v1/select",
            Says {
                id: "select",
                summary: "The runs that are meant, the oldest first",
                codes: &[Code::Tagged, Code::UnknownRun],
            },
            |request, reply| Command::Select { request, reply },
        )
        .get_asked(
            "/v1/tree",
            Says { id: "tree", summary: "Live runs with their processes", codes: RUN },
            |query, reply| Command::Tree { query, reply },
        )
}

/// Runs that end or are changed, and owners.
fn changes(routes: Routes) -> Routes {
    let says = |id, summary, codes| Says { id, summary, codes };
    let change = |kind| move |request, reply| Command::Change { kind, request, reply };
    let owner = |denied| move |request, reply| Command::Owner { denied, request, reply };
    routes
        .post_run(
            "/v1/runs/{id}/revoke",
            says("revoke", "End a run", &[Code::Tagged, Code::UnknownRun, Code::Ended]),
            |id, request, reply| Command::Revoke { id, request, reply },
        )
        .post(
            "/v1/revoke",
            says(
                "revoke_all",
                "End all runs that are meant",
                &[Code::Tagged, Code::UnknownRun, Code::Ended],
            ),
            |request, reply| Command::RevokeAll { request, reply },
        )
        .post(
            "/v1/suspend",
            says("suspend", "Deny runs everything until they are resumed", CHANGE),
            change(Kind::Suspend),
        )
        .post(
            "/v1/resume",
            says("resume", "Let suspended runs go on", CHANGE),
            change(Kind::Resume),
        )
        .post(
            "/v1/extend",
            says("extend", "Let runs live longer, within what their policies allow", CHANGE),
            change(Kind::Extend),
        )
        .post(
            "/v1/owners/deny",
            says(
                "deny_owner",
                "Have nothing launched for an owner",
                &[Code::Tagged, Code::Forbidden],
            ),
            owner(true),
        )
        .post(
            "/v1/owners/allow",
            says(
                "allow_owner",
                "Have runs launched again for an owner",
                &[Code::Tagged, Code::Forbidden, Code::BadState],
            ),
            owner(false),
        )
}
