//! What the program says. Whoever reads it may stop reading (`| head`): then the rest is not said, and the work is done all
//! the same.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Writes to the standard output; whether that could be done.
pub(crate) fn write(text: fmt::Arguments<'_>) -> bool {
    let mut out = io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).is_ok()
}

/// As `println!`, without a panic where nobody reads.
macro_rules! say {
    () => { { let _ = $crate::output::write(format_args!("\n")); } };
    ($($text:tt)*) => { { let _ = $crate::output::write(format_args!("{}\n", format_args!($($text)*))); } };
}
pub(crate) use say;
