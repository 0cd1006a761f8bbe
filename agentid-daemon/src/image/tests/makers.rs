use std::path::{Path, PathBuf};

use super::{
    super::{Laid, prefixes},
    host::{Host, parsed},
};

const RULES: &str = r"
params = ['workspace']
[[file]]
paths = ['/srv/app/**']
allow = ['read', 'create']
[[file]]
paths = ['/srv/app/kept/**', '/srv/app/data/**']
deny = ['create']
[[file]]
paths = ['/var/lib/*/cache', '/home/u/*']
allow = ['delete']
[[file]]
paths = ['/usr/**']
allow = ['read', 'write', 'exec']
[[file]]
paths = ['${workspace}/build/**']
allow = ['create']
";

/// Whether runs of the policy could have made a link there, that were given these folders.
fn made(link: &str, given: &[&str]) -> bool {
    let host = Host::usual()
        .mount("/home/u/work/mounted", "/", 5)
        .mount("/shown", "/home/u", 1)
        .folders(&["/srv/app/kept", "/var/lib", "/home/u/work/build"]);
    let policy = parsed(RULES);
    let terrain = host.terrain(&prefixes(&policy));
    let given: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
    let laid = Laid::new(&policy, &terrain).unwrap();
    laid.makers().could_have_made(Path::new(link), &terrain, &given)
}

#[test]
fn a_link_is_made_where_names_are_or_where_a_folder_on_the_way_is() {
    for link in ["/srv/app/x", "/srv/app/x/y", "/home/u/link", "/home/u/x/y"] {
        assert!(made(link, &[]), "{link}");
    }
    // The folder `app` itself is one of the names.
    assert!(made("/srv/app/data", &[]) && made("/srv/app", &[]));
    for link in ["/var/run", "/var/lib/a/x", "/usr/lib64", "/bin", "/srv/link", "/home/link"] {
        assert!(!made(link, &[]), "{link}");
    }
    assert!(made("/var/lib/a/cache", &[]) && made("/var/lib/a/cache/x", &[]));
}

#[test]
fn a_link_is_made_in_what_a_run_was_given_wherever_that_is_seen() {
    let given = ["/opt/x", "/var/work"];
    for link in ["/opt/x/build/a", "/opt/x/build", "/var/work/build/deep/link"] {
        assert!(made(link, &given) && !made(link, &[]), "{link}");
    }
    for link in ["/opt/x/other", "/opt/x", "/opt/build/a", "/var/build"] {
        assert!(!made(link, &given), "{link}");
    }
    // Below `/shown` the home is seen once more.
    assert!(made("/shown/work/build/link", &["/home/u/work"]));
}
