//! The stream of the SHA unit: the rounds of sixteen nonces, a few at a time.

use super::{
    Instructions,
    layout::{LANES, PAIR_COUNT, PAIR_LEN, PAIRS, ROWS, STATE, VECTOR, from_middle, place_in_pair},
};

/// Nonces at a time: enough that none waits for itself.
const WAYS: usize = 4;

/// Reads the message at `r9`, through whose pairs `rcx` is moved, and leaves the rows.
pub fn rounds() -> Instructions {
    let mut stream = Instructions::default();
    for first in (0..LANES).step_by(WAYS) {
        // The registers of `a b e f` and of `c d g h`; the lowest holds what a round adds.
        let ways = (0..WAYS).map(|way| (first + way, 1 + 2 * way, 2 + 2 * way));
        for (_, abef, cdgh) in ways.clone() {
            stream.push(format!("vmovdqa xmm{abef}, xmmword ptr [r9 + {STATE}]"));
            stream.push(format!("vmovdqa xmm{cdgh}, xmmword ptr [r9 + {}]", STATE + 16));
        }
        stream.push(format!("lea rcx, [r9 + {}]", PAIRS + PAIR_LEN / 2));
        for pair in 0..PAIR_COUNT {
            for (lane, abef, cdgh) in ways.clone() {
                let at = place_in_pair(lane) as isize - PAIR_LEN as isize / 2;
                stream.push(format!("vmovq xmm0, qword ptr [rcx + {at}]"));
                // What two rounds make of both is the new `a b e f`, and the old one is the new `c d g h`.
                let [to, from] = if pair.is_multiple_of(2) { [cdgh, abef] } else { [abef, cdgh] };
                stream.push(format!("sha256rnds2 xmm{to}, xmm{from}"));
            }
            stream.push(format!("sub rcx, -{PAIR_LEN}"));
        }
        for (lane, abef, cdgh) in ways {
            let [abef, cdgh] = if PAIR_COUNT.is_multiple_of(2) { [abef, cdgh] } else { [cdgh, abef] };
            let row = from_middle(ROWS + lane % 4 * VECTOR + lane / 4 * 16);
            stream.push(format!("vmovdqa xmmword ptr [rdi + {row}], xmm{abef}"));
            stream.push(format!("vmovdqa xmmword ptr [rdi + {}], xmm{cdgh}", row + 4 * VECTOR as isize));
        }
    }
    stream
}
