//! Clients of databases, each with the one server that it is granted.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use agentid_tests::harness::{Daemon, Scene, scene::USERS};
use anyhow::Result;

use super::{
    super::{Servers, done},
    Site, answers, does, fails, shipped,
};

/// What Debian's package has made.
const CLUSTER: &str = "/var/lib/postgresql/17/main";
const CONFIGURATION: &str = "config_file=/etc/postgresql/17/main/postgresql.conf";
const SOCKETS: &str = "/run/postgresql";
const PARAMS: [&str; 2] = ["results", "data"];

/// The policy as it ships, and a copy for another server, made as its last rule says.
fn policies() -> Result<Scene> {
    let postgres = shipped("data-query")?;
    let redis = postgres.split("[[expect]]").next().unwrap_or_default();
    let redis = redis.replace("\"data-query\"", "\"data-redis\"");
    let redis = redis.replace("127.0.0.1:5432", "127.0.0.1:6379");
    Scene::with(&[("data-query", &postgres), ("data-redis", &redis)])
}

/// Both at two addresses, the second of which no policy grants.
fn start(servers: &mut Servers) -> Result<()> {
    let owner = fs::metadata(CLUSTER)?;
    fs::create_dir_all(SOCKETS)?;
    chown(SOCKETS, Some(owner.uid()), Some(owner.gid()))?;
    fs::set_permissions(&servers.folder, fs::Permissions::from_mode(0o755))?;
    let access = servers.folder.join("access");
    fs::write(&access, "local all all trust\nhost all all 127.0.0.0/8 trust\n")?;
    let access = format!("hba_file={}", access.display());
    let mut postgres = vec!["-D", CLUSTER];
    for setting in
        [CONFIGURATION, &access, "listen_addresses=127.0.0.1,127.1.0.1", "ssl=off", "fsync=off"]
    {
        postgres.extend(["-c", setting]);
    }
    servers.spawn_as(&owner, "/usr/lib/postgresql/17/bin/postgres", &postgres)?;
    servers.spawn("redis-server", &["--bind", "127.0.0.1", "127.1.0.1", "--save", ""])?;
    let here = Path::new("/");
    answers("redis-cli", &["-h", "127.1.0.1", "set", "answer", "42"], "OK", here)?;
    let ask = ["-h", "127.1.0.1", "-U", "postgres", "-Atc", "select 'up'"];
    answers("/usr/lib/postgresql/17/bin/psql", &ask, "up", here)
}

/// P2: psql, redis-cli and sqlite ask what they are granted, write what it says where they may, and reach no other server,
/// not even the same one at another of its addresses.
#[test]
fn clients_ask_their_one_server_under_data_query() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut servers = Servers::none(folder.path());
    start(&mut servers)?;
    let daemon = Daemon::start_in(policies()?)?;
    for uid in USERS {
        let site = Site::of(&daemon, "data-query", &PARAMS, uid)?;
        site.leave("data/answer.sql", "select 6*7;\n")?;
        let history = site.folder("data/history");
        done(
            Command::new("sqlite3")
                .arg(&history)
                .arg("create table t(a); insert into t values(42);"),
        )?;
        site.works(&[
            does(
                "psql -h 127.0.0.1 -U postgres -At -f $DATA/answer.sql -o answer && cat answer",
                "42\n",
                &[],
            ),
            does(
                "sqlite3 -readonly $DATA/history 'select a from t' | sort > answer && cat answer",
                "42\n",
                &[],
            ),
            fails(
                "psql -h 127.1.0.1 -U postgres -c 'select 1'",
                "Permission denied",
                &["peer 127.1.0.1:5432"],
            ),
            fails(
                "psql -h /run/postgresql -U postgres -c 'select 1'",
                "Permission denied",
                &["connect /run/postgresql/.s.PGSQL.5432"],
            ),
            fails(
                "redis-cli -h 127.0.0.1 get answer",
                "Permission denied",
                &["peer 127.0.0.1:6379"],
            ),
            fails(
                "echo 'select 1;' > $DATA/answer.sql",
                "Permission denied",
                &["write ~/data/answer.sql"],
            ),
            fails("curl http://127.0.0.1:5432", "Permission denied", &["exec /usr/bin/curl"]),
        ])?;
        let site = Site::of(&daemon, "data-redis", &PARAMS, uid)?;
        site.works(&[
            does("redis-cli -h 127.0.0.1 get answer > answer && cat answer", "42\n", &[]),
            fails(
                "redis-cli -h 127.1.0.1 get answer",
                "Permission denied",
                &["peer 127.1.0.1:6379"],
            ),
        ])?;
    }
    Ok(())
}
