//! `agentid policy explain`

use super::{policies, run, why};
use crate::{
    cli::{args::Explain, exit, failure::Failure},
    control::client::{Client, ClientError},
    supervisor::explain::{ExplainError, explain},
};

pub fn run(
    client: impl Fn() -> Result<Client, ClientError>,
    arguments: Explain,
) -> Result<u8, Failure> {
    let Explain { policy, object, params, output } = arguments;
    let (policy, _) = policies::read(client, &policy)?;
    let params = run::unique("--param", &params, run::folder)?;
    let reply = explain(&policy, &params, &why::request(object)?)?;
    why::answer(&reply, output)
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Refused(reply) => Self::refused(reply),
            ExplainError::Compile { .. } | ExplainError::Bind { .. } => {
                let remedy = "agentid policy show prints its rules; POLICY.md has the bounds";
                Self::new(error, exit::INVALID, remedy)
            }
        }
    }
}
