//! Errors, as the log has them.

/// An error and what caused it, on one line. The JSON form of the log shows of an error itself only the first. What an
/// error says of its cause already is not said again.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}
