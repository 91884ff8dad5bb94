//! The scan in lanes: one nonce in each lane of a vector, the same round for all of them.
//!
//! Each path has vectors of its own and instructions of its own for what a round is made of, which stand in its
//! file. What is computed from them is the same and stands here, as a macro, because functions that use a feature
//! of the processor must name it, and a function that is generic over vectors cannot.

use crate::fips::K;

/// Where a scan stopped: at a batch of nonces of which some may meet the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Nonces before the batch.
    pub(crate) before: u64,
    /// Bit `n` stands for nonce `n` of the batch: its hash has a top word that is not above that of the target.
    pub(crate) candidates: u32,
}

/// The constants of the rounds as numbers that the compiler does not know. It would add a known number last, and the
/// next round would wait for that addition.
#[inline]
pub(crate) fn hidden_constants() -> &'static [u32; 64] {
    std::hint::black_box(&K)
}

/// Writes out its body once for each number.
macro_rules! each {
    ($t:ident in [$($number:literal)*] $body:block) => { $({ const $t: usize = $number; $body })* };
}

/// For paths with instructions for SHA-256: groups of the schedule, each followed by its four rounds. The oldest of the
/// last four groups stands at `from`.
macro_rules! scheduled_rounds {
    ($s:ident, $w:ident, [$($round:literal)*] from $place:literal) => {
        let mut place = $place;
        $(
            schedule(&mut $w, place);
            rounds::<$round>(&mut $s, &$w[place & 3]);
            place += 1;
        )*
        let _ = place;
    };
}

/// Defines `find` for vectors of `LANES` words of the type `Vector`. It needs in scope:
///
/// - `splat(u32) -> Vector`, `counting_from(u32) -> Vector` (n, n + 1, …), `add`, `swap_bytes` (of each word)
/// - `small0`, `small1`, `big0`, `big1`, `choose`, `majority` of FIPS 180-4
/// - `not_above(Vector, u32) -> u32`, a bit for each lane whose word is not above
macro_rules! find_in_lanes {
    ($(#[$feature:meta])*) => {
        /// The round before round `t`. `kw`, the constant of round `t` plus its word of the schedule, is added to the
        /// word `g`, which is `h` of round `t`: so early that nothing waits for it and `g` need not be kept.
        ///
        /// Words are not moved: in round `t` the word `a` stands at `-t` modulo 8, `b` behind it and so on.
        $(#[$feature])*
        #[inline]
        fn round_before(s: &mut [Vector; 8], t: usize, kw: Vector) {
            half_round_before(s, t, kw);
            let word = |place: usize| (place + 1).wrapping_sub(t) & 7;
            let [a, b, c, first] = [s[word(0)], s[word(1)], s[word(2)], s[word(7)]];
            s[word(7)] = add(first, add(big0(a), majority(a, b, c)));
        }

        /// As much of the round before round `t` as makes its `e`. Where `a` belongs stands what both have in common.
        $(#[$feature])*
        #[inline]
        fn half_round_before(s: &mut [Vector; 8], t: usize, kw: Vector) {
            let word = |place: usize| (place + 1).wrapping_sub(t) & 7;
            let [d, e, f, g, h] = [s[word(3)], s[word(4)], s[word(5)], s[word(6)], s[word(7)]];
            s[word(6)] = add(g, kw);
            let first = add(add(h, choose(e, f, g)), big1(e));
            s[word(3)] = add(d, first);
            s[word(7)] = first;
        }

        /// The next word of the schedule, in the place of the one 16 rounds before it.
        $(#[$feature])*
        #[inline]
        fn schedule(w: &mut [Vector; 16], t: usize) {
            let old = add(w[t & 15], w[(t + 9) & 15]);
            w[t & 15] = add(add(old, small0(w[(t + 1) & 15])), small1(w[(t + 14) & 15]));
        }

        /// Rounds 4 to 63 of the header's second block.
        $(#[$feature])*
        #[inline]
        fn first_hash(header: &Header, nonces: Vector) -> [Vector; 8] {
            let k = hidden_constants();
            let w3 = swap_bytes(nonces);
            let [a, b, c, d, e, f, g, h] = header.after_round_3;
            let mut s = [
                add(splat(e), w3), splat(f), splat(g), splat(h), add(splat(a), w3), splat(b), splat(c), splat(d),
            ];
            s[3] = add(s[3], splat(k[4].wrapping_add(END_OF_MESSAGE))); // `h` of round 4
            each!(T in [5 6 7 8 9 10 11 12 13 14] { round_before(&mut s, T, splat(k[T])); });
            round_before(&mut s, 15, splat(k[15].wrapping_add(HEADER_BITS)));

            let mut w = [splat(0); 16];
            w[0] = splat(header.w16);
            w[1] = splat(header.w17);
            w[2] = add(splat(header.w18), small0(w3));
            w[3] = add(splat(header.w19), w3);
            w[4] = add(splat(END_OF_MESSAGE), small1(w[2]));
            w[5] = small1(w[3]);
            w[6] = add(splat(HEADER_BITS), small1(w[4]));
            each!(T in [16 17 18 19 20 21 22] { round_before(&mut s, T, add(splat(k[T]), w[T & 15])); });
            each!(T in [23 24 25 26 27 28 29] {
                w[T & 15] = add(w[(T + 9) & 15], small1(w[(T + 14) & 15]));
                round_before(&mut s, T, add(splat(k[T]), w[T & 15]));
            });
            w[14] = add(add(splat(fips::small0(HEADER_BITS)), w[7]), small1(w[12]));
            w[15] = add(add(splat(header.w31), w[8]), small1(w[13]));
            w[0] = add(add(splat(header.w32), w[9]), small1(w[14]));
            each!(T in [30 31 32] { round_before(&mut s, T, add(splat(k[T]), w[T & 15])); });
            each!(T in [
                33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48
                49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
            ] {
                schedule(&mut w, T);
                round_before(&mut s, T, add(splat(k[T]), w[T & 15]));
            });
            round_before(&mut s, 64, splat(0));
            each!(I in [0 1 2 3 4 5 6 7] { s[I] = add(splat(header.midstate[I]), s[I]); });
            s
        }

        /// The last word of the hash of a hash, which is done with round 60: `h` of round 63 is `e` of round 60.
        $(#[$feature])*
        #[inline]
        fn last_word_of_second_hash(inner: [Vector; 8]) -> Vector {
            let k = hidden_constants();
            let mut w = [splat(0); 16];
            each!(I in [0 1 2 3 4 5 6 7] { w[I] = inner[I]; });
            let mut s = [splat(0); 8];
            each!(I in [0 1 2 3 4 5 6 7] { s[(I + 7) & 7] = splat(SECOND_AFTER_ROUND_0[I]); });
            s[7] = add(s[7], w[0]);
            s[3] = add(s[3], w[0]);
            s[6] = add(s[6], add(splat(k[1]), w[1])); // `h` of round 1
            each!(T in [2 3 4 5 6 7] { round_before(&mut s, T, add(splat(k[T]), w[T])); });
            round_before(&mut s, 8, splat(k[8].wrapping_add(END_OF_MESSAGE)));
            each!(T in [9 10 11 12 13 14] { round_before(&mut s, T, splat(k[T])); });
            round_before(&mut s, 15, splat(k[15].wrapping_add(HASH_BITS)));

            w[0] = add(w[0], small0(w[1]));
            w[1] = add(add(w[1], splat(fips::small1(HASH_BITS))), small0(w[2]));
            each!(I in [2 3 4 5] { w[I] = add(add(w[I], small0(w[I + 1])), small1(w[I - 2])); });
            w[6] = add(add(add(w[6], splat(HASH_BITS)), small0(w[7])), small1(w[4]));
            w[7] = add(add(add(w[7], splat(fips::small0(END_OF_MESSAGE))), w[0]), small1(w[5]));
            w[8] = add(add(splat(END_OF_MESSAGE), w[1]), small1(w[6]));
            each!(T in [16 17 18 19 20 21 22 23 24] { round_before(&mut s, T, add(splat(k[T]), w[T & 15])); });
            each!(T in [25 26 27 28 29] {
                w[T & 15] = add(w[(T + 9) & 15], small1(w[(T + 14) & 15]));
                round_before(&mut s, T, add(splat(k[T]), w[T & 15]));
            });
            w[14] = add(add(splat(fips::small0(HASH_BITS)), w[7]), small1(w[12]));
            w[15] = add(add(add(splat(HASH_BITS), w[8]), small0(w[0])), small1(w[13]));
            each!(T in [30 31] { round_before(&mut s, T, add(splat(k[T]), w[T & 15])); });
            each!(T in [
                32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57
            ] {
                schedule(&mut w, T);
                round_before(&mut s, T, add(splat(k[T]), w[T & 15]));
            });
            each!(T in [58 59 60] {
                schedule(&mut w, T);
                half_round_before(&mut s, T, add(splat(k[T]), w[T & 15]));
            });
            half_round_before(&mut s, 61, splat(0));
            add(s[7], splat(INITIAL[7]))
        }

        /// Scans at least `count` nonces from `first` on, in whole batches, up to the first batch that may hold a
        /// finding: one whose top word is not above `top`.
        $(#[$feature])*
        pub(crate) fn find(header: &Header, first: u32, count: u64, top: u32) -> Option<Stop> {
            let mut nonces = counting_from(first);
            let mut before = 0;
            while before < count {
                let last_word = last_word_of_second_hash(first_hash(header, nonces));
                let candidates = not_above(swap_bytes(last_word), top);
                if candidates != 0 {
                    return Some(Stop { before, candidates });
                }
                nonces = add(nonces, splat(LANES));
                before += u64::from(LANES);
            }
            None
        }
    };
}
