//! config: stub
