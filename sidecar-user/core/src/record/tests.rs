//! What is recorded is read again.
