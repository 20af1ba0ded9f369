//! Response bodies, as the ledger keeps them.

use std::cell::RefCell;

use zstd::{bulk::Compressor, zstd_safe::CParameter};

/// Level 1: an eighth of the size, at less than half of what fetching and decoding cost.
const LEVEL: i32 = 1;

/// What compressing needs again for each body. A thread keeps its own.
struct Press {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

/// Room kept for the next body; the rare larger ones get their own.
const KEPT: usize = 256 << 10;

/// What repeats in a body are keys and whole beginnings of rows: long matches, a row or a few away. Looking
/// for nothing shorter, in a table that stays in the nearest cache, is quicker and finds more.
const TUNED: [CParameter; 2] = [CParameter::MinMatch(7), CParameter::HashLog(12)];

thread_local! {
    static PRESS: RefCell<Press> = RefCell::new(Press::new());
}

impl Press {
    fn new() -> Self {
        let mut compressor = Compressor::new(LEVEL).expect("the level is one of zstd's");
        TUNED.into_iter().for_each(|tuned| compressor.set_parameter(tuned).expect("within zstd's bounds"));
        Self { compressor, room: Vec::new() }
    }
}

/// Compresses a response's body (zstd).
pub fn compress(body: &[u8]) -> Vec<u8> {
    PRESS.with_borrow_mut(|Press { compressor, room }| {
        room.reserve(zstd::zstd_safe::compress_bound(body.len()));
        compressor.compress_to_buffer(body, room).expect("compressing memory to memory cannot fail");
        let compressed = room.clone();
        room.clear();
        room.shrink_to(KEPT);
        compressed
    })
}

/// The body as it came.
///
/// # Errors
/// If the bytes are not what [`compress`] made.
pub fn decompress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::stream::decode_all(body)
}
