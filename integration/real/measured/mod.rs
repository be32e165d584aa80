//! Rows that speak of time or memory. Other tests would be measured with them: they run by themselves, one at a time.

mod budget;
mod flood;
