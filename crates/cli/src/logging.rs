//! Logs go to stderr: `PAGEMILL_LOG` filters them, `PAGEMILL_LOG_FORMAT=json` makes them machine-readable.

use tracing_subscriber::EnvFilter;

/// Sets logging up for a binary. `default` is used without `PAGEMILL_LOG`; the AMQP
/// library is silenced, since its supervisor reports each fault once.
pub(crate) fn init(default: &str) {
    let filter =
        std::env::var("PAGEMILL_LOG").unwrap_or_else(|_| format!("{default},lapin=off,async_rs=off"));
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new(default));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var("PAGEMILL_LOG_FORMAT").is_ok_and(|f| f == "json") {
        builder.json().init();
    } else {
        use std::io::IsTerminal;
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
