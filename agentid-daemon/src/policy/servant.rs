//! Sockets of those who act for whoever talks to them, beyond what any rule of this host's policies says: who may connect
//! to one can have nearly everything done outside of the run.
//!
//! The list is of what is usual. It is a guard against a slip of the author's, and no promise: the same servant may
//! listen elsewhere.

use std::collections::VecDeque;

use super::{
    error::Flaw,
    pattern::{self, Component, Pattern, Root},
};

/// As patterns of the language.
const SERVANTS: [&str; 28] = [
    // Buses, and the service manager behind them.
    "/run/dbus/system_bus_socket",
    "/run/user/*/bus",
    "/run/user/*/systemd/**",
    "/run/systemd/private",
    "/run/systemd/io.*",
    "/run/systemd/machine/**",
    // Containers and virtual machines.
    "/run/docker.sock",
    "/run/user/*/docker.sock",
    "/run/containerd/**",
    "/run/podman/**",
    "/run/user/*/podman/**",
    "/run/crio/**",
    "/run/libvirt/**",
    "/run/user/*/libvirt/**",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
    "/run/snapd.socket",
    // Keys.
    "/tmp/ssh-*/**",
    "/run/user/*/ssh-agent*",
    "/run/user/*/openssh_agent",
    "/run/user/*/keyring/**",
    "/run/user/*/gcr/**",
    "/run/user/*/gnupg/**",
    "/root/.gnupg/S.*",
    "/home/*/.gnupg/S.*",
    // Screens and terminals.
    "/tmp/.X11-unix/**",
    "/run/user/*/wayland-*",
    "/tmp/tmux-*/**",
];

/// As patterns of abstract names: screens, buses, containers, and the service manager.
const ABSTRACT: [&str; 5] = [
    "/tmp/.X11-unix/*",
    "/tmp/.ICE-unix/*",
    "/tmp/dbus-*",
    "/containerd-shim/*",
    "/com/ubuntu/upstart",
];

/// A servant whose socket a pattern may name.
pub(super) fn reached(pattern: &Pattern) -> Option<&'static str> {
    match pattern.root {
        Root::Filesystem => {}
        Root::Parameter(_) => return None,
        Root::Abstract => {
            let meets = |text: &&str| {
                let servant = pattern::abstract_name(text).map(|servant| servant.components);
                servant.is_ok_and(|servant| {
                    servant
                        .iter()
                        .zip(&pattern.components)
                        .any(|(one, other)| names_meet(one, other))
                })
            };
            return ABSTRACT.into_iter().find(meets);
        }
    }
    let mut components: VecDeque<Component> = pattern.components.iter().cloned().collect();
    // A link to /run on every system.
    let name = |text: &str| Component::Name(text.to_owned());
    if components.front() == Some(&name("var")) && components.get(1) == Some(&name("run")) {
        components.pop_front();
    }
    let components = components.make_contiguous();
    let servants = SERVANTS.iter().copied();
    servants.filter_map(|text| Some((text, servant(text).ok()?))).find_map(|(text, servant)| {
        let is_many = |component: &Component| *component == Component::Any;
        meet(components, &servant.components, is_many, names_meet).then_some(text)
    })
}

fn servant(text: &str) -> Result<Pattern, Flaw> {
    pattern::parse(text, &[])
}

/// Whether some name fits both.
fn names_meet(one: &Component, other: &Component) -> bool {
    let bytes = |component: &Component| match component {
        Component::Name(name) | Component::Glob(name) => name.as_bytes().to_vec(),
        Component::Any => b"*".to_vec(),
    };
    let same = |one: &u8, other: &u8| one == other || *one == b'?' || *other == b'?';
    meet(&bytes(one), &bytes(other), |byte| *byte == b'*', same)
}

/// Whether something fits both of two sequences, in which some elements stand for any number of others.
fn meet<T>(
    one: &[T],
    other: &[T],
    is_many: impl Fn(&T) -> bool,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    // Whether the rest of `one` meets each rest of `other`, the whole first.
    let mut below: Vec<bool> =
        (0..=other.len()).map(|at| other.iter().skip(at).all(&is_many)).collect();
    for first in one.iter().rev() {
        let many = is_many(first);
        let mut row = vec![false; other.len() + 1];
        for at in (0..=other.len()).rev() {
            let next = other.get(at);
            row[at] = match next {
                None => many && below[at],
                Some(_) if many => below[at] || row[at + 1],
                Some(second) if is_many(second) => row[at + 1] || below[at],
                Some(second) => same(first, second) && below[at + 1],
            };
        }
        below = row;
    }
    below[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_can_be_read_and_reaches_itself() {
        for text in SERVANTS {
            assert!(reached(&servant(text).unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn finds_what_a_pattern_may_name() {
        for (text, found) in [
            ("/run/dbus/system_bus_socket", true),
            ("/var/run/docker.sock", true),
            ("/run/**", true),
            ("/**", true),
            ("**/*.sock", true),
            ("/run/user/1000/bus", true),
            ("/run/user/*/b?s", true),
            ("/run/user/1000/wayland-0", true),
            ("/tmp/ssh-XXabc/agent.1", true),
            ("/home/a/.gnupg/S.gpg-agent", true),
            ("/run/postgresql/**", false),
            ("/run/user/1000/my.sock", false),
            ("/run/nscd/socket", false),
            ("/run/systemd/journal/dev-log", false),
            ("/tmp/work/*", false),
            ("/run/docker.sock/x", false),
        ] {
            let pattern = pattern::parse(text, &[]).unwrap();
            assert_eq!(reached(&pattern).is_some(), found, "{text}");
        }
    }

    #[test]
    fn finds_what_an_abstract_name_may_be() {
        for (text, found) in [
            ("/tmp/.X11-unix/X0", true),
            ("*", true),
            ("/tmp/dbus-1234", true),
            ("/containerd-shim/abc.sock", true),
            ("my-servant", false),
            ("/tmp/.X11", false),
        ] {
            let pattern = pattern::abstract_name(text).unwrap();
            assert_eq!(reached(&pattern).is_some(), found, "{text}");
        }
        for text in ABSTRACT {
            assert_eq!(reached(&pattern::abstract_name(text).unwrap()), Some(text));
        }
    }

    #[test]
    fn leaves_parameters_to_the_launch() {
        let pattern = pattern::parse("${w}/**", &["w".to_owned()]).unwrap();
        assert_eq!(reached(&pattern), None);
    }
}
