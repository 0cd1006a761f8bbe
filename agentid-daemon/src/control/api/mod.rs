//! The whole protocol: HTTP with JSON bodies, over a Unix socket.
//!
//! | Request | Answer | Who may ask |
//! |---|---|---|
//! | `GET /v1/whoami` | [`WhoAmI`] | anyone, tagged tasks included |
//! | `GET /v1/self/denials` | list of `OwnDenial` of the events | a run, for its own |
//! | `POST /v1/self/end` with [`EndRequest`] | [`RevokeReply`] | a run, for itself |
//! | `POST /v1/runs` with [`LaunchRequest`] | [`LaunchReply`] | any user; the run is the asking process |
//! | `GET /v1/runs?all=true` | list of [`RunView`] | any user, for its own runs; operators for all |
//! | `GET /v1/runs/ID` | [`RunView`] | likewise |
//! | `POST /v1/runs/ID/revoke` with [`RevokeRequest`] | [`RevokeReply`] | likewise |
//! | `POST /v1/delegate` with [`DelegateRequest`] | [`LaunchReply`] | a run; the new run is the asking process |
//! | `POST /v1/adopt` with [`AdoptRequest`] | [`AdoptReply`] | operators |
//! | `POST /v1/select` with [`SelectRequest`] | list of [`RunView`] | any user, for its own runs; operators for all |
//! | `POST /v1/revoke` with [`RevokeAllRequest`] | [`RevokeAllReply`] | any user, for its own runs; operators for all |
//! | `POST /v1/suspend`, `/v1/resume`, `/v1/extend` with [`ChangeRequest`] | [`ChangeReply`] | any user, for its own runs; operators for all |
//! | `GET /v1/tree?select=SELECTOR` | list of [`TreeRun`] | any user, for its own runs; operators for all |
//! | `POST /v1/owners/deny`, `/v1/owners/allow` with [`OwnerRequest`] | [`OwnerReply`] | operators |
//! | `POST /v1/runs/ID/why` with [`WhyRequest`] | [`WhyReply`] | any user, for its own runs; operators for all |
//! | `GET /v1/events?follow=true&select=SELECTOR&after=NUMBER` | events, each server-sent with its number for an ID | any user, for its own runs; operators for all |
//! | `GET /v1/status` | [`StatusReply`] | any user |
//! | `GET /v1/policies`, `/v1/policies/NAME[@DIGEST]` | list of [`PolicyInForce`], [`PolicySource`] | any user |
//! | `GET /v1/openapi.json` | the description of all this, by OpenAPI | any user |
//!
//! `GET /v1/runs` and `POST /v1/select` are answered with a header [`LAST_EVENT`]: what is told in `GET /v1/events` after that
//! number has come about after the answer. A request for events takes it as it is.
//!
//! Everything but a 2xx status carries a [`Problem`]. An `ID` may be cut short as long as one run alone has it. A
//! `SELECTOR` is a [`Selector`], as JSON.

mod adopt;
mod bounds;
mod change;
mod error;
mod launch;
mod owner;
mod policy;
mod reading;
mod revoke;
mod run;
mod select;
mod status;
mod why;

pub use self::{
    adopt::{AdoptFrom, AdoptReply, AdoptRequest},
    bounds::{MAX_LABELS, MAX_NAME, MAX_PURPOSE, MAX_SAID},
    change::{ChangeReply, ChangeRequest, ChangedRun},
    error::{Code, ErrorReply, LOG, PROBLEM, PROBLEM_TYPE, Problem},
    launch::{DelegateRequest, LaunchReply, LaunchRequest},
    owner::{OwnerReply, OwnerRequest, OwnerView},
    policy::{PolicyInForce, PolicySource},
    reading::parse,
    revoke::{EndRequest, RevokeAllReply, RevokeAllRequest, RevokeReply, RevokeRequest},
    run::{
        ChangeView, EndView, IssuerView, LimitsView, MOST_SOCKETS, NameView, ProcessView, RunView,
        SocketView, TotalsView, TreeRun, UsageView,
    },
    select::{SelectRequest, Selector, TreeQuery, in_a_query},
    status::{HookView, MapView, PolicyView, StatusReply},
    why::{
        AbstractSocket, Endpoint, FileName, NamedEndpoint, OwnRun, Protocol, WhoAmI, WhyReply,
        WhyRequest,
    },
};

/// The header with the number of the last event that a reader or an answer knows of.
pub const LAST_EVENT: &str = "Last-Event-ID";

/// Largest body of a request, in bytes. Checked before anything is parsed.
pub const MAX_BODY: usize = 64 * 1024;
