//! The desk against an API server of values, in virtual time. Names of tests begin with the scenario that they prove.

mod endings;
mod incidents;
mod order;
mod refusals;

use std::time::Duration;

use crate::sink::specimen::*;
use crate::{
    alert::Brief,
    decide::refusal::{About, Answer},
    sink::live::Sight,
};
