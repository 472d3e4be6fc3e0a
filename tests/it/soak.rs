//! The long runs, cut short: the same programs, for seconds. `make soak` and `make fuzz` are the long ones.

use std::process::Command;

fn succeeds(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("a program that was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}\n{said}{complained}", output.status);
}

#[test]
fn sessions_and_faults_leave_a_server_as_it_was() {
    succeeds(env!("CARGO_BIN_EXE_soak"), &["--quick"]);
}

#[test]
fn nothing_a_client_may_send_makes_a_parser_panic_linger_or_swell() {
    succeeds(env!("CARGO_BIN_EXE_fuzz"), &["--seconds", "2.5"]);
}
