//! The way out: objects on the Kubernetes API, at a budget.

pub mod desk;
pub mod fold;
pub mod folder;
pub mod kubernetes;
pub mod lanes;
pub mod live;
pub mod object;
pub mod outage;
pub mod pace;
pub mod settle;
pub mod stage;
pub mod tell;
pub mod thin;
pub mod watch;
pub mod width;

#[cfg(test)]
mod specimen;

use crate::{
    decide::refusal::Answer,
    remediation::crd::{RemediationRequest, RemediationRequestStatus},
};
use desk::Found;
use object::ObjectId;

/// Where objects are written: a Kubernetes API, or a folder of YAML files. One call each; what an answer asks of us is
/// judged elsewhere, and nothing is tried again here.
pub trait Objects: Clone + Send + Sync + 'static {
    /// A plain create; a name that is taken is an answer (409 `AlreadyExists`).
    fn create(&self, object: &RemediationRequest) -> impl Future<Output = Result<Found, Answer>> + Send;

    /// Writes all our fields of a status, and none of anybody else's, if the object still has that version.
    fn apply_status(
        &self,
        id: &ObjectId,
        version: &str,
        status: &RemediationRequestStatus,
    ) -> impl Future<Output = Result<Found, Answer>> + Send;

    /// How an object stands; none of that name is an answer (404).
    fn read(&self, id: &ObjectId) -> impl Future<Output = Result<Found, Answer>> + Send;
}
