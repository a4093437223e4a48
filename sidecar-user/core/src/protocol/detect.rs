//! stub
use super::Protocol;
/// stub
#[derive(Debug)]
pub enum Detection {
    /// stub
    Known(&'static Protocol),
}
/// stub
#[derive(Debug)]
pub struct Detector;
