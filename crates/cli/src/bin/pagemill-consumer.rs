//! The binary `pagemill-consumer`; see [`pagemill_cli::consumer`].

#[tokio::main]
async fn main() -> std::process::ExitCode {
    pagemill_cli::consumer::main().await
}
