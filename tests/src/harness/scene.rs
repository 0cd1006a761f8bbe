//! A place of its own for each test: settings, policies, state, and files to reach for.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Not the folder of a service that may run on this host.
pub const PINS: &str = "/sys/fs/bpf/agentid-suite";
/// The probe where every guest has it, and where [`Scene::POLICY`] lets it be executed.
pub const PROBE: &str = "/usr/bin/agentid-probe";
/// The user beside root.
pub const USER: u32 = 1000;
/// Both, for tests that hold for everyone.
pub const USERS: [u32; 2] = [0, USER];

/// A folder below the folder for temporary files, gone with its guard.
pub struct Scene {
    folder: TempDir,
}

impl Scene {
    /// The policy `fixture`. Its runs go on after their end, denied, so that a test can look at the denials.
    pub const POLICY: &str = r#"
        name = "fixture"
        ttl = "20m"
        on_end = "deny"
        params = ["workspace"]
        [[file]]
        paths = ["/usr/bin/agentid-probe"]
        allow = ["read", "exec"]
        [[file]]
        paths = ["${workspace}/**"]
        allow = ["read", "write", "create", "exec"]
        [[file]]
        paths = ["**/secret"]
        deny = "all"
        because = "secrets stay"
        [[net]]
        to = ["127.0.0.1:20000-29999", "[::1]:20000-29999"]
        allow = ["connect"]
        [[net]]
        to = ["127.0.0.1:20000-29999", "[::1]:20000-29999"]
        proto = "udp"
        allow = ["connect"]
        [[net]]
        on = ["127.0.0.1:20000-29999", "[::1]:20000-29999"]
        allow = ["listen"]
    "#;

    /// What the policy `network` adds to the files of `fixture`. The last rule grants nothing by itself, because it leaves
    /// out IPv4.
    pub const NETWORK: &str = r#"
        [[net]]
        to = ["127.0.0.1:20000-29999", "[::1]:20000-29999"]
        proto = ["tcp", "udp"]
        allow = ["connect"]
        [[net]]
        to = ["127.0.0.1:40000-40999", "[::1]:40000-40999"]
        proto = "udp"
        allow = ["send"]
        [[net]]
        to = ["127.0.0.1:*", "[::1]:*"]
        proto = "icmp"
        allow = ["connect"]
        [[net]]
        on = ["127.0.0.1:25000-25999", "[::1]:25000-25999"]
        proto = ["tcp", "udp"]
        allow = ["listen"]
        [[net]]
        on = ["0.0.0.0:26000-26099", "[::]:26000-26099"]
        proto = ["tcp", "udp"]
        allow = ["listen"]
        [[net]]
        on = ["127.0.0.2:*"]
        allow = ["listen"]
        [[net]]
        on = ["127.0.0.1:41000-41999", "[::1]:41000-41999"]
        allow = ["accept"]
        [[net]]
        on = ["[::]/0:26200-26299"]
        proto = ["tcp", "udp"]
        allow = ["listen"]
    "#;

    /// What the policy `unbound` leaves to root: what the kernel asks of who makes namespaces, watches and links.
    const UNBOUND: &str = "ends_sandbox = true\n        capabilities = [\"sys_admin\", \"dac_read_search\"]\n        on_end";

    /// A scene with the policy `fixture` and five variants of it: the tasks of `killed` are killed at its end,
    /// `audited` only records, `narrow` grants nothing but reading, `network` has [`Self::NETWORK`], and `unbound` leaves
    /// out nothing that root needs in the kernel's own eyes.
    pub fn new() -> Result<Self> {
        let variant = |name: &str, from: &str, to: &str| {
            Self::POLICY.replace("\"fixture\"", &format!("\"{name}\"")).replace(from, to)
        };
        let killed = variant("killed", "\"deny\"", "\"kill\"");
        let audited = variant("audited", "on_end", "mode = \"audit\"\n        on_end");
        let unbound = variant("unbound", "on_end", Self::UNBOUND);
        let narrow = variant("narrow", "\"read\", \"write\", \"create\", \"exec\"", "\"read\"");
        let narrow = narrow.split("[[net]]").next().unwrap_or_default();
        let files = Self::POLICY.split("[[net]]").next().unwrap_or_default();
        let network = files.replace("\"fixture\"", "\"network\"") + Self::NETWORK;
        let texts: [(&str, &str); 6] = [
            ("fixture", Self::POLICY),
            ("killed", &killed),
            ("audited", &audited),
            ("narrow", narrow),
            ("network", &network),
            ("unbound", &unbound),
        ];
        Self::with(&texts)
    }

    /// A scene with these policies, by name.
    pub fn with(policies: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentid-suite-").tempdir()?;
        let scene = Self { folder };
        // Runs of other users come through here.
        fs::set_permissions(scene.path(), Permissions::from_mode(0o755))?;
        fs::create_dir(scene.state())?;
        fs::set_permissions(scene.state(), Permissions::from_mode(0o700))?;
        fs::create_dir(scene.path().join("policies"))?;
        for (name, text) in policies {
            fs::write(scene.path().join(format!("policies/{name}.toml")), text)?;
        }
        fs::write(scene.settings(), scene.settings_text()).context("failed to write settings")?;
        for folder in [scene.workspace(), scene.outside()] {
            fs::create_dir(&folder)?;
            give(&folder)?;
            scene.file(&folder.join("a"))?;
        }
        scene.file(&scene.workspace().join("secret"))?;
        Ok(scene)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon's settings.
    pub fn settings(&self) -> PathBuf {
        self.path().join("agentid.toml")
    }

    /// Whether its daemon pins where those of most other scenes do.
    pub fn has_usual_pins(&self) -> Result<bool> {
        let text = fs::read_to_string(self.settings()).context("failed to read settings")?;
        Ok(text.lines().any(|line| line == format!("bpffs = \"{PINS}\"")))
    }

    /// The daemon's control socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("control/control.sock")
    }

    /// The daemon's state.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// What the daemon says on its standard error.
    pub fn log(&self) -> PathBuf {
        self.path().join("daemon.log")
    }

    /// The folder that `fixture` grants. It holds the file `a`, which is granted, and `secret`, which is not.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    /// A folder beside it that nothing grants, with a file `a`. File modes let everyone in.
    pub fn outside(&self) -> PathBuf {
        self.path().join("outside")
    }

    /// A file in the workspace that may be read.
    pub fn granted(&self) -> PathBuf {
        self.workspace().join("a")
    }

    /// A file beside the workspace that may not be read.
    pub fn denied(&self) -> PathBuf {
        self.outside().join("a")
    }

    /// Makes a file that everyone may read and write as far as file modes go.
    pub fn file(&self, path: &Path) -> Result<()> {
        fs::write(path, "text").with_context(|| format!("failed to write {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(())
    }

    /// Makes such a file that is the test user's.
    pub fn file_of_user(&self, path: &Path) -> Result<()> {
        self.file(path)?;
        Ok(chown(path, Some(USER), Some(USER))?)
    }

    /// Lets everyone write in a folder as far as file modes go.
    pub fn open_to_all(&self, folder: &Path) -> Result<()> {
        give(folder)
    }

    /// Makes a copy of the probe, which everyone may execute as far as file modes go.
    pub fn program(&self, path: &Path) -> Result<()> {
        fs::copy(PROBE, path).with_context(|| format!("failed to copy to {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn settings_text(&self) -> String {
        let folder = self.path().display();
        format!(
            "control = \"{}\"\nstate = \"{folder}/state\"\npolicies = \"{folder}/policies\"\n\
             bpffs = \"{PINS}\"\nmetrics = \"off\"\n",
            self.socket().display()
        )
    }
}

/// Lets everyone write in a folder of the test user's.
fn give(folder: &Path) -> Result<()> {
    chown(folder, Some(USER), Some(USER))?;
    fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    Ok(())
}
