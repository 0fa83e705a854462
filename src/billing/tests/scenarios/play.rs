//! Does to a database what happens in a scenario, in its order.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::billing::close::Through;
use crate::billing::close::close;
use crate::billing::schedule::period_from;
use crate::billing::statement::statement;
use crate::billing::subscribe::Change;
use crate::billing::subscribe::Request;
use crate::billing::subscribe::change;
use crate::billing::subscribe::subscribe;
use crate::billing::tests::Meter;
use crate::billing::tests::at;
use crate::billing::tests::documents;
use crate::billing::tests::metering_of;
use crate::billing::tests::scenarios::book;
use crate::billing::tests::scenarios::list;
use crate::billing::tests::scenarios::text;
use crate::billing::tests::verified;
use crate::billing::tests::words;
use crate::domain::consumer::Consumer;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::statement::Statement;
use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::Subscription;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::store::Db;
use crate::store::tests::sqlite;

/// What came of a scenario.
pub struct Played {
    /// In the order of their numbers.
    pub invoices: Vec<Invoice>,
    pub subscriptions: Vec<Subscription>,
    /// One for each time at which the case says what was used so far.
    pub so_far: Vec<Statement>,
    /// What `verify` finds.
    pub not_verified: Vec<String>,
}

pub async fn play(case: &Value) -> Played {
    let (db, _folder) = sqlite().await;
    let stage = Stage {
        case,
        zone: Zone::named(book::timezone(case)).expect("a zone"),
        meter: metering_of(&db, book::files(case)).await,
        db,
    };
    let mut checks = list(&case["expected"]["current_usage"]).iter().map(|check| at(text(&check["at"]))).peekable();
    let mut so_far = Vec::new();
    let timeline = list(&case["input"]["timeline"]);
    for (index, action) in timeline.iter().enumerate() {
        stage.act(action).await;
        // What happens at the time of a check comes before it.
        let next = timeline.get(index + 1).map(|next| at(next["received_at"].as_str().unwrap_or(text(&next["at"]))));
        while let Some(time) = checks.next_if(|time| next.is_none_or(|next| *time < next)) {
            so_far.push(stage.statement(time).await);
        }
    }
    let subscriptions =
        stage.db.read().await.expect("begins").subscriptions(None, None, i64::MAX).await.expect("reads");
    Played {
        invoices: documents(&stage.db).await.0,
        subscriptions,
        so_far,
        not_verified: words(&verified(&stage.db, &stage.meter).await),
    }
}

struct Stage<'a> {
    case: &'a Value,
    zone: Zone,
    meter: Meter,
    db: Db,
}

impl Stage<'_> {
    async fn act(&self, action: &Value) {
        let time = at(text(&action["at"]));
        match text(&action["action"]) {
            "subscribe" => self.subscribe(action, Bucket::Hour.floor(time)).await,
            "event" => self.event(action, time).await,
            "bill" => self.close(time).await,
            "change_plan" => {
                let plan = Some(text(&action["plan"]).to_owned());
                match self.end_of_period(action).await {
                    Some(end) => self.change(action, Change::Plan { plan, at: end.to_string() }, time).await,
                    None => {
                        let changes_at = self.on_the_hour(action, time);
                        self.change(action, Change::Plan { plan, at: changes_at.to_string() }, time).await;
                        self.close(changes_at).await;
                    }
                }
            }
            "terminate" => {
                let end = match self.end_of_period(action).await {
                    Some(end) => end,
                    None => self.end(action, action["effective_at"].as_str().map_or(time, at)),
                };
                self.change(action, Change::End(Some(end.to_string())), time).await;
                if action["effective"] != "end_of_period" && action["effective_at"].is_null() {
                    self.close(end).await;
                }
            }
            other => panic!("{other} is not done here"),
        }
    }

    async fn subscribe(&self, action: &Value, start: Instant) {
        let consumer = Consumer {
            id: text(&action["subscription"]).to_owned(),
            name: "A consumer".to_owned(),
            email: None,
            currency: book::currency(self.case),
            tax: book::tax_rate(self.case).map(|_| "tax".to_owned()),
            tags: BTreeMap::new(),
            spend_cap: None,
            alerts: Vec::new(),
            created_at: start,
            updated_at: start,
        };
        let mut tx = self.db.write().await.expect("begins");
        tx.put_consumer(&consumer).await.expect("is put");
        tx.commit().await.expect("commits");
        let plan = text(&action["plan"]).to_owned();
        let request = Request { consumer: consumer.id, plan, start: start.to_string(), end: None };
        subscribe(&self.db, &self.meter.versions(), id(action), request, start).await.expect("subscribes");
        self.close(start).await;
    }

    async fn event(&self, event: &Value, time: Instant) {
        let mut data = event["dimensions"].as_object().cloned().unwrap_or_default();
        data.insert("value".to_owned(), event["value"].as_str().unwrap_or("1").parse().expect("a number"));
        let event = serde_json::json!({
            "specversion": "1.0",
            "id": self.place(event).to_string(),
            "source": "/case",
            "type": format!("metric.{}", text(&event["metric"])),
            "subject": event["subscription"],
            "time": time.to_string(),
            "data": data,
        });
        let body = event.to_string().into_bytes();
        let receipt = self.meter.ingest(Format::Ndjson, body, Invalid::Reject, time).await.expect("is taken");
        assert_eq!(receipt.accepted, 1, "{event} counts");
        self.meter.flush().await.expect("is flushed");
    }

    /// The index of an action in the timeline.
    fn place(&self, action: &Value) -> usize {
        list(&self.case["input"]["timeline"]).iter().position(|other| std::ptr::eq(other, action)).expect("is in it")
    }

    async fn close(&self, time: Instant) {
        close(&self.db, &self.meter.versions(), Through::Instant(time), time, |_| {}).await.expect("closes");
    }

    async fn change(&self, action: &Value, wanted: Change, now: Instant) {
        change(&self.db, &self.meter.versions(), &id(action), wanted, now).await.expect("changes");
    }

    async fn statement(&self, now: Instant) -> Statement {
        let timeline = list(&self.case["input"]["timeline"]);
        let subscribed = timeline.iter().find(|action| action["action"] == "subscribe").expect("somebody subscribes");
        let consumer = text(&subscribed["subscription"]);
        statement(&self.db, &self.meter.versions(), consumer, None, now).await.expect("is made")
    }

    /// Where the running period ends, if that is when an action is to take effect.
    async fn end_of_period(&self, action: &Value) -> Option<Instant> {
        if action["effective"] != "end_of_period" {
            return None;
        }
        let mut tx = self.db.read().await.expect("begins");
        let subscription = tx.subscription(&id(action)).await.expect("reads").expect("is known");
        let versions = self.meter.versions();
        let mut end = subscription.closed_through;
        while end <= at(text(&action["at"])) {
            let (period, _) = period_from(&subscription, end, &versions).expect("is found").expect("runs");
            end = period.covered.to();
        }
        Some(end)
    }

    /// When a subscription ends: where the day still counts, after it.
    fn end(&self, action: &Value, time: Instant) -> Instant {
        if self.case["parameters"]["rules"]["termination_day"] != "used" {
            return self.on_the_hour(action, time);
        }
        let next_day = time.date_in(&self.zone).tomorrow().expect("in the calendar");
        Instant::start_of(next_day, &self.zone).expect("in the calendar")
    }

    /// The full hour before or after a time, on the same side of all usage: subscriptions change at full hours.
    fn on_the_hour(&self, action: &Value, time: Instant) -> Instant {
        let before = Bucket::Hour.floor(time);
        let timeline = list(&self.case["input"]["timeline"]).iter();
        let of_same = timeline.filter(|other| other["subscription"] == action["subscription"]);
        let mut used = of_same.filter(|other| other["action"] == "event").map(|event| at(text(&event["at"])));
        if !used.any(|used| before <= used && used < time) {
            return before;
        }
        let after = Instant::from_micros(before.micros() + Bucket::Hour.micros());
        assert!(!used.any(|used| time <= used && used < after), "usage on both sides within an hour");
        after
    }
}

fn id(action: &Value) -> SubscriptionId {
    SubscriptionId::parse(&format!("sub_{}", text(&action["subscription"]))).expect("an id")
}
