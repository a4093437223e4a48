//! A name as text.

/// Octets of a name as it is sent, with the last, empty label (RFC 1035, 2.3.4).
pub(super) const MOST: usize = 255;

/// Appends one octet of a label.
pub(super) fn spell(name: &mut String, octet: u8) {
    match octet.to_ascii_lowercase() {
        special @ (b'.' | b'\\') => name.extend(['\\', char::from(special)]),
        printable @ 0x21..=0x7e => name.push(char::from(printable)),
        other => {
            let digit = |n: u8| char::from(b'0' + n % 10);
            name.extend(['\\', digit(other / 100), digit(other / 10), digit(other)]);
        }
    }
}
