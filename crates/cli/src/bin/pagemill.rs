//! The binary `pagemill`; see [`pagemill_cli::operator`].

#[tokio::main]
async fn main() -> std::process::ExitCode {
    pagemill_cli::operator::main().await
}
