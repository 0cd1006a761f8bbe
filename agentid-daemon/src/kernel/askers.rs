//! Who has sent the daemon's resolver something, by what the kernel programs saw of it.

use std::net::{IpAddr, SocketAddr};

use agentid_common::{
    instance::{Instance, MAX_ANCESTRY, NO_SLOT},
    net::{Address, Asker},
};
use aya::maps::{Array, MapData};

use super::{
    boot_time,
    maps::{MapsError, typed},
    pins::Pins,
    tasks::ReadError,
};

/// How long after a question was sent it is taken for that of the run that sent it, in seconds.
const FRESH: u64 = 5;

/// The tables that tell.
pub struct Askers {
    askers: Array<MapData, Asker>,
    instances: Array<MapData, Instance>,
}

impl Askers {
    pub(super) fn open(pins: &Pins) -> Result<Self, MapsError> {
        Ok(Self { askers: typed(pins, "ASKERS")?, instances: typed(pins, "INSTANCES")? })
    }

    /// The run that has sent something from this address and port just now, if one has.
    pub fn find(&self, protocol: u8, from: SocketAddr) -> Result<Option<Asker>, ReadError> {
        let asker = self.askers.get(&Asker::index(protocol, from.port()), 0)?;
        let since = boot_time().as_secs().saturating_sub(asker.at.into());
        let is_its = asker.generation != 0 && asker.address == address(from.ip()) && since <= FRESH;
        Ok(is_its.then_some(asker))
    }

    /// The generation of the run on which this one stands at last. It is its own where that is gone already.
    pub fn first(&self, asker: &Asker) -> Result<u64, ReadError> {
        let (mut slot, mut generation) = (asker.slot, asker.generation);
        for _ in 1..MAX_ANCESTRY {
            let instance = self.instances.get(&slot, 0)?;
            if instance.generation != generation || instance.parent == NO_SLOT {
                break;
            }
            (slot, generation) = (instance.parent, instance.parent_generation);
        }
        Ok(generation)
    }
}

/// As the kernel's tables have it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}
