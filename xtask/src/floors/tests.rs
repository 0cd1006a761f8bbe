use std::path::Path;

use super::{check_file, imports};

fn faults(file: &str, text: &str) -> Vec<String> {
    check_file(Path::new(file), text)
}

#[test]
fn allows_what_points_down() {
    assert_eq!(faults("policy/validate.rs", "use crate::policy::document::Document;"), [""; 0]);
    assert_eq!(faults("image/compile.rs", "use crate::{policy::Policy, instance};"), [""; 0]);
    assert_eq!(faults("kernel/apply.rs", "use crate::image::MapOp; use aya::maps;"), [""; 0]);
    assert_eq!(faults("supervisor/run.rs", "use crate::kernel; use super::step::step;"), [""; 0]);
    assert_eq!(faults("bin/agentidd.rs", "use crate::kernel;"), [""; 0]);
    assert_eq!(
        faults("event/mod.rs", "pub use self::x; pub use crate::event::export::E;"),
        [""; 0]
    );
}

#[test]
fn reports_what_points_up() {
    let found = faults("image/compile.rs", "use crate::{policy::Policy, kernel::{links, apply}};");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("kernel::links"));
    assert_eq!(faults("supervisor/step.rs", "fn x() { crate::kernel::apply() }").len(), 1);
    assert_eq!(faults("supervisor/step.rs", "use super::run::go;").len(), 1);
    assert_eq!(faults("event/decode.rs", "use super::export::Sink;").len(), 1);
    assert_eq!(faults("kernel/object.rs", "use crate::event::enrich;").len(), 1);
    assert_eq!(faults("policy/policy.rs", "use crate::instance::State;").len(), 1);
}

#[test]
fn keeps_aya_and_unsafe_where_they_belong() {
    assert_eq!(faults("event/decode.rs", "use aya::Pod;").len(), 1);
    assert_eq!(faults("event/decode.rs", "fn f() { unsafe { g() } }").len(), 1);
    assert_eq!(faults("control/caller.rs", "fn f() { unsafe { g() } }"), [""; 0]);
    assert_eq!(faults("event/decode.rs", "#![forbid(unsafe_code)]\n// aya, unsafe"), [""; 0]);
    assert_eq!(faults("event/decode.rs", "#[cfg(test)]\nmod tests { use aya::Pod; }"), [""; 0]);
}

#[test]
fn wants_a_floor_for_every_module() {
    assert!(faults("novel/mod.rs", "")[0].contains("no floor"));
    assert_eq!(faults("lib.rs", "pub mod novel;"), [""; 0]);
}

#[test]
fn reads_nested_lists() {
    let found = imports("use crate::{a::{b, c as d, e::*}, f};", &[], false);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c", "a::e", "f"]);
}
