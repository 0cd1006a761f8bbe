//! Landlock, held against the same rules.

use anyhow::{Result, bail};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, path_beneath_rules,
};

use crate::rules;

/// What of the rules this kernel's Landlock can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Since 6.7.
    pub connects: bool,
}

/// Restricts this process for good.
pub fn restrict(count: u16) -> Result<Held> {
    let abi = ABI::V4;
    let files = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    let status = files
        .handle_access(AccessNet::ConnectTcp)?
        .create()?
        .add_rules(path_beneath_rules(rules::folders(count), AccessFs::from_read(abi)))?
        .add_rules(rules::ports(count).map(|port| {
            Ok::<_, landlock::RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))
        }))?
        .restrict_self()?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Ok(Held { connects: effective_abi >= ABI::V4 })
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => {
            bail!("this kernel has no Landlock")
        }
    }
}
