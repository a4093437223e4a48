//! gzip for those who ask for it.

/// Whether an `Accept-Encoding` header takes gzip (RFC 9110 section 12.5.3): named with a weight above 0, or covered by
/// `*`.
pub(super) fn takes_gzip(accept_encoding: &str) -> bool {
    let weight = |wanted: &str| {
        accept_encoding.split(',').find_map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let coding = parts.next()?;
            let q = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
            coding
                .eq_ignore_ascii_case(wanted)
                .then(|| q.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0)))
        })
    };
    weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        for (header, expected) in [
            ("", false),
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("*", true),
            ("*;q=0", false),
            ("br", false),
            ("gzip;q=x", false),
        ] {
            assert_eq!(takes_gzip(header), expected, "{header}");
        }
    }
}
