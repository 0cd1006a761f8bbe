//! What is asked where processes that run already are to become a run.

use crate::{
    control::api::{AdoptFrom, AdoptRequest, Code, ErrorReply, LaunchRequest},
    kernel::{self, GatherError, Source},
};

/// Where they come from, and what is asked of the run, as of one that is launched.
pub fn parts(asked: AdoptRequest) -> (Source, LaunchRequest) {
    let AdoptRequest {
        from,
        policy,
        agent,
        owner,
        on_behalf_of,
        task,
        purpose,
        params,
        ttl_ms,
        parent,
        labels,
    } = asked;
    let from = match from {
        AdoptFrom::Process(tgid) => Source::Process(tgid),
        AdoptFrom::Cgroup(path) => Source::Group(kernel::group_place(&path)),
    };
    let request = LaunchRequest {
        policy,
        agent,
        owner,
        on_behalf_of,
        task,
        purpose,
        params,
        ttl_ms,
        parent,
        labels,
        command: Vec::new(),
    };
    (from, request)
}

/// Why they cannot be one.
pub fn refused(error: &GatherError) -> ErrorReply {
    let (code, remedy) = match error {
        GatherError::NoProcess(_) => (Code::BadProcess, "ps shows which there are"),
        GatherError::NoGroup(_) => (Code::BadProcess, "systemd-cgls shows which there are"),
        GatherError::Own(_) => {
            (Code::BadProcess, "name a process or a cgroup that holds nothing else")
        }
        GatherError::Tagged(_) => (Code::BadProcess, "agentid tree shows which runs have which"),
        GatherError::Traced(..) => {
            (Code::BadProcess, "detach the tracer (strace, gdb) and try again")
        }
        GatherError::Elsewhere { .. } | GatherError::Lost(_) => {
            (Code::BadProcess, "name the cgroup that all of them are in")
        }
        GatherError::Shares(_) => {
            (Code::BadProcess, "name a cgroup that both are in, or end the other one")
        }
        GatherError::Stuck(_) => {
            (Code::Internal, "kill them: nothing gives them back what they had")
        }
        GatherError::Stray(_) => {
            (Code::BadProcess, "try again, or name the cgroup that all of them are in")
        }
        GatherError::Restless | GatherError::Untagged(_) => (Code::BadProcess, "try again later"),
        _ => (Code::Internal, "the daemon's log has more"),
    };
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    ErrorReply::new(code, message, remedy)
}
