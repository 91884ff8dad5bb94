//! Where everything stands in the workspace, in bytes, as `Workspace` in `src/avx2_sha.rs` lays it out. A test there
//! holds both against each other.

/// Nonces of a vector.
pub const LANES: usize = 8;
/// Bytes of a vector.
pub const VECTOR: usize = 32;
/// Bytes of what the SHA unit takes at once: four words.
pub const GROUP: usize = 16;
/// Nonces that the SHA unit hashes side by side: enough that it never waits.
pub const WAYS: usize = 4;
/// Rounds of vectors beside which the SHA unit hashes that many nonces twice.
pub const ROUNDS: usize = 10;
/// Rounds of each hash that are done in vectors.
pub const VECTOR_ROUNDS: usize = 60;
/// Times that the SHA unit hashes [`WAYS`] nonces in an iteration.
pub const TURNS: usize = 2 * VECTOR_ROUNDS / ROUNDS;
/// Words of a schedule, with those that are made though no round needs them.
pub const WORDS: usize = 64 + 15;

/// Words `a` after each round, from the fourth before round 0 on.
pub const A: usize = 0;
/// Words `e` likewise.
pub const E: usize = A + 68 * VECTOR;
/// Of each word `a` and the one before the exclusive or.
pub const X: usize = E + 68 * VECTOR;
/// The message schedules of both hashes.
pub const W: [usize; 2] = [X + 68 * VECTOR, X + 68 * VECTOR + WORDS * VECTOR];
/// The constants of the rounds.
pub const K: usize = W[1] + WORDS * VECTOR;
/// `a b c d` and `e f g h` before the first round of each hash that differs between nonces.
pub const START: [usize; 2] = [K + 64 * VECTOR, K + 72 * VECTOR];
/// State after the header's first block.
pub const MIDSTATE: usize = START[1] + 8 * VECTOR;
/// The numbers from 0 on.
pub const COUNTING: usize = MIDSTATE + 8 * VECTOR;
/// The part of word 18 of the first hash that is the same for all nonces.
pub const W18: usize = COUNTING + VECTOR;
/// An order of bytes that turns each word round.
pub const SWAP: usize = W18 + VECTOR;
/// `h` of the initial state.
pub const INITIAL_H: usize = SWAP + VECTOR;
/// Limit of a top word.
pub const TOP: usize = INITIAL_H + VECTOR;
/// `e` of round 60 of the second hash, of each nonce of the SHA unit.
pub const RESULTS: usize = TOP + VECTOR;

/// What the SHA unit schedules, four words after the other: of each way the first and the second hash. The first begins
/// with word 0, the second with word 1.
pub const MESSAGES: usize = RESULTS + TURNS * WAYS * 4;
/// Bytes of a message.
pub const MESSAGE: usize = 16 * GROUP;
/// Constants of the rounds as the groups of both hashes have them.
pub const SHA_K: [usize; 2] = [MESSAGES + 2 * WAYS * MESSAGE, MESSAGES + (2 * WAYS + 1) * MESSAGE];
/// Of the first four groups the same plus the words, where these are the same for all nonces.
pub const FIXED: [usize; 2] = [SHA_K[1] + MESSAGE, SHA_K[1] + MESSAGE + 4 * GROUP];
/// What is the same for all nonces in groups 4 to 7 of the first hash.
pub const FIXED_SUMS: usize = FIXED[1] + 4 * GROUP;
/// `f e b a` and `h g d c` before the first round of each hash, and after the header's first block.
pub const SHA_START: [usize; 2] = [FIXED_SUMS + 4 * GROUP, FIXED_SUMS + 6 * GROUP];
pub const SHA_MIDSTATE: usize = SHA_START[1] + 2 * GROUP;
/// The next nonce.
pub const NONCE: usize = SHA_MIDSTATE + 2 * GROUP;

/// An operand of the workspace.
pub fn at(place: usize) -> String {
    format!("[rdi + {place}]")
}
