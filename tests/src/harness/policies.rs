//! Policies that are each for the tests of one module of the suite, which share a daemon.

/// Of `change`: what lies in `fixed` may be read and not written.
pub const CHANGED: &str = r#"
    name = "changed"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write"]
    [[file]]
    paths = ["${workspace}/fixed/**"]
    deny = ["write"]
"#;

/// Of `ioctl`: what is read only is in `fixed`.
pub const IOCTLS: &str = r#"
    name = "ioctls"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write"]
    [[file]]
    paths = ["${workspace}/fixed"]
    deny = ["write"]
    [[file]]
    paths = ["/dev/null", "/dev/ptmx", "/dev/pts/**"]
    allow = ["read", "write"]
"#;

/// Of `names`: what lies in `bin` may be executed as well, what lies in `fixed` may not be changed, what lies in `one/two`
/// may be executed, and nothing is done with a `secret`; of message queues `agentid-granted` may be used in every way, and
/// `agentid-used` be opened.
pub const NAMED: &str = r#"
    name = "named"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    capabilities = ["dac_read_search"] # to link what it has open
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write", "create", "delete"]
    [[file]]
    paths = ["${workspace}/bin/**", "${workspace}/one/two/**"]
    allow = ["exec"]
    [[file]]
    paths = ["${workspace}/fixed/**"]
    deny = ["write", "delete"]
    [[file]]
    paths = ["**/secret"]
    deny = "all"
    [[file]]
    paths = ["/dev/mqueue/agentid-granted"]
    allow = ["read", "write", "create", "delete"]
    [[file]]
    paths = ["/dev/mqueue/agentid-used"]
    allow = ["read", "write"]
"#;

/// Of `globs`.
pub const GLOBBED: &str = r#"
    name = "globbed"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/*.txt", "${workspace}/v?/**", "${workspace}/a*b*c"]
    allow = ["read", "write", "create", "delete"]
    [[file]]
    paths = ["${workspace}/v?/*.key", "**/id_*"]
    deny = "all"
"#;

/// Of `known`: no name matters.
pub const KNOWN: &str = r#"
    name = "known"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write", "create"]
"#;

/// What `by-name` has beside the rules of `known`: it denies a name in every folder.
pub const BY_NAME: &str = r#"
    [[file]]
    paths = ["**/secret"]
    deny = "all"
"#;

/// Of `unix`, what `talker` has beside the rules of `fixture`: the sockets in the workspace's folder `open`, and abstract names
/// by how they begin.
pub const TALK: &str = r#"
    [[unix]]
    paths = ["${workspace}/open/**"]
    allow = ["connect"]
    [[unix]]
    abstract = ["agentid-suite-open-*", "agentid-suite/deep/*"]
    allow = ["connect"]
    [[unix]]
    abstract = ["agentid-suite-own-*"]
    allow = ["listen"]
    [[unix]]
    abstract = ["agentid-suite-both-*"]
    allow = ["connect", "listen"]
    [[unix]]
    abstract = ["agentid-suite-*-denied"]
    deny = "all"
"#;
