//! SHA-256 as FIPS 180-4 words it: what the tables of each path and the fixed parts of a header are made of.

/// Initial state (section 5.3.3).
pub(crate) const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A constant for each round (section 4.2.2).
#[rustfmt::skip]
pub(crate) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The bit that follows a message, as a word.
pub(crate) const END_OF_MESSAGE: u32 = 0x8000_0000;
/// Bits of a header: the last word of its second block.
pub(crate) const HEADER_BITS: u32 = 640;
/// Bits of a hash: the last word of the block that is hashed second.
pub(crate) const HASH_BITS: u32 = 256;

/// σ0 of the message schedule.
pub(crate) const fn small0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3)
}

/// σ1 of the message schedule.
pub(crate) const fn small1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10)
}

/// Σ0 of a round.
pub(crate) const fn big0(x: u32) -> u32 {
    x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22)
}

/// Σ1 of a round.
pub(crate) const fn big1(x: u32) -> u32 {
    x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25)
}

/// Ch of a round.
pub(crate) const fn choose(x: u32, y: u32, z: u32) -> u32 {
    z ^ (x & (y ^ z))
}

/// Maj of a round.
pub(crate) const fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | (z & (x | y))
}

/// The state after one more round; `kw` is the round's constant plus its word of the message schedule.
pub(crate) const fn round([a, b, c, d, e, f, g, h]: [u32; 8], kw: u32) -> [u32; 8] {
    let first = h.wrapping_add(big1(e)).wrapping_add(choose(e, f, g)).wrapping_add(kw);
    let second = big0(a).wrapping_add(majority(a, b, c));
    [first.wrapping_add(second), a, b, c, d.wrapping_add(first), e, f, g]
}

/// What the first round of the second hash makes of a word that is zero. Both variable words of the state grow by
/// that word: `a` and `e`.
pub(crate) const SECOND_AFTER_ROUND_0: [u32; 8] = round(INITIAL, K[0]);

/// Round constants `K[T..T + 4]`, each plus a word that is the same for all nonces.
pub(crate) const fn constants<const T: usize>(words: [u32; 4]) -> [u32; 4] {
    [
        K[T].wrapping_add(words[0]),
        K[T + 1].wrapping_add(words[1]),
        K[T + 2].wrapping_add(words[2]),
        K[T + 3].wrapping_add(words[3]),
    ]
}
