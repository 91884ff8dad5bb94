//! Generates the programs of a seed: a model of a processor of 2012 with three ports is filled with instructions until
//! a port has no room within 170 cycles. See section 6.3 of the RandomX specification.

use super::superscalar::{Instruction, Operation, Program, REGISTERS, reciprocal};
use blake2::{Blake2b512, Digest};

/// Cycles that a program fills.
const LATENCY: usize = 170;
/// Most instructions of a program.
const MAX_LEN: usize = 3 * LATENCY + 2;
/// Cycles that the model knows; a few more than a program fills.
const CYCLES: usize = LATENCY + 4;
/// Cycles to wait for a register before the instruction is thrown away.
const LOOK_FORWARD: usize = 4;
/// Instructions thrown away in a row before a group of slots is given up.
const MAX_THROWN_AWAY: u32 = 256;
/// The register that `lea` cannot write without a displacement.
const NO_LEA: usize = 5;

/// Random numbers from repeated BLAKE2b.
pub(super) struct Entropy {
    data: [u8; 64],
    used: usize,
}

/// Bytes of a seed that count.
const SEED_LEN: usize = 60;

impl Entropy {
    pub(super) fn new(seed: &[u8]) -> Self {
        let mut data = [0; 64];
        data.iter_mut().zip(seed.iter().take(SEED_LEN)).for_each(|(to, from)| *to = *from);
        Self { data, used: data.len() }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > self.data.len() {
            self.data = Blake2b512::digest(self.data).into();
            self.used = 0;
        }
        let taken = self.data.get(self.used..).and_then(|rest| rest.first_chunk()).copied();
        self.used += N;
        taken.unwrap_or([0; N])
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let index = match choices.len() {
            0 => return None,
            1 => 0,
            len => self.word() as usize % len,
        };
        choices.get(index).copied()
    }
}

/// Ports of the model, in the order in which they are tried: the port that multiplies comes last.
const P5: u8 = 1;
const P0: u8 = 2;
const P1: u8 = 4;
const PORTS: usize = 3;

/// What the decoder makes of an instruction: one or two steps for ports, or a move that takes none.
#[derive(Clone, Copy)]
struct Step {
    latency: usize,
    ports: [u8; 2],
    /// Begins when the step before it has ended.
    dependent: bool,
}

const fn step(latency: usize, ports: u8) -> Step {
    Step { latency, ports: [ports, 0], dependent: false }
}

const MOVE: Step = step(0, 0);
const MULTIPLY: Step = step(3, P1);
const WIDE_MULTIPLY: Step = Step { latency: 4, ports: [P1, P5], dependent: false };
const ANY: Step = step(1, P5 | P0 | P1);

impl Operation {
    fn steps(self) -> &'static [Step] {
        match self {
            Self::Subtract | Self::Xor | Self::AddConstant | Self::XorConstant => &[ANY],
            Self::AddShifted => const { &[step(1, P0 | P1)] },
            Self::Rotate => const { &[step(1, P0 | P5)] },
            Self::Multiply => &[MULTIPLY],
            Self::MultiplyHigh | Self::MultiplyHighSigned => &[MOVE, WIDE_MULTIPLY, MOVE],
            Self::MultiplyConstant => const { &[ANY, Step { dependent: true, ..MULTIPLY }] },
        }
    }

    /// The step at which the source register is chosen.
    fn source_step(self) -> Option<usize> {
        match self {
            Self::Subtract | Self::Xor | Self::AddShifted | Self::Multiply => Some(0),
            Self::MultiplyHigh | Self::MultiplyHighSigned => Some(1),
            Self::Rotate | Self::AddConstant | Self::XorConstant | Self::MultiplyConstant => None,
        }
    }

    /// The step at which the destination register is chosen.
    fn destination_step(self) -> usize {
        usize::from(self == Self::MultiplyConstant)
    }

    /// The step that gives the result.
    fn result_step(self) -> usize {
        usize::from(self.steps().len() > 1)
    }

    fn is_wide(self) -> bool {
        matches!(self, Self::MultiplyHigh | Self::MultiplyHighSigned)
    }

    fn multiplies(self) -> bool {
        self.is_wide() || matches!(self, Self::Multiply | Self::MultiplyConstant)
    }

    /// Subtracting counts as adding where one is not to follow the other with the same source.
    fn group(self) -> Self {
        if self == Self::Subtract { Self::AddShifted } else { self }
    }
}

/// Which instruction may not follow on a register: its group and what it took beside the register.
type Last = (Operation, i64);

/// What a parameter is where an instruction takes a constant.
const CONSTANT: i64 = -1;

/// Groups of slots that 16 bytes of code are split into; the numbers are bytes.
const SLOTS_484: &[u8] = &[4, 8, 4];
const SLOTS_7333: &[u8] = &[7, 3, 3, 3];
const SLOTS_3733: &[u8] = &[3, 7, 3, 3];
const SLOTS_493: &[u8] = &[4, 9, 3];
const SLOTS_4444: &[u8] = &[4, 4, 4, 4];
const SLOTS_3310: &[u8] = &[3, 3, 10];

/// An instruction whose registers are being chosen.
struct Candidate {
    operation: Operation,
    constant: u64,
    s: Option<usize>,
    d: usize,
    parameter: i64,
}

impl Candidate {
    /// One that fits a slot.
    fn for_slot(entropy: &mut Entropy, slots: &[u8], index: usize) -> Self {
        let last = index + 1 == slots.len();
        let pick = |byte: u8, choices: [Operation; 2]| if byte & 1 == 0 { choices[0] } else { choices[1] };
        let operation = match slots.get(index) {
            Some(3) if last => match entropy.byte() & 3 {
                0 => Operation::Subtract,
                1 => Operation::Xor,
                2 => Operation::MultiplyHigh,
                _ => Operation::MultiplyHighSigned,
            },
            Some(3) => pick(entropy.byte(), [Operation::Subtract, Operation::Xor]),
            Some(4) if slots == SLOTS_4444 && !last => Operation::Multiply,
            Some(4) => pick(entropy.byte(), [Operation::Rotate, Operation::AddShifted]),
            Some(7..=9) => pick(entropy.byte(), [Operation::XorConstant, Operation::AddConstant]),
            _ => Operation::MultiplyConstant,
        };
        Self::new(entropy, operation)
    }

    fn new(entropy: &mut Entropy, operation: Operation) -> Self {
        let sign_extended = |word: u32| i64::from(word.cast_signed()).cast_unsigned();
        let (mut constant, mut parameter) = (0, CONSTANT);
        match operation {
            Operation::AddShifted => constant = u64::from(entropy.byte() >> 2 & 3),
            Operation::Rotate => {
                while constant == 0 {
                    constant = u64::from(entropy.byte() & 63);
                }
            }
            Operation::AddConstant | Operation::XorConstant => constant = sign_extended(entropy.word()),
            Operation::MultiplyHigh | Operation::MultiplyHighSigned => {
                parameter = entropy.word().cast_signed().into();
            }
            Operation::MultiplyConstant => {
                let mut divisor = 0_u32;
                while divisor & divisor.wrapping_sub(1) == 0 {
                    divisor = entropy.word();
                }
                constant = reciprocal(divisor);
            }
            Operation::Subtract | Operation::Xor | Operation::Multiply => {}
        }
        Self { operation, constant, s: None, d: 0, parameter }
    }

    fn choose_source(
        &mut self,
        registers: &[Register; REGISTERS],
        cycle: usize,
        entropy: &mut Entropy,
    ) -> bool {
        let ready: Vec<usize> =
            (0..).zip(registers).filter(|(_, r)| r.ready <= cycle).map(|(n, _)| n).collect();
        // Of two registers one of which cannot be the destination, that one is the source.
        let forced = self.operation == Operation::AddShifted && ready.len() == 2 && ready.contains(&NO_LEA);
        let chosen = if forced { Some(NO_LEA) } else { entropy.one_of(&ready) };
        if let Some(s) = chosen {
            self.s = Some(s);
            if !self.operation.is_wide() {
                self.parameter = s as i64;
            }
        }
        chosen.is_some()
    }

    fn choose_destination(
        &mut self,
        registers: &[Register; REGISTERS],
        cycle: usize,
        thrown_away: bool,
        entropy: &mut Entropy,
    ) -> bool {
        let group = self.operation.group();
        let fits = |n: usize, register: &Register| {
            let last = register.last;
            register.ready <= cycle
                && (self.operation.is_wide() || Some(n) != self.s)
                && (thrown_away
                    || group != Operation::Multiply
                    || last.is_none_or(|(group, _)| group != Operation::Multiply))
                && last != Some((group, self.parameter))
                && (self.operation != Operation::AddShifted || n != NO_LEA)
        };
        let fitting: Vec<usize> =
            (0..).zip(registers).filter(|(n, register)| fits(*n, register)).map(|(n, _)| n).collect();
        let chosen = entropy.one_of(&fitting);
        self.d = chosen.unwrap_or(self.d);
        chosen.is_some()
    }

    fn instruction(&self) -> Instruction {
        let s = self.s.unwrap_or(self.d) as u8;
        Instruction { operation: self.operation, d: self.d as u8, s, constant: self.constant }
    }
}

#[derive(Clone, Copy, Default)]
struct Register {
    /// Cycle from which its value can be used.
    ready: usize,
    last: Option<Last>,
}

/// Which ports are taken in which cycle, a bit each.
struct Ports([u8; CYCLES]);

impl Ports {
    /// The first cycle from `from` on with a free port among `ports`, and that port.
    fn find(&self, ports: u8, from: usize) -> Option<(usize, u8)> {
        let free = |taken: &u8| (0..PORTS).map(|n| 1 << n).find(|port| ports & port & !taken != 0);
        (from..).zip(self.0.get(from..)?).find_map(|(cycle, taken)| Some((cycle, free(taken)?)))
    }

    /// The first cycle in which a step has all its ports.
    fn fit(&self, step: Step, from: usize, after: usize) -> Option<usize> {
        let from = if step.dependent { from.max(after) } else { from };
        match step.ports {
            [0, _] => Some(from),
            [ports, 0] => self.find(ports, from).map(|(cycle, _)| cycle),
            [a, b] => (from..CYCLES).find(|at| {
                [a, b].iter().all(|ports| self.find(*ports, *at).is_some_and(|(cycle, _)| cycle == *at))
            }),
        }
    }

    fn take(&mut self, step: Step, cycle: usize) {
        for ports in step.ports {
            if let Some((at, port)) = self.find(ports, cycle)
                && let Some(taken) = self.0.get_mut(at)
            {
                *taken |= port;
            }
        }
    }
}

/// Why a slot was not filled.
enum Unfilled {
    /// A register is not ready in time.
    NoRegister,
    /// A port has no room left.
    Saturated,
}

struct Generator<'a> {
    entropy: &'a mut Entropy,
    ports: Ports,
    registers: [Register; REGISTERS],
    instructions: Vec<Instruction>,
    multiplications: usize,
    /// The instruction whose steps are given out, and the next of them.
    current: Option<(Candidate, usize)>,
    cycle: usize,
    /// When the step before ends.
    ended: usize,
    thrown_away: u32,
    saturated: bool,
}

/// The next program.
pub(super) fn generate(entropy: &mut Entropy) -> Program {
    let mut generator = Generator {
        entropy,
        ports: Ports([0; CYCLES]),
        registers: [Register::default(); REGISTERS],
        instructions: Vec::with_capacity(MAX_LEN),
        multiplications: 0,
        current: None,
        cycle: 0,
        ended: 0,
        thrown_away: 0,
        saturated: false,
    };
    for decoded in 0..LATENCY {
        if generator.is_full() {
            break;
        }
        let slots = generator.next_slots(decoded);
        generator.fill(slots);
        generator.cycle += 1;
    }
    let address = address_register(&generator.instructions);
    Program { instructions: generator.instructions, address }
}

impl Generator<'_> {
    fn is_full(&self) -> bool {
        self.saturated || self.instructions.len() >= MAX_LEN
    }

    fn next_slots(&mut self, decoded: usize) -> &'static [u8] {
        let operation = self.current.as_ref().map(|(candidate, _)| candidate.operation);
        if operation.is_some_and(Operation::is_wide) {
            return SLOTS_3310;
        }
        if self.multiplications < decoded + 1 {
            return SLOTS_4444;
        }
        if operation == Some(Operation::MultiplyConstant) {
            return if self.entropy.byte() & 1 == 1 { SLOTS_484 } else { SLOTS_493 };
        }
        match self.entropy.byte() & 3 {
            0 => SLOTS_484,
            1 => SLOTS_7333,
            2 => SLOTS_3733,
            _ => SLOTS_493,
        }
    }

    fn fill(&mut self, slots: &'static [u8]) {
        let mut index = 0;
        while index < slots.len() {
            let (mut candidate, at) = match self.current.take() {
                Some((candidate, at)) if at < candidate.operation.steps().len() => (candidate, at),
                finished => {
                    if self.is_full() {
                        self.current = finished;
                        return;
                    }
                    (Candidate::for_slot(self.entropy, slots, index), 0)
                }
            };
            let top = self.cycle;
            match self.place(&mut candidate, at) {
                Ok(()) => {
                    self.thrown_away = 0;
                    self.cycle = top;
                    index += 1;
                    self.current = Some((candidate, at + 1));
                }
                Err(Unfilled::NoRegister) if self.thrown_away < MAX_THROWN_AWAY => {
                    self.thrown_away += 1;
                    let end = candidate.operation.steps().len();
                    self.current = Some((candidate, end));
                }
                Err(Unfilled::NoRegister) => return,
                Err(Unfilled::Saturated) => {
                    self.saturated = true;
                    self.current = Some((candidate, at));
                    return;
                }
            }
        }
    }

    /// Gives one step of an instruction its cycle and, where it is due, its registers.
    fn place(&mut self, candidate: &mut Candidate, at: usize) -> Result<(), Unfilled> {
        let operation = candidate.operation;
        let step = *operation.steps().get(at).ok_or(Unfilled::Saturated)?;
        let mut cycle = self.ports.fit(step, self.cycle, self.ended).ok_or(Unfilled::Saturated)?;
        let thrown_away = self.thrown_away > 0;
        if operation.source_step() == Some(at) {
            self.wait(&mut cycle, |g, cycle| candidate.choose_source(&g.registers, cycle, g.entropy))?;
        }
        if operation.destination_step() == at {
            self.wait(&mut cycle, |g, cycle| {
                candidate.choose_destination(&g.registers, cycle, thrown_away, g.entropy)
            })?;
        }
        self.thrown_away = 0;
        cycle = self.ports.fit(step, cycle, cycle).ok_or(Unfilled::Saturated)?;
        self.ports.take(step, cycle);
        self.ended = cycle + step.latency;
        if operation.result_step() == at
            && let Some(register) = self.registers.get_mut(candidate.d)
        {
            *register = Register { ready: self.ended, last: Some((operation.group(), candidate.parameter)) };
        }
        self.saturated |= cycle >= LATENCY;
        if at + 1 == operation.steps().len() {
            self.instructions.push(candidate.instruction());
            self.multiplications += usize::from(operation.multiplies());
        }
        Ok(())
    }

    /// Tries in a few cycles in a row.
    fn wait(
        &mut self,
        cycle: &mut usize,
        mut choose: impl FnMut(&mut Self, usize) -> bool,
    ) -> Result<(), Unfilled> {
        for _ in 0..LOOK_FORWARD {
            if choose(self, *cycle) {
                return Ok(());
            }
            *cycle += 1;
            self.cycle += 1;
        }
        Err(Unfilled::NoRegister)
    }
}

/// The register behind the longest chain of instructions.
fn address_register(instructions: &[Instruction]) -> u8 {
    let mut chains = [0_usize; REGISTERS];
    for Instruction { d, s, .. } in instructions {
        let chain = |n: &u8| chains.get(usize::from(*n)).copied().unwrap_or_default() + 1;
        let longest = if d == s { chain(d) } else { chain(d).max(chain(s)) };
        if let Some(place) = chains.get_mut(usize::from(*d)) {
            *place = longest;
        }
    }
    let longest = chains.iter().copied().max().unwrap_or_default();
    chains.iter().position(|chain| *chain == longest).unwrap_or_default() as u8
}
