mod crowd;
mod document;
mod places;
mod rate;
mod resume;
mod socket;

use super::{
    api::{ChangeRequest, Code, LaunchRequest, RevokeAllRequest, RevokeRequest, WhyRequest, parse},
    caller::{Ask, Standing},
    client::Lines,
    mappings,
};

fn standing(uid: u32, operator: bool, tagged: bool) -> Standing {
    Standing { uid, operator, tagged }
}

#[test]
fn a_tagged_task_may_only_ask_about_itself_even_as_root() {
    for uid in [0, 1000] {
        let caller = standing(uid, uid == 0, true);
        assert_eq!(caller.may(Ask::WhoAmI), Ok(()));
        for ask in [Ask::Own, Ask::Host, Ask::RunOf(uid), Ask::RunOf(7)] {
            assert_eq!(caller.may(ask).unwrap_err().code, Code::Tagged);
        }
        assert!(!caller.sees(uid));
        assert_eq!(caller.may(Ask::OwnDenials), Ok(()));
        assert_eq!(caller.may(Ask::Delegate), Ok(()));
    }
}

#[test]
fn a_user_launches_and_sees_its_own_runs_only() {
    let caller = standing(1000, false, false);
    assert_eq!(caller.may(Ask::Own), Ok(()));
    assert_eq!(caller.may(Ask::RunOf(1000)), Ok(()));
    for ask in [Ask::Delegate, Ask::Host] {
        assert_eq!(caller.may(ask).unwrap_err().code, Code::Forbidden);
    }
    assert_eq!(caller.may(Ask::RunOf(0)).unwrap_err().code, Code::Forbidden);
    assert!(caller.sees(1000) && !caller.sees(1001));
    assert_eq!(caller.limit(), Some(1000));
}

#[test]
fn an_operator_may_do_all() {
    let caller = standing(1000, true, false);
    for ask in [Ask::WhoAmI, Ask::Own, Ask::Host, Ask::RunOf(0), Ask::RunOf(7)] {
        assert_eq!(caller.may(ask), Ok(()));
    }
    // Who is in no run was denied nothing.
    assert_eq!(caller.may(Ask::OwnDenials).unwrap_err().code, Code::Forbidden);
    assert_eq!(caller.limit(), None);
}

#[test]
fn every_error_has_its_own_name_which_the_wire_shows() {
    let mut seen = std::collections::HashSet::new();
    for &code in Code::ALL {
        assert!(seen.insert(code.name()));
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        assert!((400..600).contains(&code.status()));
    }
}

#[test]
fn a_request_with_a_field_too_many_is_refused() {
    let text = r#"{"policy":"p","agent":"a","owner":"o","task":"t","user":0}"#;
    let error = serde_json::from_str::<LaunchRequest>(text).unwrap_err();
    assert!(error.to_string().contains("unknown field `user`"), "{error}");
    let text = r#"{"open":{"path":"/etc/passwd","want":["read"]}}"#;
    assert!(serde_json::from_str::<WhyRequest>(text).is_ok());
}

#[test]
fn what_is_written_otherwise_than_the_document_says_is_refused() {
    assert!(parse::<RevokeRequest>(br#"{"reason":null}"#).is_ok());
    assert!(parse::<RevokeRequest>(b"{}").is_ok());
    for list in [&b"[]"[..], br#"["for a reason"]"#] {
        assert!(parse::<RevokeRequest>(list).is_err());
    }
    assert!(parse::<RevokeAllRequest>(br#"{"select":{"all":true}}"#).is_ok());
    assert!(parse::<RevokeAllRequest>(br#"{"select":["0192f0c1"]}"#).is_err());
    let end = |protocol: &str| {
        let text = format!(r#"{{"connect":{{"address":"::1","port":1,"protocol":{protocol}}}}}"#);
        parse::<WhyRequest>(text.as_bytes())
    };
    assert!(end(r#""udp""#).is_ok());
    assert!(end(r#"{"udp":null}"#).is_err());
    assert!(parse::<WhyRequest>(br#"{"open":["/etc",["read"]]}"#).is_err());
}

#[test]
fn a_whole_number_is_an_integer_however_it_is_written() {
    let by = |number: &str| {
        let text = format!(r#"{{"select":{{"all":true}},"by_ms":{number}}}"#);
        parse::<ChangeRequest>(text.as_bytes()).map(|request| request.by_ms)
    };
    for five in ["5", "5.0", "5e0", "0.5e1"] {
        assert_eq!(by(five).unwrap(), Some(5), "{five}");
    }
    for other in ["5.5", "-1", "-1.0", "1.9e19", "18446744073709551616", "\"5\""] {
        assert!(by(other).is_err(), "{other}");
    }
}

#[test]
fn lines_come_out_whole_whatever_the_pieces() {
    let mut lines = Lines::default();
    assert!(lines.take(b"data: {").unwrap().is_empty());
    assert_eq!(lines.take(b"}\n\nda").unwrap(), [b"data: {}".to_vec(), Vec::new()]);
    assert_eq!(lines.take(b"ta: x\n").unwrap(), [b"data: x".to_vec()]);
}

#[test]
fn memory_that_is_shared_and_may_be_written_is_found_and_its_path_told_to_nobody() {
    let mapping = |permissions: &str, what: &str, flags: &str| {
        format!(
            "7f0000000000-7f0000001000 {permissions} 00000000 00:01 1030      {what}\n\
             Size:                  4 kB\nVmFlags: {flags}\n"
        )
    };
    let found = |all: &[String]| mappings::writable_of(&all.concat());
    let cache = mapping("r--s", "/usr/lib/gconv/gconv-modules.cache", "rd mr me ms sd");
    let private = mapping("rw-p", "/usr/bin/python3", "rd wr mr mw me ac sd");
    assert_eq!(found(&[]), None);
    assert_eq!(found(&[cache.clone(), private.clone()]), None);
    for (what, told) in [
        ("/home/dana/s: VmFlags: mw", "a file"),
        ("/memfd:name (deleted)", "memory"),
        ("/dev/zero (deleted)", "memory"),
        ("/SYSV00000000 (deleted)", "memory"),
        ("anon_inode:[perf_event]", "anon_inode:[perf_event]"),
    ] {
        for permissions in ["rw-s", "r--s", "---s"] {
            let shared = mapping(permissions, what, "rd sh mr mw me ms");
            assert!(shared.lines().any(|line| mappings::is_shared(line.as_bytes())));
            let all = [cache.clone(), shared, private.clone()];
            assert_eq!(found(&all).as_deref(), Some(told), "{permissions} {what}");
        }
    }
    assert!(!private.lines().any(|line| mappings::is_shared(line.as_bytes())));
    assert_eq!(
        mappings::tables("Name:\tVmPTE: 1 kB\nVmPTE:\t      52 kB\nVmSwap:\t 0 kB\n"),
        Some(52)
    );
    for other in ["", "VmPTE:\t kB\n", "VmPTE:\t52\n", "VmPTE:\t-1 kB\n"] {
        assert_eq!(mappings::tables(other), None, "{other}");
    }
}
