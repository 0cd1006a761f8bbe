//! Why a request was refused, as problem details of RFC 9457.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of every answer that is no success.
pub const PROBLEM: &str = "application/problem+json";
/// What each `type` begins with; the code follows.
///
/// A name and no address: nobody serves a page for it, and what a page would say is in `title`, `detail` and `remedy`.
/// `about:blank` would say no more than the status.
pub const PROBLEM_TYPE: &str = "urn:agentid:problem:";

/// Why a request was refused. The code is stable, the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Problem", from = "Problem")]
pub struct ErrorReply {
    pub code: Code,
    pub message: String,
    /// What to do next.
    pub remedy: String,
}

/// Problem details of RFC 9457: why a request was refused. `type`, `status` and `code` are stable, the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:agentid:problem:CODE`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = "^urn:agentid:problem:[a-z_]+$"))]
    pub kind: String,
    /// What all problems of this type have in common.
    pub title: String,
    /// The status of the answer; within an answer, what it would have been.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    pub code: Code,
    /// What to do next.
    #[serde(default = "log")]
    pub remedy: String,
}

macro_rules! codes {
    ($($(#[doc = $title:literal])* $code:ident = $status:literal, $text:literal;)*) => {
        /// Every error that the daemon answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[doc = $title])* $code,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }

            /// What all refusals with this code have in common: its documentation.
            pub fn title(self) -> &'static str {
                match self { $(Self::$code => concat!($($title,)*).trim(),)* }
            }
        }
    };
}

codes! {
    /// The request cannot be read, or a field has a value that is not allowed
    BadRequest = 400, "bad_request";
    /// No such route
    NoRoute = 404, "no_route";
    /// The route is not for this method
    BadMethod = 405, "bad_method";
    /// The body is larger than 64 KiB, or what it says of a run is larger than 8 KiB
    TooLarge = 413, "too_large";
    /// The body is said to be something else than JSON
    BadMediaType = 415, "bad_media_type";
    /// The user asks too often
    TooOften = 429, "too_often";
    /// As many long answers, or as many bytes of answers, as there may be at once wait to be read, by the user or by all together
    TooMany = 429, "too_many";
    /// The caller may not ask this
    Forbidden = 403, "forbidden";
    /// The caller belongs to a run, which may not ask this
    Tagged = 403, "tagged";
    /// No policy has this name
    UnknownPolicy = 404, "unknown_policy";
    /// No run, or more than one, has this ID
    UnknownRun = 404, "unknown_run";
    /// The run is over already
    Ended = 409, "ended";
    /// The run is not in the state that the request is for
    BadState = 409, "bad_state";
    /// The request goes beyond what the run was promised
    Bound = 422, "bound";
    /// The parameters are not the policy's, or not usable
    BadParams = 422, "bad_params";
    /// The process that asks cannot become a run
    BadProcess = 422, "bad_process";
    /// Nothing is launched for this owner
    OwnerDenied = 403, "owner_denied";
    /// The policy of the asking run does not delegate this, or not as often or as deep
    NotDelegated = 403, "not_delegated";
    /// The run above this one cannot have another below it
    BadParent = 422, "bad_parent";
    /// A table of the kernel or of the daemon is full
    Full = 503, "full";
    /// This host does not enforce now, so nothing is launched
    NotEnforcing = 503, "not_enforcing";
    /// The daemon is stopping
    Stopping = 503, "stopping";
    /// The kernel or the disk refused; the daemon's log has more
    Internal = 500, "internal";
}

impl ErrorReply {
    /// What happened, to what, and what to do next.
    pub fn new(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: remedy.into() }
    }
}

/// What to do where nobody but the daemon knows what is wrong; also of daemons that said nothing.
pub const LOG: &str = "the daemon's log has more: journalctl -u agentid";

fn log() -> String {
    LOG.to_owned()
}

impl From<ErrorReply> for Problem {
    fn from(reply: ErrorReply) -> Self {
        let ErrorReply { code, message: detail, remedy } = reply;
        let (kind, title) = (format!("{PROBLEM_TYPE}{}", code.name()), code.title().to_owned());
        Self { kind, title, status: code.status(), detail, code, remedy }
    }
}

impl From<Problem> for ErrorReply {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code, message: problem.detail, remedy: problem.remedy }
    }
}
