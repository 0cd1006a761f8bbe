//! Has the running kernel's verifier look at every program, and attaches none.

use std::path::Path;

use super::{
    btf::Btf,
    fields::{self, FieldError, KERNEL_BTF},
    object::{self, ObjectError},
    pins::{self, PinError, Pins},
};

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Fields(#[from] FieldError),
    #[error("read {KERNEL_BTF}")]
    Btf(#[from] aya::BtfError),
    #[error(transparent)]
    Pins(#[from] PinError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// The number of instructions that the verifier went through for each program, by name. `folder` is where the maps
/// are pinned for the time it takes; it must not be in use.
pub fn verify(folder: &Path) -> Result<Vec<(String, u32)>, VerifyError> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(FieldError::Unreadable)?;
    let kernel = Btf::parse(&bytes).map_err(FieldError::Malformed)?;
    let globals = fields::globals(&kernel, None)?;
    let pins = Pins::open(folder)?;
    let btf = aya::Btf::from_sys_fs()?;
    let counts = object::open(&btf, &globals, &pins).and_then(|mut ebpf| {
        object::load(&mut ebpf, &btf, &object::hooks(&kernel))?;
        Ok(object::verified(&ebpf))
    });
    pins::remove(&pins.maps())?;
    Ok(counts?)
}

/// The LSM hooks that programs are written for, each as this kernel calls it, if it does.
pub fn prototypes() -> Result<Vec<(&'static str, Option<String>)>, VerifyError> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(FieldError::Unreadable)?;
    let kernel = Btf::parse(&bytes).map_err(FieldError::Malformed)?;
    Ok(object::prototypes(&kernel))
}
