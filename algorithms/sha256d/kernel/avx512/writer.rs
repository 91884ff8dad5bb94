//! Instructions on vectors, and which registers they use: only the upper sixteen, see `src/avx512_sha.rs`.

use super::{
    Instructions,
    layout::{EVERY_OTHER_BYTE, VECTOR, one_word, vector, word},
    schedule::{Schedule, Term},
};

/// Tables of three bits for `vpternlogd`; the register that it writes to is the first of the three.
pub const XOR: u8 = 0x96;
/// Of the first where the second is not, of the third where it is.
pub const CHOOSE: u8 = 0xb8;
pub const MAJORITY: u8 = 0xe8;
/// Of the second where the first is, of the third where it is not.
const SELECT: u8 = 0xca;

/// A vector register that is in use.
pub struct Register(usize);

impl Register {
    pub fn name(&self) -> String {
        format!("zmm{}", self.0)
    }
}

pub struct Writer {
    pub instructions: Instructions,
    free: Vec<usize>,
    /// The last two words of the schedule: they are used again so soon that memory would be too slow.
    recent: Vec<(usize, Register)>,
}

impl Writer {
    pub fn new() -> Self {
        Self { instructions: Instructions::default(), free: (16..32).rev().collect(), recent: Vec::new() }
    }

    pub fn push(&mut self, line: impl Into<String>) {
        self.instructions.push(line);
    }

    pub fn take(&mut self) -> Register {
        let Some(free) = self.free.pop() else { unreachable!("sixteen registers are enough") };
        Register(free)
    }

    /// The register is used again after all others that are free.
    pub fn give(&mut self, register: Register) {
        self.free.insert(0, register.0);
    }

    pub fn load(&mut self, at: usize) -> Register {
        let to = self.take();
        self.push(format!("vmovdqa32 {}, {}", to.name(), vector(at)));
        to
    }

    /// A word of the tables in all lanes.
    pub fn splat(&mut self, at: usize) -> Register {
        let to = self.take();
        self.push(format!("vpbroadcastd {}, {}", to.name(), one_word(at)));
        to
    }

    pub fn store(&mut self, at: usize, from: &Register) {
        self.push(format!("vmovdqa32 {}, {}", vector(at), from.name()));
    }

    /// A sum in a register of its own.
    pub fn sum(&mut self, x: &str, y: &str) -> Register {
        let to = self.take();
        self.push(format!("vpaddd {}, {x}, {y}", to.name()));
        to
    }

    pub fn add(&mut self, to: &Register, y: &str) {
        self.push(format!("vpaddd {0}, {0}, {y}", to.name()));
    }

    /// Adds a register that is not needed any more.
    pub fn add_last(&mut self, to: &Register, other: Register) {
        self.add(to, &other.name());
        self.give(other);
    }

    pub fn ternary(&mut self, to: &Register, x: &str, y: &str, table: u8) {
        self.push(format!("vpternlogd {}, {x}, {y}, {table}", to.name()));
    }

    /// The exclusive or of two rotations and a third rotation or shift.
    pub fn mixed(&mut self, x: &str, [first, second]: [u8; 2], (third, by): (&str, u8)) -> Register {
        let [to, y, z] = [self.take(), self.take(), self.take()];
        self.push(format!("vprord {}, {x}, {first}", to.name()));
        self.push(format!("vprord {}, {x}, {second}", y.name()));
        self.push(format!("{third} {}, {x}, {by}", z.name()));
        self.ternary(&to, &y.name(), &z.name(), XOR);
        self.give(y);
        self.give(z);
        to
    }

    pub fn swap_bytes(&mut self, x: Register) -> Register {
        let [to, right] = [self.splat(EVERY_OTHER_BYTE), self.take()];
        self.push(format!("vprord {}, {}, 8", right.name(), x.name()));
        self.push(format!("vprord {0}, {0}, 24", x.name()));
        self.ternary(&to, &x.name(), &right.name(), SELECT);
        self.give(x);
        self.give(right);
        to
    }

    /// Computes word `t` of a schedule whose words stand at `words`, and writes it there. The name of a register that
    /// holds it for a while.
    pub fn scheduled(&mut self, schedule: &Schedule, t: usize, words: usize, fixed: usize) -> String {
        let at = |t: usize| vector(words + t % 16 * VECTOR);
        let sum = schedule.sum(t);
        let mut others: Vec<String> = sum.has_fixed_part.then(|| word(fixed + 4 * t)).into_iter().collect();
        let [mut early, mut late] = [None, None];
        for term in sum.terms {
            match term {
                Term::Plain(from) => others.push(at(from)),
                Term::Small0(from) => early = Some(self.mixed(&at(from), [7, 18], ("vpsrld", 3))),
                Term::Small1(from) => {
                    let recent = self.recent.iter().find(|(t, _)| *t == from);
                    let from = recent.map_or_else(|| at(from), |(_, register)| register.name());
                    late = Some(self.mixed(&from, [17, 19], ("vpsrld", 10)));
                }
            }
        }
        let to = match (early, late) {
            (Some(early), Some(late)) => {
                others.drain(..).for_each(|other| self.add(&early, &other));
                self.add_last(&late, early);
                late
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => {
                let Some(first) = others.pop() else { unreachable!("a variable word has a variable term") };
                let to = self.take();
                self.push(format!("vmovdqa32 {}, {first}", to.name()));
                to
            }
        };
        others.into_iter().for_each(|other| self.add(&to, &other));
        self.store(words + t % 16 * VECTOR, &to);
        let name = to.name();
        self.recent.push((t, to));
        if self.recent.len() > 2 {
            let (_, oldest) = self.recent.remove(0);
            self.give(oldest);
        }
        name
    }

    /// Gives back the registers of the schedule's last words.
    pub fn end_schedule(&mut self) {
        while let Some((_, register)) = self.recent.pop() {
            self.give(register);
        }
    }
}
