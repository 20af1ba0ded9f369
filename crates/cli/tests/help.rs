//! The three binaries as they are built: also what has cargo build them for the system's tests.

use std::process::{Command, Stdio};

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

/// As in `pagemill completions bash | head`: more than a pipe holds, and a reader that is gone.
#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    for args in [&["sources", "list"][..], &["sources", "schema"], &["completions", "bash"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagemill"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = command.args(args).stdout(Stdio::from(writer)).stderr(Stdio::piped()).output().unwrap();
        assert!(ended.status.success(), "{args:?}: {:?}", ended.status);
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "", "{args:?}");
    }
}
