//! The catalog: which events matter, and what they mean.

use serde::Deserialize;
use serde::Serialize;

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
    /// JSON Schema of `data`, as JSON: what readers may expect.
    pub schema: Option<serde_json::Value>,
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
