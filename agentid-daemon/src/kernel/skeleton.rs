//! (to be replaced: the kernel's interface, without a kernel)

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use agentid_common::{
    instance::{Activity, Instance},
    name::NameKey,
    record::TaskLine,
    tag::Tag,
};

use crate::{
    image::{HostPlace, Image, MapOp, Terrain},
    instance::Posture,
};

#[derive(Debug, thiserror::Error)]
#[error("this build has no kernel programs")]
pub struct Absent;

macro_rules! absent {
    ($($name:ident)*) => {$(
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        pub struct $name(#[from] Absent);
    )*};
}

absent! {
    StartError ApplyError TagError ReadError StopError SurveyError LocateError UnloadError
}

#[derive(Clone, Debug)]
pub struct Options {
    pub bpffs: PathBuf,
    pub state: PathBuf,
}

#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub slot: u32,
    pub instance: Instance,
    pub activity: Activity,
}

#[derive(Debug)]
pub struct Counters;

impl Counters {
    pub fn get(&self, _: u32) -> u64 {
        0
    }
}

#[derive(Debug)]
pub struct Ring(OwnedFd);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ring {
    pub fn read(&mut self, _: &mut dyn FnMut(&[u8])) {}
}

#[derive(Debug)]
pub struct Kernel;

impl Kernel {
    pub fn start(_: &Options) -> Result<(Self, Vec<Held>), StartError> {
        Err(Absent.into())
    }

    pub fn names(&self) -> NameKey {
        NameKey::default()
    }

    pub fn image(&self) -> Result<Image, ReadError> {
        Err(Absent.into())
    }

    pub fn apply(&mut self, _: &[MapOp]) -> Result<(), ApplyError> {
        Err(Absent.into())
    }

    pub fn tag(&mut self, _: BorrowedFd<'_>, _: &Tag) -> Result<(), TagError> {
        Err(Absent.into())
    }

    pub fn tag_of(&self, _: BorrowedFd<'_>) -> Result<Option<Tag>, TagError> {
        Err(Absent.into())
    }

    pub fn activity(&self, _: u32) -> Result<Activity, ReadError> {
        Err(Absent.into())
    }

    pub fn stop(&self, _: u32, _: u64) -> Result<usize, StopError> {
        Err(Absent.into())
    }

    pub fn tasks(&self) -> Result<Vec<TaskLine>, ReadError> {
        Err(Absent.into())
    }

    pub fn counters(&self) -> Result<Counters, ReadError> {
        Err(Absent.into())
    }

    pub fn fill(&self) -> Vec<(&'static str, u64, u64)> {
        Vec::new()
    }

    pub fn hooks(&self) -> Vec<(&'static str, Result<(), String>)> {
        Vec::new()
    }

    pub fn ring(&mut self) -> Result<Ring, ReadError> {
        Err(Absent.into())
    }

    pub fn survey(&mut self, _: &[PathBuf]) -> Result<Terrain, SurveyError> {
        Err(Absent.into())
    }

    pub fn locate(&self, _: &Path) -> Result<HostPlace, LocateError> {
        Err(Absent.into())
    }

    pub fn prove(&mut self) -> Posture {
        Posture::Off("this build has no kernel programs".to_owned())
    }

    pub fn boot_ns(&self) -> u64 {
        0
    }
}

pub fn unload(_: &Options) -> Result<(), UnloadError> {
    Err(Absent.into())
}

pub fn canary_main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
