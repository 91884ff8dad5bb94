//! AVX-512 and the SHA instructions at once, forty-eight nonces at a time.
//!
//! Thirty-two are hashed in vectors as in `avx512.rs`. Of the other sixteen the message schedules are made in vectors
//! too, which is the smaller part of a hash; the SHA unit does the rounds, which it does for a fraction of what they
//! cost in vectors, but slowly. Both streams of instructions do not wait for each other, so they run in one another's
//! gaps.
//!
//! It is assembly because of one thing that a compiler cannot be told: a SHA instruction takes a hundred cycles on
//! some processors while the upper part of one of the lower sixteen vector registers is in use. So the vectors stand
//! in the upper sixteen only, and a message schedule in memory. The program in `kernel/` writes it.

use std::arch::naked_asm;

use crate::{
    avx512,
    fips::{self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, K, SECOND_AFTER_ROUND_0},
    header::Header,
    lanes::Stop,
};

/// Nonces of an iteration.
const NONCES: u64 = 48;
/// A target of fewer leading zero bits is met so often that the scan would do little but stop.
const LEAST_ZERO_BITS: u32 = 12;
/// Pairs of rounds that the SHA unit does for a hash.
const PAIRS: usize = 31;

/// What the SHA unit reads of sixteen nonces.
#[repr(C, align(64))]
struct Message {
    /// `f e b a` and `h g d c` before the first round.
    state: [[u32; 4]; 2],
    /// For each two rounds their constants plus their words of the schedule.
    pairs: Pairs,
}

#[repr(C, align(64))]
struct Pairs([[[u32; 2]; 16]; PAIRS]);

/// What the kernel works on, for one header: `kernel/avx512/layout.rs` says what each part is.
#[repr(C, align(64))]
pub(crate) struct Workspace {
    words: [[[u32; 16]; 16]; 2],
    messages: [Message; 2],
    rows: [[u32; 16]; 8],
    counting: [u32; 16],
    k: [u32; 64],
    fixed: [[u32; 64]; 2],
    start: [[u32; 8]; 2],
    midstate: [u32; 8],
    initial_h: u32,
    top: u32,
    nonce: u32,
    every_other_byte: u32,
    w16: [u32; 2],
}

/// What is the same for all nonces in each round, of a message whose words are given where they are: the constant plus
/// the word, or, of a word that is not the same, the fixed part of its sum.
fn fixed_parts(given: [Option<u32>; 16]) -> [u32; 64] {
    let mut words = [None; 64];
    words[..16].copy_from_slice(&given);
    let mut fixed = [0; 64];
    for t in 0..64 {
        if t >= 16 {
            let [older, old] = [words[t - 16], words[t - 15].map(fips::small0)];
            let parts = [older, old, words[t - 7], words[t - 2].map(fips::small1)];
            fixed[t] = parts.iter().flatten().fold(0, |sum: u32, part| sum.wrapping_add(*part));
            words[t] = parts.iter().all(Option::is_some).then_some(fixed[t]);
        }
        if let Some(word) = words[t] {
            fixed[t] = K[t].wrapping_add(word);
        }
    }
    fixed
}

impl Message {
    /// With the pairs in it that are the same for all nonces; `fixed` begins with the first round.
    fn new([a, b, c, d, e, f, g, h]: [u32; 8], fixed: &[u32]) -> Self {
        let mut pairs = [[[0; 2]; 16]; PAIRS];
        for (pair, of) in pairs.iter_mut().zip(fixed.chunks_exact(2)) {
            *pair = [[of[0], of[1]]; 16];
        }
        Self { state: [[f, e, b, a], [h, g, d, c]], pairs: Pairs(pairs) }
    }
}

impl Workspace {
    pub(crate) fn new(header: &Header) -> Self {
        let mut words = [Some(0); 16];
        words[..3].copy_from_slice(&header.tail.map(Some));
        words[3] = None;
        words[4] = Some(END_OF_MESSAGE);
        words[15] = Some(HEADER_BITS);
        let first_hash = fixed_parts(words);
        let mut words = [Some(0); 16];
        words[..8].fill(None);
        words[8] = Some(END_OF_MESSAGE);
        words[15] = Some(HASH_BITS);
        let second_hash = fixed_parts(words);
        let after_round_1 = fips::round(fips::round(header.midstate, first_hash[0]), first_hash[1]);
        Self {
            words: [[[0; 16]; 16]; 2],
            messages: [Message::new(after_round_1, &first_hash[2..]), Message::new(INITIAL, &second_hash)],
            rows: [[0; 16]; 8],
            counting: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            k: K,
            fixed: [first_hash, second_hash],
            start: [header.after_round_3, SECOND_AFTER_ROUND_0],
            midstate: header.midstate,
            initial_h: INITIAL[7],
            top: 0,
            nonce: 0,
            every_other_byte: 0x00ff_00ff,
            w16: [header.w16, header.w17],
        }
    }
}

/// Scans `iterations` times forty-eight nonces, up to the first of these of which some may meet the target. Returns the
/// iterations that are left, the one that it stopped at among them.
///
/// # Safety
///
/// The processor must have AVX-512F, AVX and the SHA instructions; `iterations` must not be zero.
#[unsafe(naked)]
#[allow(unsafe_code)]
unsafe extern "sysv64" fn scan(workspace: &mut Workspace, iterations: u64) -> u64 {
    naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx512_sha.s")), options(raw))
}

/// Scans at least `count` nonces from `first` on, in whole batches of AVX-512, up to the first batch that may hold a
/// finding: one whose top word is not above `top`. The workspace is that of the header.
#[target_feature(enable = "avx512f,avx,sha")]
#[allow(unsafe_code)]
pub(crate) fn find(
    header: &Header,
    workspace: &mut Workspace,
    first: u32,
    count: u64,
    top: u32,
) -> Option<Stop> {
    let iterations = count / NONCES;
    if iterations == 0 || top > u32::MAX >> LEAST_ZERO_BITS {
        return avx512::find(header, first, count, top);
    }
    (workspace.nonce, workspace.top) = (first, top);
    // SAFETY: `find` has the features that are asked for, and there are iterations.
    let left = unsafe { scan(workspace, iterations) };
    // Which of the forty-eight it was AVX-512 alone finds out, and it scans what is less than forty-eight.
    let before = (iterations - left) * NONCES;
    let rest = avx512::find(header, first.wrapping_add(before as u32), count - before, top)?;
    Some(Stop { before: before + rest.before, candidates: rest.candidates })
}

#[cfg(test)]
#[path = "../kernel/avx512/layout.rs"]
#[allow(dead_code)]
mod layout;

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn the_workspace_lies_as_the_kernel_expects_it() {
        assert_eq!(offset_of!(Workspace, words), layout::OWN_WORDS);
        assert_eq!(offset_of!(Workspace, words) + size_of::<[[u32; 16]; 16]>(), layout::OTHER_WORDS);
        assert_eq!(offset_of!(Workspace, messages), layout::FIRST);
        assert_eq!(offset_of!(Workspace, messages) + size_of::<Message>(), layout::SECOND);
        assert_eq!(offset_of!(Message, state), layout::STATE);
        assert_eq!(offset_of!(Message, pairs), layout::PAIRS);
        assert_eq!(size_of::<Pairs>(), layout::PAIR_COUNT * layout::PAIR_LEN);
        assert_eq!(offset_of!(Workspace, rows), layout::ROWS);
        assert_eq!(offset_of!(Workspace, counting), layout::COUNTING);
        assert_eq!(offset_of!(Workspace, k), layout::TABLES + layout::K);
        let fixed = offset_of!(Workspace, fixed);
        assert_eq!([fixed, fixed + 256], layout::FIXED.map(|at| layout::TABLES + at));
        let start = offset_of!(Workspace, start);
        assert_eq!([start, start + 32], layout::START.map(|at| layout::TABLES + at));
        assert_eq!(offset_of!(Workspace, midstate), layout::TABLES + layout::MIDSTATE);
        assert_eq!(offset_of!(Workspace, initial_h), layout::TABLES + layout::INITIAL_H);
        assert_eq!(offset_of!(Workspace, top), layout::TABLES + layout::TOP);
        assert_eq!(offset_of!(Workspace, nonce), layout::TABLES + layout::NONCE);
        assert_eq!(offset_of!(Workspace, every_other_byte), layout::TABLES + layout::EVERY_OTHER_BYTE);
        assert_eq!(offset_of!(Workspace, w16), layout::TABLES + layout::W16);
    }
}
