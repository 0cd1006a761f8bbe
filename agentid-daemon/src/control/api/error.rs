//! Why a request was refused.

use serde::{Deserialize, Serialize};

/// Why a request was refused. `code` is stable, the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    pub code: Code,
    pub message: String,
    /// What to do next.
    pub remedy: Option<String>,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $code:ident = $status:literal, $text:literal;)*) => {
        /// Every error that the daemon answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$meta])* $code,)* }

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
        }
    };
}

codes! {
    /// The request cannot be read, or a field has a value that is not allowed.
    BadRequest = 400, "bad_request";
    /// No such route.
    NoRoute = 404, "no_route";
    /// The body is larger than [`MAX_BODY`].
    TooLarge = 413, "too_large";
    /// The caller may not ask this.
    Forbidden = 403, "forbidden";
    /// The caller belongs to a run; runs may only ask who they are, and delegate.
    Tagged = 403, "tagged";
    UnknownPolicy = 404, "unknown_policy";
    /// No run, or more than one, has this ID.
    UnknownRun = 404, "unknown_run";
    /// The run is over already.
    Ended = 409, "ended";
    /// The run is not in the state that the request is for.
    BadState = 409, "bad_state";
    /// The request goes beyond what the run was promised.
    Bound = 422, "bound";
    /// The parameters are not the policy's, or not usable.
    BadParams = 422, "bad_params";
    /// The process that asks cannot become a run.
    BadProcess = 422, "bad_process";
    /// Nothing is launched for this owner.
    OwnerDenied = 403, "owner_denied";
    /// The policy of the asking run does not delegate this, or not as often or as deep.
    NotDelegated = 403, "not_delegated";
    /// The run above this one cannot have another below it.
    BadParent = 422, "bad_parent";
    /// A table of the kernel or of the daemon is full.
    Full = 503, "full";
    /// This host does not enforce now, so nothing is launched.
    NotEnforcing = 503, "not_enforcing";
    /// The daemon is stopping.
    Stopping = 503, "stopping";
    /// The kernel or the disk refused; the daemon's log has more.
    Internal = 500, "internal";
}

impl ErrorReply {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None }
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
