use super::{Mirror, choose, parse_deb822, parse_lines};

const DEB822: &str = "\
# the system's own
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
 contrib

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
";

fn mirror(debian: &str, security: &str) -> Option<Mirror> {
    Some(Mirror { debian: debian.to_owned(), security: security.to_owned() })
}

#[test]
fn reads_stanzas() {
    let sources = parse_deb822(DEB822);
    assert_eq!(sources.len(), 2);
    assert_eq!(sources[1].components, ["main", "contrib"]);
    assert_eq!(
        choose(&sources, "bookworm"),
        mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
    );
}

#[test]
fn reads_lines_with_options_and_comments() {
    let sources = parse_lines(
        "# deb http://no.example/debian bookworm main\n\
         deb-src http://no.example/debian bookworm main\n\
         deb [arch=amd64 signed-by=/k.gpg] https://docker.example/linux/debian bookworm stable\n\
         deb [arch=amd64] http://own.example/remote bookworm main contrib # ours\n",
    );
    assert_eq!(sources.len(), 2);
    assert_eq!(
        choose(&sources, "bookworm"),
        mirror("http://own.example/remote", "http://own.example/remote")
    );
}

#[test]
fn derives_the_security_mirror() {
    let sources = parse_lines("deb http://a.example/debian stable main\n");
    assert_eq!(
        choose(&sources, "trixie"),
        mirror("http://a.example/debian", "http://a.example/debian-security")
    );
}

#[test]
fn takes_no_foreign_source_for_debian() {
    let sources = parse_lines("deb https://deb.example/node_20.x nodistro main\n");
    assert_eq!(choose(&sources, "bookworm"), None);
}
