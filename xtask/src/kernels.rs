//! The kernels that guests boot: Debian's cloud kernels, one per supported series.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt::Suite;
use crate::setup::Cache;
use crate::shell;

/// A supported series and where Debian keeps it.
pub struct Series {
    pub name: &'static str,
    suite: &'static str,
    /// The package with the kernel image is called this, then the rest of its version.
    image: &'static str,
    /// Likewise the package with the modules, where they are apart.
    modules: Option<&'static str>,
    /// The emulated processor.
    pub cpu: &'static str,
}

pub const SERIES: [Series; 3] = [
    Series {
        name: "6.1",
        suite: "bookworm-security",
        image: "linux-image-6.1.",
        modules: None,
        cpu: "max",
    },
    Series {
        name: "6.12",
        suite: "trixie",
        image: "linux-image-6.12.",
        modules: None,
        // QEMU 7.2 corrupts the flags after cmpxchg16b, and this kernel uses it early.
        cpu: "max,-cx16",
    },
    Series {
        name: "7.3",
        suite: "trixie-backports",
        image: "linux-binary-7.3.",
        modules: Some("linux-modules-7.3."),
        // Its task storage needs cmpxchg16b.
        cpu: "max",
    },
];

/// A kernel on this machine.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// As the user named it.
    pub name: String,
    pub image: PathBuf,
    pub cpu: &'static str,
    /// The folder `…/kernel` of its modules, if we have them.
    modules: Option<PathBuf>,
}

impl Kernel {
    /// The kernel of a series by name, downloaded if need be, or a kernel image by path.
    pub fn find(cache: &Cache, name: &str) -> Result<Self> {
        let Some(series) = SERIES.iter().find(|series| series.name == name) else {
            let image = PathBuf::from(name);
            if !image.is_file() {
                let known = SERIES.map(|series| series.name).join(", ");
                bail!("{name} is neither a known kernel ({known}) nor a kernel image");
            }
            return Ok(Self { name: name.to_owned(), image, cpu: "max", modules: None });
        };
        let why = "a kernel to boot guests with";
        let folder = cache
            .folder(&format!("kernels/{name}"), why, |folder| download(cache, series, folder))?;
        let image = image_in(&folder)?;
        let modules = release_in(&folder).map(|release| release.join("kernel"));
        Ok(Self { name: name.to_owned(), image, cpu: series.cpu, modules })
    }

    /// Whether it has this as a module; what is built in is none.
    pub fn has_module(&self, name: &str) -> Result<bool> {
        Ok(self.find_module(name)?.is_some())
    }

    /// Adds a module to those that are to be loaded, behind all that it needs.
    pub fn load_order(&self, name: &str, ordered: &mut Vec<String>) -> Result<()> {
        if ordered.iter().any(|known| known == name) {
            return Ok(());
        }
        for needed in needs(&self.module(name)?) {
            self.load_order(&needed, ordered)?;
        }
        ordered.push(name.to_owned());
        Ok(())
    }

    fn find_module(&self, name: &str) -> Result<Option<PathBuf>> {
        let tree = self.modules.as_ref().with_context(|| {
            format!("kernel {} came without modules: use one of the named kernels", self.name)
        })?;
        // Names that modules give each other have no hyphens, those of files may.
        let hyphens = name.replace('_', "-");
        let wanted = [name, &hyphens].map(|name| [format!("{name}.ko"), format!("{name}.ko.xz")]);
        find_file(tree, &wanted.concat())
    }

    /// The content of a module, uncompressed.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        let path = self
            .find_module(name)?
            .with_context(|| format!("kernel {} has no module {name}", self.name))?;
        if path.extension().is_some_and(|kind| kind == "ko") {
            return fs::read(&path).with_context(|| format!("failed to read {}", path.display()));
        }
        let mut unpack = Command::new("xz");
        let output = unpack.arg("-dc").arg(&path).output().context("failed to start xz")?;
        if !output.status.success() {
            bail!("{} ended with {}", shell::line(&unpack), output.status);
        }
        Ok(output.stdout)
    }
}

/// The modules that a module says it needs, among its strings that end with a zero (include/linux/moduleparam.h).
fn needs(module: &[u8]) -> Vec<String> {
    const DEPENDS: &[u8] = b"\0depends=";
    let found = module.windows(DEPENDS.len()).position(|bytes| bytes == DEPENDS);
    let list = found.and_then(|at| module.get(at + DEPENDS.len()..)).unwrap_or_default();
    let list = list.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn download(cache: &Cache, series: &Series, folder: &Path) -> Result<()> {
    let suite = Suite::open(cache, series.suite)?;
    let names = suite.names(series.image)?;
    let Some(newest) = newest(&names, series.image) else {
        bail!("{} has no package {}…-cloud-amd64", series.suite, series.image);
    };
    suite.unpack(newest, folder)?;
    if let (Some(modules), Some(rest)) = (series.modules, newest.strip_prefix(series.image)) {
        suite.unpack(&format!("{modules}{rest}"), folder)?;
    }
    image_in(folder).map(drop)
}

/// The kernel image among the unpacked packages.
fn image_in(folder: &Path) -> Result<PathBuf> {
    let beside_modules = release_in(folder).map(|release| release.join("vmlinuz"));
    match beside_modules.filter(|image| image.is_file()) {
        Some(image) => Ok(image),
        None => first_file(&folder.join("boot"), "vmlinuz-"),
    }
}

/// The folder with the modules of the kernel's release.
fn release_in(folder: &Path) -> Option<PathBuf> {
    let trees = ["lib/modules", "usr/lib/modules"].map(|tree| folder.join(tree));
    trees.iter().find_map(|tree| first_file(tree, "").ok())
}

/// The cloud kernel with the highest version.
fn newest<'names>(names: &'names [String], prefix: &str) -> Option<&'names str> {
    let numbers = |name: &str| -> Vec<u32> {
        name.split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    let cloud = |name: &&str| name.starts_with(prefix) && name.ends_with("-cloud-amd64");
    names.iter().map(String::as_str).filter(cloud).max_by_key(|name| numbers(name))
}

fn first_file(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    found.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    found.sort();
    found.into_iter().next().with_context(|| format!("no {prefix}… in {}", folder.display()))
}

fn find_file(folder: &Path, names: &[String]) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path, names)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|name| names.iter().any(|wanted| name == &**wanted))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{needs, newest};

    #[test]
    fn a_module_says_what_it_needs() {
        let module = b"ELF\0license=GPL\0depends=zstd_compress,xor\0intree=Y\0";
        assert_eq!(needs(module), ["zstd_compress", "xor"]);
        assert!(needs(b"ELF\0depends=\0intree=Y\0").is_empty());
        assert!(needs(b"ELF\0license=GPL\0").is_empty());
    }

    #[test]
    fn picks_the_newest_cloud_kernel() {
        let names = [
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64-unsigned",
            "linux-image-6.12.108+deb13-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(newest(&names, "linux-image-6.12."), Some(&*names[1]));
        assert_eq!(newest(&names, "linux-image-6.1."), None);
    }
}
