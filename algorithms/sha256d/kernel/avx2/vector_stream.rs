//! The stream of the vector units: both hashes of eight nonces.
//!
//! It has four registers only, `ymm14` to `ymm15`. So each round reads the state from where the rounds before have
//! written it. It waits long for that, and has the time: the SHA unit hashes four nonces in fifteen of its rounds.

use super::{
    Instructions,
    layout::{
        A, COUNTING, E, INITIAL_H, K, LANES, MIDSTATE, NONCE, RESULTS, ROUNDS, START, SWAP, TOP, TURNS,
        VECTOR, W, W18, WAYS, X, at,
    },
};

/// What is `rounds` ahead of where the rounds are: of `a` (`r8`), of `e` (`r9`) or of the schedule (`rdx`).
fn near(base: &str, rounds: isize) -> String {
    format!("ymmword ptr [{base} + {}]", rounds * VECTOR as isize)
}

fn constant(rounds: isize) -> String {
    format!("ymmword ptr [r9 + {}]", (K - E) as isize + (rounds - 4) * VECTOR as isize)
}

fn vector(place: usize) -> String {
    format!("ymmword ptr {}", at(place))
}

fn load(stream: &mut Instructions, to: usize, from: &str) {
    stream.push(format!("vmovdqa ymm{to}, {from}"));
}

fn store(stream: &mut Instructions, to: &str, from: usize) {
    stream.push(format!("vmovdqa {to}, ymm{from}"));
}

fn binary(stream: &mut Instructions, operation: &str, to: usize, other: &str) {
    stream.push(format!("{operation} ymm{to}, ymm{to}, {other}"));
}

/// In `to` the exclusive or of rotations to the right of `from`, and of a shift to the right by the last.
fn mixed(
    stream: &mut Instructions,
    to: usize,
    from: usize,
    spare: usize,
    rotations: &[u32],
    shift: Option<u32>,
) {
    let shifts = rotations.iter().flat_map(|by| [("vpsrld", *by), ("vpslld", 32 - by)]);
    for (number, (operation, by)) in shifts.chain(shift.map(|by| ("vpsrld", by))).enumerate() {
        let place = if number == 0 { to } else { spare };
        stream.push(format!("{operation} ymm{place}, ymm{from}, {by}"));
        if number > 0 {
            binary(stream, "vpxor", to, &format!("ymm{spare}"));
        }
    }
}

/// Where the exclusive or of `a` and the one before stands.
fn both(rounds: isize) -> String {
    format!("ymmword ptr [r8 + {}]", (X - A) as isize + rounds * VECTOR as isize)
}

/// One round.
fn round(stream: &mut Instructions, t: isize) {
    load(stream, 12, &near("r9", t - 1));
    mixed(stream, 13, 12, 14, &[6, 11, 25], None);
    load(stream, 14, &near("r9", t - 2));
    binary(stream, "vpxor", 14, &near("r9", t - 3));
    binary(stream, "vpand", 14, "ymm12");
    binary(stream, "vpxor", 14, &near("r9", t - 3));
    load(stream, 15, &near("rdx", t));
    binary(stream, "vpaddd", 15, &constant(t));
    binary(stream, "vpaddd", 15, &near("r9", t - 4));
    binary(stream, "vpaddd", 13, "ymm14");
    binary(stream, "vpaddd", 15, "ymm13");
    stream.push(format!("vpaddd ymm12, ymm15, {}", near("r8", t - 4)));
    store(stream, &near("r9", t), 12);
    load(stream, 12, &near("r8", t - 1));
    mixed(stream, 13, 12, 14, &[2, 13, 22], None);
    binary(stream, "vpaddd", 15, "ymm13");
    binary(stream, "vpxor", 12, &near("r8", t - 2));
    store(stream, &both(t - 1), 12);
    binary(stream, "vpand", 12, &both(t - 2));
    binary(stream, "vpxor", 12, &near("r8", t - 2));
    binary(stream, "vpaddd", 15, "ymm12");
    store(stream, &near("r8", t), 15);
}

/// Word `t` of the schedule.
fn schedule(stream: &mut Instructions, t: isize) {
    load(stream, 12, &near("rdx", t - 15));
    mixed(stream, 13, 12, 14, &[7, 18], Some(3));
    load(stream, 12, &near("rdx", t - 2));
    mixed(stream, 15, 12, 14, &[17, 19], Some(10));
    binary(stream, "vpaddd", 13, &near("rdx", t - 16));
    binary(stream, "vpaddd", 13, &near("rdx", t - 7));
    binary(stream, "vpaddd", 13, "ymm15");
    store(stream, &near("rdx", t), 13);
}

/// The next rounds, and as many words of the schedule, of which the first is fifteen ahead.
pub fn rounds() -> Instructions {
    let mut stream = Instructions::default();
    for t in 0..ROUNDS as isize {
        round(&mut stream, t);
        schedule(&mut stream, t + 15);
    }
    for pointer in ["r8", "r9", "rdx"] {
        stream.push(format!("add {pointer}, {}", ROUNDS * VECTOR));
    }
    stream
}

/// The state before round `t`, to whose `a` and `e` the word in `ymm12` is added; everything points at that round.
fn start(stream: &mut Instructions, hash: usize, t: usize) {
    for (base, half) in [(A, 0), (E, 4)] {
        for back in 0..4 {
            load(stream, 13, &vector(START[hash] + (half + back) * VECTOR));
            if back == 0 {
                binary(stream, "vpaddd", 13, "ymm12");
            }
            store(stream, &vector(base + (t + 3 - back) * VECTOR), 13);
        }
    }
    load(stream, 13, &vector(START[hash] + VECTOR));
    binary(stream, "vpxor", 13, &vector(START[hash] + 2 * VECTOR));
    store(stream, &vector(X + (t + 2) * VECTOR), 13);
    for (pointer, base, first) in [("r8", A, 4), ("r9", E, 4), ("rdx", W[hash], 0)] {
        stream.push(format!("lea {pointer}, {}", at(base + (first + t) * VECTOR)));
    }
}

/// The next eight nonces of the first hash, before round 4; `r11d` is the nonce after them.
pub fn first_hash() -> Instructions {
    let mut stream = Instructions::default();
    stream.push(format!("mov r11d, dword ptr {}", at(NONCE)));
    stream.push("vmovd xmm12, r11d");
    stream.push("vpbroadcastd ymm12, xmm12");
    binary(&mut stream, "vpaddd", 12, &vector(COUNTING));
    binary(&mut stream, "vpshufb", 12, &vector(SWAP));
    stream.push(format!("add r11d, {LANES}"));
    store(&mut stream, &vector(W[0] + 3 * VECTOR), 12);
    mixed(&mut stream, 13, 12, 14, &[7, 18], Some(3));
    binary(&mut stream, "vpaddd", 13, &vector(W18));
    store(&mut stream, &vector(W[0] + 18 * VECTOR), 13);
    start(&mut stream, 0, 4);
    stream
}

/// The first hash as the message of the second, before round 1.
pub fn second_hash() -> Instructions {
    let mut stream = Instructions::default();
    // The word that the start needs comes last.
    for word in (0..8).rev() {
        let (base, back) = if word < 4 { (A, word) } else { (E, word - 4) };
        load(&mut stream, 12, &vector(base + (4 + 63 - back) * VECTOR));
        binary(&mut stream, "vpaddd", 12, &vector(MIDSTATE + word * VECTOR));
        store(&mut stream, &vector(W[1] + word * VECTOR), 12);
    }
    start(&mut stream, 1, 1);
    stream
}

/// The zero flag is clear if a top word of an iteration is not above the limit.
pub fn test() -> Instructions {
    let mut stream = Instructions::default();
    let results = (0..TURNS * WAYS * 4 / VECTOR).map(|number| RESULTS + number * VECTOR);
    for (number, place) in results.chain([E + (4 + 60) * VECTOR]).enumerate() {
        load(&mut stream, 12, &vector(place));
        binary(&mut stream, "vpaddd", 12, &vector(INITIAL_H));
        binary(&mut stream, "vpshufb", 12, &vector(SWAP));
        stream.push(format!("vpminud ymm13, ymm12, {}", vector(TOP)));
        let to = if number == 0 { 14 } else { 12 };
        stream.push(format!("vpcmpeqd ymm{to}, ymm12, ymm13"));
        if number > 0 {
            binary(&mut stream, "vpor", 14, "ymm12");
        }
    }
    stream.push("vptest ymm14, ymm14");
    stream
}
