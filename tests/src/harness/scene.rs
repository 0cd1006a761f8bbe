//! What a daemon is started in: settings, policies, state, and files to reach for.

use std::{
    env,
    fs::{self, Permissions},
    ops::Deref,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{Place, kernel, policies};

/// Not the folder of a service that may run on this host.
pub const PINS: &str = "/sys/fs/bpf/agentid-suite";
/// The probe where every guest has it, and where [`Scene::POLICY`] lets it be executed.
pub const PROBE: &str = "/usr/bin/agentid-probe";
/// The user beside root.
pub const USER: u32 = 1000;
/// Both, for tests that hold for everyone.
pub const USERS: [u32; 2] = [0, USER];

/// A place below the folder for temporary files, with a daemon's settings, policies and state in it.
pub struct Scene {
    place: Place,
}

impl Scene {
    /// The policy `fixture`. Its runs go on after their end, denied, so that a test can look at the denials.
    pub const POLICY: &str = r#"
        name = "fixture"
        ttl = "2h"
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

    /// A scene with the policy `fixture` and six variants of it: the tasks of `killed` are killed at its end,
    /// `audited` only records, `narrow` grants nothing but reading, `network` has [`Self::NETWORK`], `unbound` leaves
    /// out nothing that root needs in the kernel's own eyes, and `talker` has [`policies::TALK`]; and with those of
    /// [`policies`].
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
        let talker = Self::POLICY.replace("\"fixture\"", "\"talker\"");
        let talker = talker.replacen("[[net]]", &format!("{}[[net]]", policies::TALK), 1);
        let by_name = policies::KNOWN.replace("\"known\"", "\"by-name\"") + policies::BY_NAME;
        Self::with(&[
            ("fixture", Self::POLICY),
            ("killed", &killed),
            ("audited", &audited),
            ("narrow", narrow),
            ("network", &network),
            ("unbound", &unbound),
            ("talker", &talker),
            ("changed", policies::CHANGED),
            ("ioctls", policies::IOCTLS),
            ("named", policies::NAMED),
            ("globbed", policies::GLOBBED),
            ("known", policies::KNOWN),
            ("by-name", &by_name),
        ])
    }

    /// A scene with these policies, by name.
    pub fn with(policies: &[(&str, &str)]) -> Result<Self> {
        kernel::reserve_ports_of_policies()?;
        let scene = Self { place: Place::below(&env::temp_dir())? };
        fs::create_dir(scene.state())?;
        fs::set_permissions(scene.state(), Permissions::from_mode(0o700))?;
        fs::create_dir(scene.path().join("policies"))?;
        for (name, text) in policies {
            fs::write(scene.path().join(format!("policies/{name}.toml")), text)?;
        }
        fs::write(scene.settings(), scene.settings_text()).context("failed to write settings")?;
        Ok(scene)
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

    fn settings_text(&self) -> String {
        let folder = self.path().display();
        format!(
            "control = \"{}\"\nstate = \"{folder}/state\"\npolicies = \"{folder}/policies\"\n\
             bpffs = \"{PINS}\"\nmetrics = \"off\"\n",
            self.socket().display()
        )
    }
}

impl Deref for Scene {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}
