use super::plan::plan;
use super::{count, failures};
use crate::qemu::End;
use crate::tally::Tally;

fn names() -> Vec<String> {
    ["open::denies", "connect::allows", "boot_nobpf::refuses_to_start"].map(str::to_owned).into()
}

#[test]
fn sends_each_test_to_its_boot() {
    let plan = plan(&names(), &[]).expect("all boots are known");
    let boots: Vec<(&str, usize)> =
        plan.iter().map(|(boot, tests)| (boot.name, tests.len())).collect();
    assert_eq!(boots, [("default", 2), ("nobpf", 1)]);
}

#[test]
fn leaves_out_boots_without_a_wanted_test() {
    let plan = plan(&names(), &["refuses".to_owned()]).expect("all boots are known");
    assert_eq!(plan.len(), 1);
    assert_eq!(plan[0].1, ["boot_nobpf::refuses_to_start"]);
}

#[test]
fn refuses_tests_for_an_unknown_boot() {
    assert!(plan(&["boot_moon::x".to_owned()], &[]).is_err());
    assert!(plan(&["open::boot_is_a_name".to_owned()], &[]).is_ok());
}

#[test]
fn counts_what_a_dead_guest_left_open_as_failed() {
    let output = "test a ... ok\ntest b ... ok\ntest c ... ";
    let tally = count(output, 5, End::Crashed);
    assert_eq!(tally, Tally { passed: 2, failed: 3, ..Tally::default() });
}

#[test]
fn believes_a_status_more_than_a_summary() {
    let output = "test result: ok. 5 passed; 0 failed; 0 ignored";
    assert_eq!(count(output, 5, End::Status(0)).failed, 0);
    assert_eq!(count(output, 5, End::Crashed).failed, 1);
}

#[test]
fn keeps_the_last_words_of_tests_that_failed() {
    let many = "said\n".repeat(100);
    let output = format!(
        "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\n{many}\n\nfailures:\n    a\n\ntest result: FAILED. 0 passed"
    );
    let told = failures::told(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 60 + 1 + 2);
    assert_eq!(lines[0], "---- a stdout ----");
    assert_eq!(lines[60..], ["and 41 lines more", "failures:", "    a"]);
}

#[test]
fn keeps_which_tests_a_dead_guest_left_open() {
    let output = "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ";
    assert_eq!(failures::told(output), "test b ... FAILED\ntest c ...");
}
