//! The binary `pagemill`; see [`pagemill_cli::pagemill`].

#[tokio::main]
async fn main() -> std::process::ExitCode {
    pagemill_cli::pagemill::main().await
}
