//! AVX-512 and the SHA unit.

mod layout;
mod schedule;
mod sha_stream;
mod vector_stream;
mod writer;

use crate::instructions::Instructions;
use layout::{FIRST, MIDDLE, SECOND, TABLES, TABLES_MIDDLE, from_middle};

/// The whole function: `rdi` is the workspace, `rsi` the iterations; in `rax` those left when it stopped.
///
/// - `rdi`, `rdx`: middle of the workspace and of its tables
/// - `r9`: message that the SHA unit reads
/// - `rcx`, `r11`: constants and place of the pairs of a block of the schedule; `rcx`: the pair that the SHA unit is at
/// - `r8d`: lanes of the last test that may meet the target; `r10d`: of all tests of an iteration
pub fn function() -> Instructions {
    let mut whole = Instructions::default();
    // From here on the upper parts of the lower registers are zero: only then are SHA instructions fast.
    whole.push("vzeroupper");
    whole.push("mov rax, rsi");
    whole.push(format!("lea rdx, [rdi + {}]", TABLES + TABLES_MIDDLE));
    whole.push(format!("add rdi, {MIDDLE}"));
    whole.push("2:");
    whole.append(vector_stream::schedule_first());
    whole.push(format!("lea r9, [rdi + {}]", from_middle(FIRST)));
    whole.push("call 4f");
    whole.push("mov r10d, r8d");
    whole.append(vector_stream::schedule_second());
    whole.push(format!("lea r9, [rdi + {}]", from_middle(SECOND)));
    whole.push("call 4f");
    whole.push("or r10d, r8d");
    whole.append(vector_stream::test_rows());
    whole.push("or r10d, r8d");
    whole.push("jnz 3f");
    whole.push("dec rax");
    whole.push("jnz 2b");
    whole.push("3:");
    whole.push("ret");
    whole.push("4:");
    whole.append(Instructions::shuffled(vector_stream::hash(), sha_stream::rounds()));
    whole.push("ret");
    whole.push("5:");
    whole.append(vector_stream::schedule_block());
    whole.push("ret");
    whole
}
