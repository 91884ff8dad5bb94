//! What of a message schedule (FIPS 180-4, section 6.2.2) is the same for all nonces.

/// A word of the schedule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Zero,
    Fixed,
    Variable,
}

/// A term of a word's sum that is not the same for all nonces: a word of before, as it is or through a function.
#[derive(Clone, Copy)]
pub enum Term {
    Plain(usize),
    Small0(usize),
    Small1(usize),
}

/// What a word is the sum of.
pub struct Sum {
    /// Whether there is a part that is the same for all.
    pub has_fixed_part: bool,
    /// The others.
    pub terms: Vec<Term>,
}

pub struct Schedule([Word; 64]);

impl Schedule {
    /// Of the first hash: of its words only the nonce, word 3, is variable.
    pub fn first() -> Self {
        Self::grown(|t| match t {
            3 => Word::Variable,
            0..=4 | 15 => Word::Fixed,
            _ => Word::Zero,
        })
    }

    /// Of the second: eight words are the first hash.
    pub fn second() -> Self {
        Self::grown(|t| match t {
            0..=7 => Word::Variable,
            8 | 15 => Word::Fixed,
            _ => Word::Zero,
        })
    }

    /// One of which nothing is known.
    pub fn of_anything() -> Self {
        Self([Word::Variable; 64])
    }

    fn grown(given: impl Fn(usize) -> Word) -> Self {
        let mut words = [Word::Zero; 64];
        for t in 0..64 {
            words[t] = match t {
                0..16 => given(t),
                _ => {
                    let parts = [t - 16, t - 15, t - 7, t - 2].map(|at| words[at]);
                    let of = |word| parts.contains(&word).then_some(word);
                    of(Word::Variable).or(of(Word::Fixed)).unwrap_or(Word::Zero)
                }
            };
        }
        Self(words)
    }

    pub fn is_variable(&self, t: usize) -> bool {
        self.0[t] == Word::Variable
    }

    /// Of a word from the sixteenth on.
    pub fn sum(&self, t: usize) -> Sum {
        let parts = [Term::Plain(t - 16), Term::Small0(t - 15), Term::Plain(t - 7), Term::Small1(t - 2)];
        let word = |term: &Term| match *term {
            Term::Plain(at) | Term::Small0(at) | Term::Small1(at) => self.0[at],
        };
        Sum {
            has_fixed_part: parts.iter().any(|term| word(term) == Word::Fixed),
            terms: parts.into_iter().filter(|term| word(term) == Word::Variable).collect(),
        }
    }
}
