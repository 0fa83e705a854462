//! The catalog: which events matter, and what they mean.

use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::schema::Schema;

/// A kind of event that the platform vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventType {
    /// The CloudEvents `type`, such as `flight.completed`.
    #[serde(rename = "type")]
    pub id: String,
    pub title: String,
    pub description: String,
    pub lifecycle: Lifecycle,
    pub owner: Option<String>,
    /// Whose endpoints its events are delivered to.
    pub audience: Audience,
    /// What becomes of an event whose `data` breaks the schema.
    pub validation: Validation,
    /// JSON Schema of `data`: what readers may expect.
    pub schema: Option<Schema>,
    pub example: Option<serde_json::Value>,
}

/// Where an event type stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    Draft,
    Published,
    Deprecated,
    Retired,
}

/// Whose endpoints events are delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Those of the consumer that the event is about.
    Own,
    /// Everybody's.
    Public,
}

/// What becomes of an event whose data breaks the schema of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Nobody looks.
    Off,
    /// It is taken, and the answer says what is wrong with it.
    Warn,
    /// It is invalid.
    Enforce,
}
