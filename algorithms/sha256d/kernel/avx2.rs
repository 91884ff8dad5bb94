//! AVX2 and the SHA unit.

mod layout;
mod sha_stream;
mod vector_stream;

use crate::instructions::Instructions;
use layout::{LANES, NONCE, RESULTS, ROUNDS, TURNS, VECTOR_ROUNDS, WAYS, at};

/// The whole function: `rdi` is the workspace, `rsi` the iterations; in `rax` those left when it stopped.
///
/// - `r8`, `r9`, `rdx`: `a`, `e` and the word of the schedule of the next round in vectors
/// - `r10`, `r11d`: where the SHA unit writes what it finds, and its next nonce; `ecx` is anybody's
/// - `esi`: turns of a loop that are left
pub fn function() -> Instructions {
    let mut whole = Instructions::default();
    whole.push("mov rax, rsi");
    whole.push("2:");
    whole.push(format!("lea r10, {}", at(RESULTS)));
    whole.append(vector_stream::first_hash());
    whole.push("call 4f");
    whole.append(vector_stream::second_hash());
    whole.push("call 4f");
    whole.append(vector_stream::test());
    whole.push("jnz 3f");
    whole.push(format!("add dword ptr {}, {}", at(NONCE), LANES + TURNS * WAYS));
    whole.push("dec rax");
    whole.push("jnz 2b");
    whole.push("3:");
    whole.push("vzeroupper");
    whole.push("ret");
    whole.push("4:");
    whole.push(format!("mov esi, {}", VECTOR_ROUNDS / ROUNDS));
    whole.push("5:");
    whole.append(Instructions::shuffled(sha_stream::hashes(), vector_stream::rounds()));
    whole.push("sub esi, 1");
    whole.push("jnz 5b");
    whole.push("ret");
    whole
}
