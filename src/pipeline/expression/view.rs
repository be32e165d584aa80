//! An alert as CEL sees it: each field is read when it is asked for, and nothing is copied.

use std::collections::BTreeMap;

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer, Sizer},
        types::{CelInt, CelString, MAP_TYPE, Type},
        value::{CowVal, Val},
    },
};

use super::Allowance;
use crate::alert::Alert;

static ALERT: Type = Type::new_unspecified_type("breakwater.Alert");

/// An alert as CEL sees it: each field is read when asked for, nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct AlertView<'a> {
    pub alert: &'a Alert,
    /// What may be looked at yet.
    pub allowance: &'a Allowance,
    /// What a byte counts as.
    pub weight: usize,
}

impl AlertView<'_> {
    fn looked_at<'b, 'v>(&self, text: &'v str) -> Result<CowVal<'b, 'v>, ExecutionError> {
        self.allowance.spend(text.len().saturating_mul(self.weight))?;
        Ok(CowVal::owned(CelString::from(text)))
    }
}

impl Val for AlertView<'_> {
    fn get_type(&self) -> &Type {
        &ALERT
    }

    fn cel_type() -> &'static Type {
        &ALERT
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for AlertView<'_> {
    fn get<'b, 'v>(&'b self, field: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Self { alert, .. } = *self;
        let text = |text: &'v str| self.looked_at(text);
        match key(field) {
            Some("name") => text(&alert.name),
            Some("namespace") => text(alert.target.namespace.as_deref().unwrap_or_default()),
            Some("severity") => text(alert.severity.as_deref().unwrap_or_default()),
            Some("kind") => text(&alert.target.kind),
            Some("resource") => text(&alert.target.name),
            Some("cluster") => text(alert.cluster.as_deref().unwrap_or_default()),
            Some("source") => text(alert.source.as_str()),
            Some("labels") => Ok(CowVal::owned(TextsView { texts: &alert.labels, alert: *self })),
            Some("annotations") => Ok(CowVal::owned(TextsView { texts: &alert.annotations, alert: *self })),
            Some(_) | None => Err(ExecutionError::no_such_key("alert")),
        }
    }

    fn steal<'v>(self: Box<Self>, field: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(field).map(CowVal::into_owned)
    }
}

/// Labels or annotations as CEL sees them. What is not there reads as the empty text.
#[derive(Clone, Copy, Debug)]
struct TextsView<'a> {
    texts: &'a BTreeMap<String, String>,
    alert: AlertView<'a>,
}

impl Val for TextsView<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Container for TextsView<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(key(name).is_some_and(|name| self.texts.contains_key(name)))
    }
}

impl Sizer for TextsView<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.texts.len()).unwrap_or(i64::MAX))
    }
}

impl Indexer for TextsView<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let texts = self.texts;
        let text: &'v str = match key(name) {
            Some(name) => texts.get(name).map_or("", String::as_str),
            None => return Err(ExecutionError::no_such_key("labels")),
        };
        self.alert.looked_at(text)
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

fn key<'k>(key: &'k (dyn Val + '_)) -> Option<&'k str> {
    key.downcast_ref::<CelString>().map(CelString::inner)
}
