//! The log as a product: what was set aside is put back, what was decided is decided again.

pub mod course;
pub mod difference;
pub mod explain;
pub mod input;
pub mod lab;
pub mod letters;
pub mod redrive;
pub mod report;
pub mod standing;
pub mod trail;
pub mod trial;
