//! flow: stub
