//! The stream of the vector units: both hashes of sixteen nonces, and the message schedules of sixteen others.

use super::{
    Instructions,
    layout::{
        COUNTING, FIRST, FIXED, INITIAL_H, K, MIDSTATE, NONCE, OTHER_WORDS, OWN_WORDS, PAIR_LEN, PAIRS, ROWS,
        SECOND, START, TABLES_MIDDLE, TOP, VECTOR, W16, from_middle, one_word, vector, word,
    },
    schedule::Schedule,
    writer::{CHOOSE, MAJORITY, Register, Writer},
};

/// One of the two hashes.
struct Hash {
    schedule: Schedule,
    fixed: usize,
    start: usize,
    /// The message of the SHA unit, and the round that it begins with.
    message: usize,
    first_round: usize,
}

impl Hash {
    fn first() -> Self {
        Self { schedule: Schedule::first(), fixed: FIXED[0], start: START[0], message: FIRST, first_round: 2 }
    }

    fn second() -> Self {
        Self {
            schedule: Schedule::second(),
            fixed: FIXED[1],
            start: START[1],
            message: SECOND,
            first_round: 0,
        }
    }

    fn pair(&self, t: usize) -> usize {
        self.message + PAIRS + (t - self.first_round) / 2 * PAIR_LEN
    }
}

struct State {
    a: Register,
    b: Register,
    c: Register,
    d: Register,
    e: Register,
    f: Register,
    g: Register,
    /// With the next round's constant and word added.
    h: Register,
    /// Whether `a` lacks what does not go into `e`.
    is_unfinished: bool,
}

/// The state before the first round that differs: `a` and `e` grow by `w`.
fn start(writer: &mut Writer, hash: &Hash, w: Register) -> State {
    let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| writer.splat(hash.start + 4 * at));
    writer.add(&a, &w.name());
    writer.add_last(&e, w);
    State { a, b, c, d, e, f, g, h, is_unfinished: false }
}

/// `h` of round `t`: `g` of the round before, the constant and the word.
fn next_h(writer: &mut Writer, g: &Register, hash: &Hash, t: usize) -> Register {
    if !hash.schedule.is_variable(t) {
        return writer.sum(&g.name(), &word(hash.fixed + 4 * t));
    }
    let w = match t {
        0..16 => vector(OWN_WORDS + t * VECTOR),
        _ => writer.scheduled(&hash.schedule, t, OWN_WORDS, hash.fixed),
    };
    let h = writer.sum(&g.name(), &w);
    writer.add(&h, &word(K + 4 * t));
    h
}

/// Adds to `h` what `a` and `e` have in common. `g` is lost.
fn common(writer: &mut Writer, h: &Register, [e, f]: [&Register; 2], g: Register) {
    writer.ternary(&g, &e.name(), &f.name(), CHOOSE);
    writer.add_last(h, g);
    let sigma = writer.mixed(&e.name(), [6, 11], ("vprord", 25));
    writer.add_last(h, sigma);
}

/// Makes `a` of what it has in common with `e`, from `a`, `b` and `c` of the round before. `c` is lost.
fn finish(writer: &mut Writer, unfinished: &Register, [a, b]: [&Register; 2], c: Register) {
    let sigma = writer.mixed(&a.name(), [2, 13], ("vprord", 22));
    writer.ternary(&c, &b.name(), &a.name(), MAJORITY);
    writer.add_last(unfinished, c);
    writer.add_last(unfinished, sigma);
}

/// A round whose `a` stays unfinished until the next round has used `d`, so that nothing need be copied. That of the
/// round before is finished if it is wanted.
fn round(writer: &mut Writer, s: State, next_h: Register, last_a_is_wanted: bool) -> State {
    common(writer, &s.h, [&s.e, &s.f], s.g);
    let e = writer.sum(&s.d.name(), &s.h.name());
    if s.is_unfinished && last_a_is_wanted {
        finish(writer, &s.a, [&s.b, &s.c], s.d);
    } else {
        writer.give(s.d);
    }
    State { a: s.h, b: s.a, c: s.b, d: s.c, e, f: s.e, g: s.f, h: next_h, is_unfinished: true }
}

/// The next sixteen nonces as word 3, which is written to `words`.
fn nonces(writer: &mut Writer, words: usize) -> Register {
    let nonces = writer.load(COUNTING);
    writer.add(&nonces, &word(NONCE));
    writer.push(format!("add {}, 16", one_word(NONCE)));
    let w3 = writer.swap_bytes(nonces);
    writer.store(words + 3 * VECTOR, &w3);
    w3
}

/// A bit in `r8d` for each lane whose last word, but for the initial state, has a top that is not above the limit.
fn test(writer: &mut Writer, e: Register) {
    writer.add(&e, &word(INITIAL_H));
    let swapped = writer.swap_bytes(e);
    writer.push(format!("vpcmpleud k1, {}, {}", swapped.name(), word(TOP)));
    writer.push("kmovw r8d, k1");
    writer.give(swapped);
}

/// Hashes the next sixteen nonces and tests them.
pub fn hash() -> Instructions {
    let mut writer = Writer::new();
    let w0 = first_hash(&mut writer);
    writer.end_schedule();
    second_hash(&mut writer, w0);
    writer.instructions
}

/// Rounds 4 to 63 of the header's second block; writes the hash to the words and leaves the first.
fn first_hash(writer: &mut Writer) -> Register {
    let hash = Hash::first();
    let w3 = nonces(writer, OWN_WORDS);
    let mut s = start(writer, &hash, w3);
    writer.add(&s.h, &word(hash.fixed + 4 * 4));
    for t in 4..63 {
        let next_h = next_h(writer, &s.g, &hash, t + 1);
        s = round(writer, s, next_h, true);
    }
    let word_7 = writer.sum(&s.g.name(), &word(MIDSTATE + 4 * 7));
    let s = round(writer, s, word_7, true);
    let word_3 = writer.sum(&s.d.name(), &word(MIDSTATE + 4 * 3));
    finish(writer, &s.a, [&s.b, &s.c], s.d);
    for (at, word_is) in [(3, word_3), (7, s.h)] {
        writer.store(OWN_WORDS + at * VECTOR, &word_is);
        writer.give(word_is);
    }
    for (at, register) in [(1, s.b), (2, s.c), (4, s.e), (5, s.f), (6, s.g)] {
        writer.add(&register, &word(MIDSTATE + 4 * at));
        writer.store(OWN_WORDS + at * VECTOR, &register);
        writer.give(register);
    }
    writer.add(&s.a, &word(MIDSTATE));
    writer.store(OWN_WORDS, &s.a);
    s.a
}

/// Rounds 1 to 60 of the hash of a hash: `h` of round 63 is `e` of round 60.
fn second_hash(writer: &mut Writer, w0: Register) {
    let hash = Hash::second();
    let mut s = start(writer, &hash, w0);
    writer.add(&s.h, &vector(OWN_WORDS + VECTOR));
    writer.add(&s.h, &word(K + 4));
    for t in 1..60 {
        let next_h = next_h(writer, &s.g, &hash, t + 1);
        // `a` of round 56 is the last that becomes a `d`.
        s = round(writer, s, next_h, t <= 57);
    }
    common(writer, &s.h, [&s.e, &s.f], s.g);
    writer.add(&s.h, &s.d.name());
    test(writer, s.h);
}

/// Writes two words of each nonce side by side.
fn store_pair(writer: &mut Writer, to: [&str; 2], [first, second]: [Register; 2]) {
    let low = writer.take();
    writer.push(format!("vpunpckldq {}, {}, {}", low.name(), first.name(), second.name()));
    writer.push(format!("vpunpckhdq {0}, {0}, {1}", first.name(), second.name()));
    writer.push(format!("vmovdqa32 {}, {}", to[0], low.name()));
    writer.push(format!("vmovdqa32 {}, {}", to[1], first.name()));
    for register in [low, first, second] {
        writer.give(register);
    }
}

/// Constants and words of round `t` and of the next.
fn store_rounds(writer: &mut Writer, hash: &Hash, t: usize) {
    let pair = [t, t + 1].map(|t| match t {
        _ if !hash.schedule.is_variable(t) => writer.splat(hash.fixed + 4 * t),
        0..16 => {
            let kw = writer.load(OTHER_WORDS + t * VECTOR);
            writer.add(&kw, &word(K + 4 * t));
            kw
        }
        _ => {
            let w = writer.scheduled(&hash.schedule, t, OTHER_WORDS, hash.fixed);
            writer.sum(&w, &word(K + 4 * t))
        }
    });
    let at = hash.pair(t);
    store_pair(writer, [&vector(at), &vector(at + VECTOR)], pair);
}

/// The pairs of rounds 0 to 31 that are not the same for all nonces, and [`schedule_block`] for the others.
fn store_message(writer: &mut Writer, hash: &Hash) {
    let is_variable = |t: &usize| [*t, t + 1].into_iter().any(|t| hash.schedule.is_variable(t));
    for t in (0..32).step_by(2).filter(is_variable) {
        store_rounds(writer, hash, t);
    }
    writer.push(format!("lea rcx, [rdx + {}]", (K + 4 * 32) as isize - TABLES_MIDDLE as isize));
    writer.push(format!("lea r11, [rdi + {}]", from_middle(hash.pair(32))));
    writer.push("call 5f");
    writer.push("call 5f");
}

/// A subroutine: the next sixteen words of a schedule in the place of the last, and their pairs at `r11`. `rcx` points
/// to their constants. Both are moved on.
pub fn schedule_block() -> Instructions {
    let mut writer = Writer::new();
    let schedule = Schedule::of_anything();
    for t in (16..32).step_by(2) {
        let pair = [t, t + 1].map(|t| {
            let w = writer.scheduled(&schedule, t, OTHER_WORDS, 0);
            writer.sum(&w, &format!("dword ptr [rcx + {}]{{1to16}}", 4 * (t - 16)))
        });
        let at = (t - 16) / 2 * PAIR_LEN;
        let to = [at, at + VECTOR].map(|at| format!("zmmword ptr [r11 + {at}]"));
        store_pair(&mut writer, [&to[0], &to[1]], pair);
    }
    writer.push("add rcx, 64");
    writer.push(format!("add r11, {}", 8 * PAIR_LEN));
    writer.instructions
}

/// The message of the first hash of the next sixteen nonces.
pub fn schedule_first() -> Instructions {
    let mut writer = Writer::new();
    let w3 = nonces(&mut writer, OTHER_WORDS);
    writer.give(w3);
    for at in [0, 1] {
        let w = writer.splat(W16 + 4 * at);
        writer.store(OTHER_WORDS + at * VECTOR, &w);
        writer.give(w);
    }
    store_message(&mut writer, &Hash::first());
    writer.instructions
}

/// Four vectors of rows, a row of four words in each quarter, as four vectors of a word each.
fn transposed(writer: &mut Writer, at: usize) -> [Register; 4] {
    let [x, y, z, w] = [0, 1, 2, 3].map(|row| writer.load(at + row * VECTOR));
    let mut unpacked = |low: &str, x: Register, y: Register| {
        let to = writer.take();
        writer.push(format!("vpunpckl{low} {}, {}, {}", to.name(), x.name(), y.name()));
        writer.push(format!("vpunpckh{low} {0}, {0}, {1}", x.name(), y.name()));
        writer.give(y);
        [to, x]
    };
    let [xy_low, xy_high] = unpacked("dq", x, y);
    let [zw_low, zw_high] = unpacked("dq", z, w);
    let [first, second] = unpacked("qdq", xy_low, zw_low);
    let [third, fourth] = unpacked("qdq", xy_high, zw_high);
    [first, second, third, fourth]
}

/// The message of the second hash, from the rows that the SHA unit has left of the first.
pub fn schedule_second() -> Instructions {
    let mut writer = Writer::new();
    for (rows, order) in [(ROWS, [5, 4, 1, 0]), (ROWS + 4 * VECTOR, [7, 6, 3, 2])] {
        for (at, register) in order.into_iter().zip(transposed(&mut writer, rows)) {
            writer.add(&register, &word(MIDSTATE + 4 * at));
            writer.store(OTHER_WORDS + at * VECTOR, &register);
            writer.give(register);
        }
    }
    store_message(&mut writer, &Hash::second());
    writer.instructions
}

/// Tests the rows that the SHA unit has left of the second: `f` of round 61 is `e` of round 60.
pub fn test_rows() -> Instructions {
    let mut writer = Writer::new();
    let [f, ..] = transposed(&mut writer, ROWS);
    test(&mut writer, f);
    writer.instructions
}
