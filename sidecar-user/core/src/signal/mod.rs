//! signal: stub
