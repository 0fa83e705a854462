//! What did not arrive at once, and is due to be tried again: handed to the workers, a few of each endpoint at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::clock;
use crate::delivery::Office;
use crate::delivery::Working;
use crate::domain::ids::EndpointId;
use crate::store;
use crate::store::endpoints::Delivery;

pub(in crate::delivery) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Handfuls that wait for one worker. One: what waits is due again when it is looked for next.
pub(in crate::delivery) const WAITING_MAX: usize = 1;
const OF_EACH_ENDPOINT: i64 = 16;

/// Some deliveries of one endpoint that are due.
pub(in crate::delivery) struct Again {
    pub deliveries: Vec<Delivery>,
    /// Stands until what came of them is written down.
    pub flag: Arc<AtomicBool>,
}

/// Hands what is due to the workers of its endpoints. One that is busy with the handful before, or rests, gets none.
pub(in crate::delivery) async fn send_out(
    office: &Office,
    working: &HashMap<EndpointId, Working>,
) -> store::Result<()> {
    if working.is_empty() {
        return Ok(());
    }
    let due = office.db.read().await?.due_deliveries(clock::now(), OF_EACH_ENDPOINT).await?;
    let mut of_endpoints: HashMap<EndpointId, Vec<Delivery>> = HashMap::new();
    for delivery in due {
        of_endpoints.entry(delivery.endpoint.clone()).or_default().push(delivery);
    }
    for (endpoint, deliveries) in of_endpoints {
        let Some(worker) = working.get(&endpoint) else { continue };
        worker.hand(deliveries);
    }
    Ok(())
}
