//! BLAKE3's compression function (its specification, section 2.2) for several messages at once.

use crate::words::Words;

/// Words of a block.
pub(crate) const BLOCK_WORDS: usize = 16;
/// Words of a chaining value, and of a hash.
pub(crate) const CHAIN_WORDS: usize = 8;
/// Rounds.
const ROUNDS: usize = 7;

/// Flag: the first block of a chunk.
pub(crate) const CHUNK_START: u32 = 1 << 0;
/// Flag: the last block of a chunk.
pub(crate) const CHUNK_END: u32 = 1 << 1;
/// Flag: what comes out is the hash.
pub(crate) const ROOT: u32 = 1 << 3;

/// What BLAKE3 starts with.
pub(crate) const INITIAL: [u32; CHAIN_WORDS] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Where each word of a block comes from in the block of the round before.
const PERMUTATION: [usize; BLOCK_WORDS] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/// Which word of the message each round takes at which place.
const ORDERS: [[usize; BLOCK_WORDS]; ROUNDS] = {
    let mut orders = [[0; BLOCK_WORDS]; ROUNDS];
    let mut at = 0;
    while at < ROUNDS * BLOCK_WORDS {
        let (round, i) = (at / BLOCK_WORDS, at % BLOCK_WORDS);
        orders[round][i] = if round == 0 { i } else { orders[round - 1][PERMUTATION[i]] };
        at += 1;
    }
    orders
};

/// The first half of what comes out of compressing a block of each message, all with the same chaining value. The
/// block is one of the first chunk and holds `len` bytes.
#[inline(always)]
pub(crate) fn compress<W: Words>(
    chain: &[u32; CHAIN_WORDS],
    block: &[W; BLOCK_WORDS],
    len: u32,
    flags: u32,
) -> [W; CHAIN_WORDS] {
    let [a, b, c, d, e, f, g, h] = *chain;
    let [i, j, k, l, ..] = INITIAL;
    // The two zeros are the number of the chunk.
    let words = [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, len, flags];
    let mut v = [W::of_all(0); 16];
    for (state, word) in v.iter_mut().zip(words) {
        *state = W::of_all(word);
    }
    round::<W, 0>(&mut v, block);
    round::<W, 1>(&mut v, block);
    round::<W, 2>(&mut v, block);
    round::<W, 3>(&mut v, block);
    round::<W, 4>(&mut v, block);
    round::<W, 5>(&mut v, block);
    round::<W, 6>(&mut v, block);
    let mut out = [W::of_all(0); CHAIN_WORDS];
    for (i, out) in out.iter_mut().enumerate() {
        *out = v[i].xor(v[i + CHAIN_WORDS]);
    }
    out
}

/// Round number `ROUND`: the columns, then the diagonals.
#[inline(always)]
fn round<W: Words, const ROUND: usize>(v: &mut [W; 16], block: &[W; BLOCK_WORDS]) {
    let order = const { ORDERS[ROUND] };
    mix(v, [0, 4, 8, 12], block[order[0]], block[order[1]]);
    mix(v, [1, 5, 9, 13], block[order[2]], block[order[3]]);
    mix(v, [2, 6, 10, 14], block[order[4]], block[order[5]]);
    mix(v, [3, 7, 11, 15], block[order[6]], block[order[7]]);
    mix(v, [0, 5, 10, 15], block[order[8]], block[order[9]]);
    mix(v, [1, 6, 11, 12], block[order[10]], block[order[11]]);
    mix(v, [2, 7, 8, 13], block[order[12]], block[order[13]]);
    mix(v, [3, 4, 9, 14], block[order[14]], block[order[15]]);
}

/// The quarter-round G.
#[inline(always)]
fn mix<W: Words>(v: &mut [W; 16], [a, b, c, d]: [usize; 4], x: W, y: W) {
    v[a] = v[a].add(v[b]).add(x);
    v[d] = v[d].xor(v[a]).rotate::<16, 16>();
    v[c] = v[c].add(v[d]);
    v[b] = v[b].xor(v[c]).rotate::<12, 20>();
    v[a] = v[a].add(v[b]).add(y);
    v[d] = v[d].xor(v[a]).rotate::<8, 24>();
    v[c] = v[c].add(v[d]);
    v[b] = v[b].xor(v[c]).rotate::<7, 25>();
}
