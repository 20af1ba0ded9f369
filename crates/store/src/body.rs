//! The raw answer, as the ledger keeps it.

/// Level 1: a fifth of the size at a cost that does not show beside the decoding.
const LEVEL: i32 = 1;

/// Compresses an answer's body (zstd).
pub fn compress(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, LEVEL).expect("compressing memory to memory cannot fail")
}

/// The body as it came.
///
/// # Errors
/// If the bytes are not what [`compress`] made.
pub fn decompress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::stream::decode_all(body)
}
