//! Is a segment of a path a word of the application's, or a value: an id, a name, a date?

/// No word is longer.
const WORD_MAX: usize = 32;
/// This many digits are a number, a date, an id; a word has a version's at most (`v1`, `oauth2`, `v2beta1`).
const DIGITS: usize = 3;
/// So often letters and digits change only where they are drawn at random (`dQw4w9WgXcQ`).
const CHANGES: usize = 4;
/// Longer than this, a segment in one piece with a digit in it is drawn at random.
const PIECE_MAX: usize = 20;
/// From so many words on they are a title (`how-to-tie-a-knot`).
const TITLE: usize = 4;
/// The shortest hash (git's).
const HEX_MIN: usize = 7;

/// Values are recognised by their look alone; what looks like a word may still be one.
pub(super) fn is_value(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let is_separator = |b: &u8| matches!(b, b'-' | b'_' | b'.' | b'~');
    // Escapes, addresses, lists, any other script.
    if bytes.len() > WORD_MAX || !bytes.iter().all(|b| b.is_ascii_alphanumeric() || is_separator(b)) {
        return true;
    }
    // A number, as most ids are.
    if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let n_digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    let is_hex = bytes.len() >= HEX_MIN && n_digits > 0 && bytes.iter().all(u8::is_ascii_hexdigit);
    let changes = |pair: &&[u8]| {
        let [a, b] = **pair else { return false };
        a.is_ascii_digit() != b.is_ascii_digit() && !is_separator(&a) && !is_separator(&b)
    };
    let n_changes = bytes.windows(2).filter(changes).count();
    let is_long_piece = bytes.len() >= PIECE_MAX && n_digits > 0 && !bytes.iter().any(is_separator);
    let n_words = segment.split(['-', '_']).filter(|word| !word.is_empty()).count();
    n_digits >= DIGITS || is_hex || n_changes >= CHANGES || is_long_piece || n_words >= TITLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks() {
        for value in [
            "7",
            "007",
            "2026-11-26",
            "order-1234",
            "100.bin",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "123e4567-e89b-12d3-a456-426614174000",
            "abcdef1",
            "dQw4w9WgXcQ",
            "alice@example.com",
            "a%20b",
            "caf\u{e9}",
            "how-to-tie-a-knot",
            "k7abcdefghijklmnopqrst",
            "averyveryverylongwordthatnobodyuses",
            "a,b,c",
        ] {
            assert!(is_value(value), "{value}");
        }
        for word in [
            "",
            "users",
            "v1",
            "v10",
            "oauth2",
            "v2beta1",
            "index.html",
            "deadbeef",
            "forgot-password",
            "s3",
            "mp3",
            "terms-of-service",
            ".well-known",
            "openid-configuration",
            "getUserProfilePicture",
            "~home",
            "log4j2",
        ] {
            assert!(!is_value(word), "{word}");
        }
    }
}
