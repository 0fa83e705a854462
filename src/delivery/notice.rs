//! What deliveries say of themselves, as events of the log. The same happening always has the same id, so that it counts once.

use serde_json::Value;
use serde_json::json;

use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;

/// Deliveries of these are no events again, or there would be no end.
pub(in crate::delivery) const OF_DELIVERIES: &str = "tallystick.delivery.";
/// Whoever has acknowledged an event knows: this one is counted, and delivered to nobody.
pub(in crate::delivery) const ACKNOWLEDGED: &str = "tallystick.delivery.acknowledged";
const SOURCE: &str = "/tallystick/deliveries";

/// An event on one line, about a consumer.
pub(in crate::delivery) fn event(kind: &str, id: &str, consumer: &str, at: Instant, data: &Value) -> String {
    json!({
        "specversion": "1.0",
        "type": kind,
        "source": SOURCE,
        "id": id,
        "subject": consumer,
        "time": at.to_string(),
        "data": data,
    })
    .to_string()
}

/// Says that an endpoint is left alone since attempts failed from an instant on.
pub(in crate::delivery) fn disabled(
    endpoint: &EndpointId,
    consumer: &str,
    since: Instant,
    at: Instant,
    why: &str,
) -> String {
    let id = format!("{endpoint}-disabled-{}", since.micros());
    event("tallystick.endpoint.disabled", &id, consumer, at, &json!({ "endpoint": endpoint, "reason": why }))
}
