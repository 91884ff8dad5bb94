//! What names and texts for people may hold.

use crate::{MAX_NAME_LEN, MAX_TEXT_LEN};

/// An id or a version: it stands in file names and messages.
pub(crate) fn check_name(what: &str, text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    if (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("{what} must have 1 to {MAX_NAME_LEN} letters, digits and -_.+"))
}

/// A text that is shown on terminals: no control character may move the cursor or hide what stands beside it.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), String> {
    if (1..=MAX_TEXT_LEN).contains(&text.len()) && !text.chars().any(deceives) {
        return Ok(());
    }
    Err(format!("{what} must have 1 to {MAX_TEXT_LEN} bytes and no control characters"))
}

/// Control characters, and those that turn the direction of writing.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_texts_cannot_deceive() {
        assert_eq!(check_name("id", "scrypt-1024-1-1"), Ok(()));
        assert_eq!(check_name("version", "0.1.0+build_7"), Ok(()));
        for wrong in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(check_name("id", wrong).is_err(), "{wrong}");
        }
        assert_eq!(check_text("reviewer", "Ada Lovelace <ada@example.org>, Zürich"), Ok(()));
        for wrong in ["", "a\nb", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{7f}", &"x".repeat(201)] {
            assert!(check_text("reviewer", wrong).is_err(), "{wrong:?}");
        }
    }
}
