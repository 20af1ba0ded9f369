//! The binary `pagemill-producer`; see [`pagemill_cli::producer`].

#[tokio::main]
async fn main() -> std::process::ExitCode {
    pagemill_cli::producer::main().await
}
