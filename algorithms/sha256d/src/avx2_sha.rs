//! AVX2 and the SHA instructions at once, fifty-six nonces at a time.
//!
//! Eight are hashed in vectors, and meanwhile forty-eight by the SHA unit, four side by side. The unit is the slower of
//! the two for what it does and leaves the processor's other units free half of the time.
//!
//! It is assembly since both must stay interleaved and share sixteen registers: a compiler orders instructions by what it
//! thinks of one stream. The program in `kernel/` writes it.

use std::arch::naked_asm;

use crate::{
    fips::{END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, K, SECOND_AFTER_ROUND_0, small0},
    header::Header,
    lanes::Stop,
    sha_ni,
};

/// Nonces of an iteration.
const NONCES: u64 = 56;
/// Of these the SHA unit's.
const SHA_NONCES: usize = 48;
/// Nonces that the SHA unit hashes side by side.
const WAYS: usize = 4;
/// A target of fewer leading zero bits is met so often that the scan would do little but stop.
const LEAST_ZERO_BITS: u32 = 12;
/// Words of a schedule, with those that are made though no round needs them.
const WORDS: usize = 79;

/// A word of each of eight nonces.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct Vector([u32; 8]);

impl Vector {
    const ZERO: Self = Self([0; 8]);

    fn splat(word: u32) -> Self {
        Self([word; 8])
    }
}

/// Four words, as the SHA unit takes them.
type Group = [u32; 4];

/// What the kernel works on, for one header: `kernel/avx2/layout.rs` says what each part is.
#[repr(C, align(64))]
pub(crate) struct Workspace {
    a: [Vector; 68],
    e: [Vector; 68],
    x: [Vector; 68],
    words: [[Vector; WORDS]; 2],
    k: [Vector; 64],
    start: [[Vector; 8]; 2],
    midstate: [Vector; 8],
    counting: Vector,
    w18: Vector,
    swap: Vector,
    initial_h: Vector,
    top: Vector,
    results: [u32; SHA_NONCES],
    messages: [[[Group; 16]; 2]; WAYS],
    sha_k: [[Group; 16]; 2],
    fixed: [[Group; 4]; 2],
    fixed_sums: [Group; 4],
    sha_start: [[Group; 2]; 2],
    sha_midstate: [Group; 2],
    nonce: u32,
}

/// `f e b a` and `h g d c`.
fn halves([a, b, c, d, e, f, g, h]: [u32; 8]) -> [Group; 2] {
    [[f, e, b, a], [h, g, d, c]]
}

/// Words in groups, as far as there are any; zeros after them.
fn groups<const GROUPS: usize>(words: &[u32]) -> [Group; GROUPS] {
    std::array::from_fn(|group| std::array::from_fn(|at| words.get(4 * group + at).copied().unwrap_or(0)))
}

/// Each word plus the constant of its round.
fn with_constants(words: &[u32; 17]) -> [u32; 17] {
    std::array::from_fn(|t| words[t].wrapping_add(K[t]))
}

impl Workspace {
    pub(crate) fn new(header: &Header) -> Self {
        let mut first = [0; 17];
        first[..3].copy_from_slice(&header.tail);
        (first[4], first[15]) = (END_OF_MESSAGE, HEADER_BITS);
        let mut second = [0; 17];
        (second[8], second[15]) = (END_OF_MESSAGE, HASH_BITS);
        let schedule = |words: [u32; 17]| -> [Vector; WORDS] {
            std::array::from_fn(|t| words.get(t).map_or(Vector::ZERO, |word| Vector::splat(*word)))
        };
        let mut words = [schedule(first), schedule(second)];
        (words[0][16], words[0][17]) = (Vector::splat(header.w16), Vector::splat(header.w17));
        // Of words 16 to 19, 20 to 23 and 28 to 31 of the first hash. In those between nothing is fixed but zeros.
        let fixed_sums = [
            [header.w16, header.w17, header.w18, header.w19],
            [END_OF_MESSAGE, 0, HEADER_BITS, header.w16],
            [0; 4],
            [0, 0, small0(HEADER_BITS), header.w31],
        ];
        Self {
            a: [Vector::ZERO; 68],
            e: [Vector::ZERO; 68],
            x: [Vector::ZERO; 68],
            words,
            k: K.map(Vector::splat),
            start: [header.after_round_3.map(Vector::splat), SECOND_AFTER_ROUND_0.map(Vector::splat)],
            midstate: header.midstate.map(Vector::splat),
            counting: Vector([0, 1, 2, 3, 4, 5, 6, 7]),
            w18: Vector::splat(header.w18),
            swap: Vector([
                0x0001_0203,
                0x0405_0607,
                0x0809_0a0b,
                0x0c0d_0e0f,
                0x0001_0203,
                0x0405_0607,
                0x0809_0a0b,
                0x0c0d_0e0f,
            ]),
            initial_h: Vector::splat(INITIAL[7]),
            top: Vector::ZERO,
            results: [0; SHA_NONCES],
            messages: [[groups(&first), groups(&second[1..])]; WAYS],
            sha_k: [groups(&K), groups(&K[1..])],
            fixed: [groups(&with_constants(&first)), groups(&with_constants(&second)[1..])],
            fixed_sums,
            sha_start: [halves(header.after_round_3), halves(SECOND_AFTER_ROUND_0)],
            sha_midstate: halves(header.midstate),
            nonce: 0,
        }
    }
}

/// Scans `iterations` times fifty-six nonces, up to the first of these of which some may meet the target. Returns the
/// iterations that are left, the one that it stopped at among them.
///
/// # Safety
///
/// The processor must have AVX2, SSE4.1 and the SHA instructions; `iterations` must not be zero.
#[unsafe(naked)]
#[allow(unsafe_code)]
unsafe extern "sysv64" fn scan(workspace: &mut Workspace, iterations: u64) -> u64 {
    naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx2_sha.s")), options(raw))
}

/// Scans at least `count` nonces from `first` on, in whole batches of the SHA unit, up to the first batch that may hold
/// a finding: one whose top word is not above `top`. The workspace is that of the header.
#[target_feature(enable = "avx2,avx,sha,sse2,ssse3,sse4.1")]
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
        return sha_ni::find(header, first, count, top);
    }
    (workspace.nonce, workspace.top) = (first, Vector::splat(top));
    // SAFETY: `find` has the features that are asked for, and there are iterations.
    let left = unsafe { scan(workspace, iterations) };
    // Which of the fifty-six it was the SHA unit alone finds out, and it scans what is less than fifty-six.
    let before = (iterations - left) * NONCES;
    let rest = sha_ni::find(header, first.wrapping_add(before as u32), count - before, top)?;
    Some(Stop { before: before + rest.before, candidates: rest.candidates })
}

#[cfg(test)]
#[path = "../kernel/avx2/layout.rs"]
#[allow(dead_code)]
mod layout;

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn a_search_holds_no_more_than_the_descriptor_says() {
        assert!(size_of::<Workspace>() as u64 + 1_024 < crate::SEARCH_BYTES);
    }

    #[test]
    fn the_workspace_lies_as_the_kernel_expects_it() {
        assert_eq!(NONCES as usize, layout::LANES + layout::TURNS * layout::WAYS);
        assert_eq!([SHA_NONCES, WAYS], [layout::TURNS * layout::WAYS, layout::WAYS]);
        assert_eq!(size_of::<Vector>(), layout::VECTOR);
        assert_eq!(offset_of!(Workspace, a), layout::A);
        assert_eq!(offset_of!(Workspace, e), layout::E);
        assert_eq!(offset_of!(Workspace, x), layout::X);
        let each = |offset: usize, size: usize| [offset, offset + size];
        assert_eq!(each(offset_of!(Workspace, words), size_of::<[Vector; WORDS]>()), layout::W);
        assert_eq!(offset_of!(Workspace, k), layout::K);
        assert_eq!(each(offset_of!(Workspace, start), size_of::<[Vector; 8]>()), layout::START);
        assert_eq!(offset_of!(Workspace, midstate), layout::MIDSTATE);
        assert_eq!(offset_of!(Workspace, counting), layout::COUNTING);
        assert_eq!(offset_of!(Workspace, w18), layout::W18);
        assert_eq!(offset_of!(Workspace, swap), layout::SWAP);
        assert_eq!(offset_of!(Workspace, initial_h), layout::INITIAL_H);
        assert_eq!(offset_of!(Workspace, top), layout::TOP);
        assert_eq!(offset_of!(Workspace, results), layout::RESULTS);
        assert_eq!(offset_of!(Workspace, messages), layout::MESSAGES);
        assert_eq!(size_of::<[Group; 16]>(), layout::MESSAGE);
        assert_eq!(each(offset_of!(Workspace, sha_k), size_of::<[Group; 16]>()), layout::SHA_K);
        assert_eq!(each(offset_of!(Workspace, fixed), size_of::<[Group; 4]>()), layout::FIXED);
        assert_eq!(offset_of!(Workspace, fixed_sums), layout::FIXED_SUMS);
        assert_eq!(each(offset_of!(Workspace, sha_start), size_of::<[Group; 2]>()), layout::SHA_START);
        assert_eq!(offset_of!(Workspace, sha_midstate), layout::SHA_MIDSTATE);
        assert_eq!(offset_of!(Workspace, nonce), layout::NONCE);
    }
}
