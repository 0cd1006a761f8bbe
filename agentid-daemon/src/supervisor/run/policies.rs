//! The policies that are in force.

use super::Supervisor;
use crate::{
    control::{
        api::{Code, ErrorReply, PolicyInForce, PolicySource},
        caller::Standing,
    },
    instance::run::PolicyVersion,
    policy::Policy,
    supervisor::{command::Answer, refusal::Refusal},
};

impl Supervisor {
    /// Those that new runs get, and those that runs of the caller's are still bound to, by name.
    pub(super) fn policies(&self, standing: &Standing) -> Vec<PolicyInForce> {
        let mut versions: Vec<&PolicyVersion> =
            self.rules.offered().map(|(version, _)| version).collect();
        for run in self.state.registry.live().filter(|run| standing.sees(run.uid)) {
            if !versions.contains(&&run.policy) {
                versions.push(&run.policy);
            }
        }
        // Of one name the offered version stays first.
        versions.sort_by(|one, other| one.name.cmp(&other.name));
        let known = versions.into_iter().filter_map(|version| {
            let document = self.rules.document(version)?;
            Some(self.in_force(standing, version, &document.policy))
        });
        known.collect()
    }

    /// One of them, by its name or by `NAME@DIGEST`, of which the digest may be cut short.
    pub(super) fn policy(&self, standing: &Standing, asked: &str) -> Answer<PolicySource> {
        let (name, digest) = match asked.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (asked, None),
        };
        let mut of_name = self.policies(standing);
        of_name.retain(|it| it.name == name);
        let meant = |it: &&PolicyInForce| match digest {
            Some(digest) => it.digest.starts_with(digest),
            None => it.offered,
        };
        let found: Vec<&PolicyInForce> = of_name.iter().filter(meant).collect();
        let [policy] = found.as_slice() else {
            return Err(self.unknown(name, digest, &of_name));
        };
        let version = PolicyVersion { name: policy.name.clone(), digest: policy.digest.clone() };
        let document = self.rules.document(&version);
        let document = document.ok_or_else(|| self.unknown(name, digest, &of_name))?;
        Ok(PolicySource { policy: (*policy).clone(), text: document.text.clone() })
    }

    fn unknown(&self, name: &str, digest: Option<&str>, of_name: &[PolicyInForce]) -> ErrorReply {
        if of_name.is_empty() {
            let known = self.rules.offered().map(|(version, _)| version.name.clone()).collect();
            return Refusal::UnknownPolicy { name: name.to_owned(), known }.into();
        }
        let message = match digest {
            Some(digest) => format!(
                "no single version of policy {name:?} that is in force begins with {digest:?}"
            ),
            None => format!("policy {name:?} is offered no more; runs are bound to it still"),
        };
        let versions: Vec<String> =
            of_name.iter().map(|it| format!("{name}@{}", it.digest)).collect();
        ErrorReply::new(Code::UnknownPolicy, message, format!("in force: {}", versions.join(", ")))
    }

    fn in_force(
        &self,
        standing: &Standing,
        version: &PolicyVersion,
        policy: &Policy,
    ) -> PolicyInForce {
        let of_it = self.state.registry.live().filter(|run| run.policy == *version);
        PolicyInForce {
            name: version.name.clone(),
            digest: version.digest.clone(),
            description: Some(policy.description()).filter(|text| !text.is_empty()).map(Into::into),
            params: policy.params().to_vec(),
            offered: self.rules.offered().any(|(offered, _)| offered == version),
            runs: of_it.filter(|run| standing.sees(run.uid)).count() as u64,
        }
    }
}
