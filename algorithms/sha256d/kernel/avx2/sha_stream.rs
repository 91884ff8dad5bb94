//! The stream of the SHA unit: both hashes of a few nonces.

use super::{
    Instructions,
    layout::{FIXED, FIXED_SUMS, GROUP, MESSAGE, MESSAGES, SHA_K, SHA_MIDSTATE, SHA_START, WAYS, at},
};

/// Groups of four rounds.
const GROUPS: usize = 16;

/// Registers of a way. `xmm0` holds what a round adds; the last two hold what is anybody's.
struct Way {
    number: usize,
    abef: usize,
    cdgh: usize,
}

/// A new group of the schedule.
const NEW: usize = 1 + 2 * WAYS;
const OTHER: usize = NEW + 1;

impl Way {
    fn message(&self, hash: usize, group: usize) -> String {
        at(MESSAGES + (2 * self.number + hash) * MESSAGE + group * GROUP)
    }

    /// Two rounds: what they make of both is the new `a b e f`, and the old one is the new `c d g h`.
    fn rounds(&mut self, stream: &mut Instructions) {
        stream.push(format!("sha256rnds2 xmm{}, xmm{}", self.cdgh, self.abef));
        std::mem::swap(&mut self.abef, &mut self.cdgh);
    }

    /// Words 16 to 19 of the first hash, made of the nonce in the lowest word of [`NEW`].
    fn first_scheduled(&self, stream: &mut Instructions) {
        stream.push(format!("vpslldq xmm{NEW}, xmm{NEW}, 12"));
        // Word 18 holds σ0 of the nonce and word 19 the nonce; those of the message that follow it are fixed.
        stream.push(format!("vpxor xmm{OTHER}, xmm{OTHER}, xmm{OTHER}"));
        stream.push(format!("sha256msg1 xmm{NEW}, xmm{OTHER}"));
        stream.push(format!("vpaddd xmm{NEW}, xmm{NEW}, xmmword ptr {}", at(FIXED_SUMS)));
        stream.push(format!("vmovdqa xmmword ptr {}, xmm{NEW}", self.message(0, 4)));
    }

    /// In a register words `t - 7` to `t - 4` of a group that begins with word `t`.
    fn sevenths(&self, stream: &mut Instructions, to: usize, hash: usize, group: usize) {
        stream.push(format!("vmovdqa xmm{to}, xmmword ptr {}", self.message(hash, group - 1)));
        stream.push(format!("vpalignr xmm{to}, xmm{to}, xmmword ptr {}, 4", self.message(hash, group - 2)));
    }

    /// In [`NEW`] words `t - 16` to `t - 13` and σ0 of those that follow each.
    fn sixteenths(&self, stream: &mut Instructions, hash: usize, group: usize) {
        stream.push(format!("vmovdqa xmm{NEW}, xmmword ptr {}", self.message(hash, group - 4)));
        stream.push(format!("sha256msg1 xmm{NEW}, xmmword ptr {}", self.message(hash, group - 3)));
    }

    /// A later group of the schedule (FIPS 180-4, section 6.2.2). In some a part is zero or the same for all nonces.
    fn schedule(&self, stream: &mut Instructions, hash: usize, group: usize) {
        let fixed_sum = at(FIXED_SUMS + (group - 4) * GROUP);
        match (hash, group) {
            (0, 5) => stream.push(format!("vmovdqa xmm{NEW}, xmmword ptr {fixed_sum}")),
            (0 | 1, 6) => self.sevenths(stream, NEW, hash, group),
            (0, 7) => {
                self.sevenths(stream, NEW, hash, group);
                stream.push(format!("vpaddd xmm{NEW}, xmm{NEW}, xmmword ptr {fixed_sum}"));
            }
            (1, 4) => self.sixteenths(stream, hash, group),
            _ => {
                self.sixteenths(stream, hash, group);
                self.sevenths(stream, OTHER, hash, group);
                stream.push(format!("vpaddd xmm{NEW}, xmm{NEW}, xmm{OTHER}"));
            }
        }
        stream.push(format!("sha256msg2 xmm{NEW}, xmmword ptr {}", self.message(hash, group - 1)));
        stream.push(format!("vmovdqa xmmword ptr {}, xmm{NEW}", self.message(hash, group)));
    }

    /// The next nonce as word 3, and the state after round 3.
    fn first_hash(&self, stream: &mut Instructions) {
        let Self { abef, cdgh, .. } = *self;
        stream.push("mov ecx, r11d");
        stream.push("add r11d, 1");
        stream.push("bswap ecx");
        stream.push(format!("vmovd xmm{NEW}, ecx"));
        stream.push(format!("vpshufd xmm{abef}, xmm{NEW}, 0x11"));
        stream.push(format!("vpaddd xmm{abef}, xmm{abef}, xmmword ptr {}", at(SHA_START[0])));
        stream.push(format!("vmovdqa xmm{cdgh}, xmmword ptr {}", at(SHA_START[0] + GROUP)));
        self.first_scheduled(stream);
    }

    /// The first hash as the message of the second, and the state after round 0.
    fn second_hash(&self, stream: &mut Instructions) {
        let Self { abef, cdgh, .. } = *self;
        let message = |group| self.message(1, group);
        stream.push(format!("vpaddd xmm{abef}, xmm{abef}, xmmword ptr {}", at(SHA_MIDSTATE)));
        stream.push(format!("vpaddd xmm{cdgh}, xmm{cdgh}, xmmword ptr {}", at(SHA_MIDSTATE + GROUP)));
        // Words 5 to 8: `f g h` and what is fixed.
        stream.push(format!("vpshufd xmm{NEW}, xmm{cdgh}, 0x04"));
        stream.push(format!("vpblendd xmm{NEW}, xmm{abef}, xmm{NEW}, 0x06"));
        stream.push(format!("vpblendd xmm{NEW}, xmm{NEW}, xmmword ptr {}, 0x08", message(1)));
        stream.push(format!("vmovdqa xmmword ptr {}, xmm{NEW}", message(1)));
        // Words 1 to 4: `b c d e`.
        stream.push(format!("vpshufd xmm{NEW}, xmm{abef}, 0x42"));
        stream.push(format!("vpshufd xmm{OTHER}, xmm{cdgh}, 0x2c"));
        stream.push(format!("vpblendd xmm{OTHER}, xmm{NEW}, xmm{OTHER}, 0x06"));
        stream.push(format!("vmovdqa xmmword ptr {}, xmm{OTHER}", message(0)));
        // Word 0, `a`, goes into two words of the state and into word 16, which ends the fourth group.
        stream.push(format!("vpshufd xmm{NEW}, xmm{abef}, 0xff"));
        stream.push(format!("vmovdqa xmm{cdgh}, xmmword ptr {}", at(SHA_START[1])));
        stream.push(format!("vpaddd xmm{abef}, xmm{NEW}, xmm{cdgh}"));
        stream.push(format!("vpblendd xmm{abef}, xmm{cdgh}, xmm{abef}, 0x0a"));
        stream.push(format!("vmovdqa xmm{cdgh}, xmmword ptr {}", at(SHA_START[1] + GROUP)));
        stream.push(format!("sha256msg1 xmm{NEW}, xmm{OTHER}"));
        stream.push(format!("vmovdqa xmm{OTHER}, xmmword ptr {}", message(3)));
        stream.push(format!("vpblendd xmm{OTHER}, xmm{OTHER}, xmm{NEW}, 0x08"));
        stream.push(format!("vmovdqa xmmword ptr {}, xmm{OTHER}", message(3)));
    }

    /// The rounds of a group.
    fn group(&mut self, stream: &mut Instructions, hash: usize, group: usize) {
        match (hash, group) {
            (0, 1..4) | (1, 2) => return self.fixed_group(stream, hash, group),
            (1, 0 | 1 | 3) | (0, 4) => {
                stream.push(format!("vmovdqa xmm{NEW}, xmmword ptr {}", self.message(hash, group)));
            }
            _ => self.schedule(stream, hash, group),
        }
        stream.push(format!("vpaddd xmm0, xmm{NEW}, xmmword ptr {}", at(SHA_K[hash] + group * GROUP)));
        self.rounds(stream);
        stream.push("vpshufd xmm0, xmm0, 0x0e");
        self.rounds(stream);
    }

    /// The rounds of a group that is the same for all nonces.
    fn fixed_group(&mut self, stream: &mut Instructions, hash: usize, group: usize) {
        for half in 0..2 {
            stream.push(format!(
                "vmovq xmm0, qword ptr {}",
                at(FIXED[hash] + group * GROUP + half * GROUP / 2)
            ));
            self.rounds(stream);
        }
    }
}

/// Hashes the next nonces, from `r11d` on, and writes `e` of round 60 of each to `r10`, which is moved on.
pub fn hashes() -> Instructions {
    let mut stream = Instructions::default();
    let mut ways: [Way; WAYS] =
        std::array::from_fn(|number| Way { number, abef: 1 + 2 * number, cdgh: 2 + 2 * number });
    ways.iter().for_each(|way| way.first_hash(&mut stream));
    for group in 1..GROUPS {
        ways.iter_mut().for_each(|way| way.group(&mut stream, 0, group));
    }
    ways.iter().for_each(|way| way.second_hash(&mut stream));
    for group in 0..GROUPS - 1 {
        ways.iter_mut().for_each(|way| way.group(&mut stream, 1, group));
    }
    for way in &ways {
        stream.push(format!("vpextrd dword ptr [r10 + {}], xmm{}, 1", 4 * way.number, way.abef));
    }
    stream.push(format!("add r10, {}", 4 * WAYS));
    stream
}
