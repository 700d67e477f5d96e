//! The values of one view for one key in the form in which MongoDB keeps them and ClickHouse computes them: finished.
//! Whether a reader gets them at an instant is decided elsewhere (`assemble`).

use serde_json::Value as Json;

use crate::batch::Run;

/// The finished values of one view for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Feature time of the newest event in them, epoch ms. None where no event is in them: the entity is unknown then.
    pub newest: Option<i64>,
    /// The run that wrote them, in a batch view.
    pub run: Option<Run>,
    /// One result for each wanted feature: its value, None where the window is empty, or why it cannot be read.
    pub values: Vec<Result<Option<Json>, String>>,
}

/// The result of looking one key up in a store that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// The store holds this for the key.
    Known(T),
    /// The store holds nothing for the key.
    Unknown,
    /// The store holds something that cannot be read, and the text says why. Other keys are not affected.
    Unreadable(String),
}

impl<T> Found<T> {
    /// The value that the store holds. None where it holds nothing for the key, or something that cannot be read.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(known) => Some(known),
            Self::Unknown | Self::Unreadable(_) => None,
        }
    }

    /// The same over a reference.
    pub fn as_ref(&self) -> Found<&T> {
        match self {
            Self::Known(known) => Found::Known(known),
            Self::Unknown => Found::Unknown,
            Self::Unreadable(reason) => Found::Unreadable(reason.clone()),
        }
    }

    /// Applies `change` to what the store holds.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Known(known) => Found::Known(change(known)),
            Self::Unknown => Found::Unknown,
            Self::Unreadable(reason) => Found::Unreadable(reason),
        }
    }
}
