//! The pure layers of `sidecar`: values and functions of their inputs. No clock, no I/O, no environment; cargo holds
//! the fence (this crate has neither tokio nor aya), `cargo xtask tidy` the order of the layers inside it.
//!
//! From the bottom: [`model`] (plain values), [`dns`] (messages of the DNS) · [`event`] (records to events), [`protocol`]
//! (bytes to exchanges), [`signal`] (exchanges to series), [`config`] (what the user asked for), [`traffic`] (what the kernel is
//! told of it) · [`record`] (what of them others may see, as a capture) · [`flow`] (events to bytes in order), [`told`] (an exchange in one line), [`accounts`] (what flows counted, as
//! series) · [`replay`] (a capture to all of these).
#![forbid(unsafe_code)]

pub mod accounts;
pub mod config;
pub mod dns;
pub mod event;
pub mod flow;
pub mod model;
pub mod protocol;
pub mod record;
pub mod replay;
pub mod signal;
pub mod told;
pub mod traffic;
