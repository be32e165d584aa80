//! The log as a product: what was set aside is put back, what was decided is decided again.

pub mod letters;
pub mod redrive;
