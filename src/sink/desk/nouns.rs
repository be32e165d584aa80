//! What goes over the desk: calls and answers, and what follows from them.

use std::time::Duration;

use crate::{
    decide::{
        backoff::Backoff,
        refusal::{Answer, Asked, Refusal},
    },
    kafka::Record,
    pipeline::Pipeline,
    remediation::crd::{RemediationRequest, RemediationRequestStatus},
    sink::{
        fold,
        lanes::{Held, Work},
        live::{Ended, StormLife},
        object::{Object, ObjectId},
    },
};

/// What the pipeline says about the way out.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where objects go whose namespace is not there.
    pub fallback: String,
    /// How figures are folded.
    pub fold: fold::Rules,
    /// How long storms live.
    pub life: StormLife,
    /// How long to rest.
    pub backoff: Backoff,
    /// How long one object may fail while others pass.
    pub give_up_after: Duration,
    /// Records held at once.
    pub capacity: usize,
}

impl Rules {
    /// As the pipeline says; where objects go whose namespace is not there, the operator says.
    #[must_use]
    pub fn of(pipeline: &Pipeline, fallback: &str) -> Self {
        let (sink, storm) = (&pipeline.sink, &pipeline.storm);
        Self {
            fallback: fallback.to_owned(),
            fold: fold::Rules { severities: pipeline.severity.order.clone(), max_listed: storm.max_listed },
            life: StormLife { quiet: storm.quiet, max_duration: storm.max_duration },
            backoff: Backoff { floor: sink.backoff_floor, ceiling: sink.backoff_ceiling },
            give_up_after: sink.give_up_after,
            capacity: sink.lanes,
        }
    }
}

/// One call to the API.
#[derive(Clone, Debug)]
pub enum Call {
    /// A plain create.
    Create(Box<RemediationRequest>),
    /// A server-side apply of all our status fields, under the version last seen.
    Apply {
        /// The object.
        id: ObjectId,
        /// The version last seen.
        version: String,
        /// Our fields.
        status: Box<RemediationRequestStatus>,
    },
    /// How it stands.
    Read(ObjectId),
}

impl Call {
    /// What an answer to it is judged by.
    #[must_use]
    pub fn asked(&self) -> Asked {
        match self {
            Self::Create(_) => Asked::Create,
            Self::Apply { .. } | Self::Read(_) => Asked::Object,
        }
    }
}

/// What a call found or made.
#[derive(Clone, Debug)]
pub enum Found {
    /// An object of ours, as it stands now.
    Ours(Box<Object>),
    /// An object that is nobody's incident.
    Stranger,
}

/// A call that is due, and what it is for. Goes back to the desk with its answer.
#[derive(Debug)]
pub struct Job {
    /// What to ask.
    pub call: Call,
    pub(super) work: Work,
}

impl Job {
    /// The object that it is about.
    #[must_use]
    pub fn object(&self) -> &ObjectId {
        &self.work.id
    }

    /// The records that it is for.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.work.held
    }
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// A call.
    Ask(Box<Job>),
    /// Nothing has to be asked; this is settled.
    Reply(Box<Reply>),
    /// Nothing is due.
    Rest,
}

/// A record that never passes as it is.
#[derive(Clone, Debug)]
pub struct Dead {
    /// The record.
    pub record: Record,
    /// The closed spelling: `malformed`, `refused`, `gave_up`.
    pub reason: &'static str,
    /// For a person.
    pub detail: String,
}

/// What follows from an answer, or from a record.
#[derive(Debug, Default)]
pub struct Reply {
    /// Records that are settled: finished once what is below is acknowledged.
    pub settled: Vec<Held>,
    /// What to set aside.
    pub dead: Vec<Dead>,
    /// What to tell the log.
    pub tell: Vec<Ended>,
    /// `created`, `existed`, `updated`, `unchanged`, `gone`: what came of a write.
    pub result: Option<&'static str>,
    /// The class of a refusal, and the answer.
    pub refused: Option<(Refusal, Answer)>,
    /// How long nothing shall be asked at all.
    pub pause: Option<Duration>,
}
