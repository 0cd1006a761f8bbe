//! What a start of the daemon would meet on this host, without changing anything; anyone may ask.

use std::{io, path::Path};

use super::{
    btf::Btf,
    fields::KERNEL_BTF,
    pins,
    preflight::{self, Found, PreflightError, Sight},
};

/// Everything that can be seen of what the daemon needs; `folder` is that of the pins.
pub fn examine(folder: &Path) -> Vec<Sight> {
    let root = folder.parent().unwrap_or(Path::new("/"));
    let looked = std::fs::read(KERNEL_BTF)
        .and_then(|bytes| Ok(preflight::look(&Btf::parse(&bytes).map_err(io::Error::other)?)));
    let (mut sights, found) = match looked {
        Ok(sights) => (sights, Found::Fine),
        Err(source) => {
            let remedy = "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF";
            let error = PreflightError::Unreadable { path: KERNEL_BTF, remedy, source };
            (Vec::new(), Found::Fault(error))
        }
    };
    sights.push(Sight { name: "btf", seen: KERNEL_BTF.to_owned(), found });
    let (seen, found) = if pins::is_bpffs(root) {
        (root.display().to_string(), Found::Fine)
    } else {
        let remedy = "the daemon mounts one when it starts; so does mount -t bpf bpf /sys/fs/bpf";
        (format!("no bpffs at {}", root.display()), Found::Doubt(remedy.to_owned()))
    };
    sights.push(Sight { name: "bpffs", seen, found });
    sights
}
