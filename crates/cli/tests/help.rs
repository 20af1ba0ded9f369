//! The two binaries as they are built: also what has cargo build them for the system's tests.

use std::process::Command;

#[test]
fn help_explains_itself_and_names_the_exit_codes() {
    for (binary, words) in [
        (env!("CARGO_BIN_EXE_pagemill-producer"), &["--date", "--wait", "--pages", "3 incomplete"][..]),
        (env!("CARGO_BIN_EXE_pagemill-consumer"), &["--workers", "--until-idle", "SIGTERM"]),
    ] {
        let help = Command::new(binary).arg("--help").output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success());
        for word in words.iter().chain(&["--config", "Exit codes: 0 done", "4 unavailable"]) {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(word), "{word} is not in the help of {binary}: {text}");
        }
    }
}
