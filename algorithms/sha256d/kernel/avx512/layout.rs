//! Where everything stands in the workspace, in bytes, as `Workspace` in `src/avx512_sha.rs` lays it out. A test there
//! holds both against each other.

/// Nonces of a vector.
pub const LANES: usize = 16;
/// Bytes of a vector.
pub const VECTOR: usize = 64;

/// Sixteen words of a message schedule, a vector each: of the nonces that are hashed in vectors.
pub const OWN_WORDS: usize = 0;
/// The same of those whose rounds the SHA unit does.
pub const OTHER_WORDS: usize = OWN_WORDS + 16 * VECTOR;
/// What the SHA unit reads for the first hash.
pub const FIRST: usize = OTHER_WORDS + 16 * VECTOR;
/// For the second.
pub const SECOND: usize = FIRST + MESSAGE_LEN;
/// What it makes: `f e b a` of each nonce, then `h g d c`.
pub const ROWS: usize = SECOND + MESSAGE_LEN;
/// The numbers from 0 on.
pub const COUNTING: usize = ROWS + 8 * VECTOR;
/// What is read a word at a time.
pub const TABLES: usize = COUNTING + VECTOR;

/// In a message: `f e b a` and `h g d c` before its first round.
pub const STATE: usize = 0;
/// In a message: for each two rounds, for each nonce, two constants plus their words of the schedule.
pub const PAIRS: usize = VECTOR;
/// Rounds 2 to 63 of the first hash, 0 to 61 of the second.
pub const PAIR_COUNT: usize = 31;
/// Bytes of a pair of all nonces.
pub const PAIR_LEN: usize = 2 * VECTOR;
/// Bytes of a message.
pub const MESSAGE_LEN: usize = PAIRS + PAIR_COUNT * PAIR_LEN;

// In the tables:

/// The constants of the rounds.
pub const K: usize = 0;
/// What is fixed in each round of the first and of the second hash.
pub const FIXED: [usize; 2] = [256, 512];
/// State before the first round of each hash that differs between nonces.
pub const START: [usize; 2] = [768, 800];
/// State after the header's first block.
pub const MIDSTATE: usize = 832;
/// `h` of the initial state.
pub const INITIAL_H: usize = 864;
/// Limit of a top word.
pub const TOP: usize = 868;
/// The next nonce.
pub const NONCE: usize = 872;
/// Where a swap of bytes takes the bytes of one rotation, and where those of another.
pub const EVERY_OTHER_BYTE: usize = 876;
/// Words 16 and 17 of the first hash.
pub const W16: usize = 880;

/// Where `rdi` and `rdx` point: most operands are within reach of a displacement of one byte then.
pub const MIDDLE: usize = 4096;
pub const TABLES_MIDDLE: usize = 448;

/// A displacement from `rdi`.
pub fn from_middle(at: usize) -> isize {
    at as isize - MIDDLE as isize
}

/// An operand that is a vector of the workspace.
pub fn vector(at: usize) -> String {
    format!("zmmword ptr [rdi + {}]", from_middle(at))
}

/// An operand that is a word of the tables.
pub fn one_word(at: usize) -> String {
    format!("dword ptr [rdx + {}]", at as isize - TABLES_MIDDLE as isize)
}

/// The same in all lanes.
pub fn word(at: usize) -> String {
    one_word(at) + "{1to16}"
}

/// Where a nonce stands in a pair: where unpacking two vectors leaves it.
pub fn place_in_pair(lane: usize) -> usize {
    lane % 4 / 2 * VECTOR + lane / 4 * 16 + lane % 2 * 8
}
