//! Does to a server what happens in a scenario, in its order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::scenarios::book;
use crate::scenarios::documents::Invoice;
use crate::scenarios::documents::Statement;
use crate::scenarios::documents::Subscription;
use crate::scenarios::list;
use crate::scenarios::text;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::server::Server;

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

/// Plays it to its end, and on to the last day on which something is expected.
pub fn play(case: &Value, expected: &Value, engine: Engine) -> Played {
    let data = Data::new(engine);
    let pricing = data.folder().join("pricing");
    book::files(case).iter().for_each(|(path, text)| write(&pricing.join(path), text));
    let server = Server::start_with(data, &pricing, &[]);
    let mut stage = Stage { case, zone: book::zone(case), server, ids: RefCell::default() };
    let mut checks = list(&case["expected"]["current_usage"]).iter().map(|check| at(&check["at"])).peekable();
    let mut so_far = Vec::new();
    let timeline = list(&case["input"]["timeline"]);
    for (index, action) in timeline.iter().enumerate() {
        stage.act(index, action);
        // What happens at the time of a check comes before it.
        let next = timeline.get(index + 1);
        let next = next.map(|next| at(if next["received_at"].is_null() { &next["at"] } else { &next["received_at"] }));
        while let Some(time) = checks.next_if(|time| next.is_none_or(|next| *time < next)) {
            so_far.push(stage.statement(text(&timeline[0]["subscription"]), time));
        }
    }
    if let Some(day) = last_day(expected) {
        stage.close(stage.start_of(day));
    }
    let (mut invoices, subscriptions) = (stage.all::<Invoice>("/v1/invoices"), stage.all("/v1/subscriptions"));
    // They are listed by their ids. A number has no zeros before it.
    invoices.sort_by_key(|invoice| (invoice.number.len(), invoice.number.clone()));
    stage.server.stop();
    let verified = stage.server.data.run(&["verify", "--json"]);
    let differences = list(&verified.json()["differences"]).iter().map(Value::to_string).collect();
    Played { invoices, subscriptions, so_far, not_verified: differences }
}

struct Stage<'a> {
    case: &'a Value,
    zone: TimeZone,
    server: Server,
    /// Of the subscriptions, by the names that the case gives them. Their consumers have these names too.
    ids: RefCell<BTreeMap<String, String>>,
}

impl Stage<'_> {
    fn act(&self, index: usize, action: &Value) {
        let time = at(&action["at"]);
        match text(&action["action"]) {
            "subscribe" => self.subscribe(action, time),
            "event" => self.event(index, action, time),
            "bill" => self.close(time),
            "change_plan" => {
                let end_of_period = self.end_of_period(action);
                let changes_at = end_of_period.unwrap_or_else(|| self.on_the_hour(action, time));
                self.change(action, &json!({ "plan": action["plan"], "at": changes_at.to_string() }));
                if end_of_period.is_none() {
                    self.close(changes_at);
                }
            }
            "terminate" => {
                let said = if action["effective_at"].is_null() { time } else { at(&action["effective_at"]) };
                let end_of_period = self.end_of_period(action);
                let end = end_of_period.unwrap_or_else(|| self.end(action, said));
                let [charges, credits] = [&action["final_invoice"], &action["credit"]].map(|settles| settles != "skip");
                let wanted = json!({ "end": end.to_string(), "end_charges": charges, "end_credits": credits });
                self.change(action, &wanted);
                if end_of_period.is_none() && action["effective_at"].is_null() {
                    self.close(end);
                }
            }
            "set_quantity" => {
                let (quantity, at) = (&action["quantity"], self.on_the_hour(action, time).to_string());
                self.change(action, &json!({ "quantity": quantity, "at": at }));
            }
            "pause" | "resume" => {
                let at = self.on_the_hour(action, time);
                let paused = action["action"] == "pause";
                self.change(action, &json!({ "paused": paused, "at": at.to_string() }));
                self.close(at);
            }
            "pay" => self.pay(action),
            "set_anchor_day" => {
                let moves_at = self.on_the_hour(action, time).to_string();
                self.change(action, &json!({ "anchor_day": action["anchor_day"], "at": moves_at }));
            }
            other => panic!("{other} is not done here"),
        }
    }

    fn subscribe(&self, action: &Value, said: Timestamp) {
        let plans = list(&self.case["parameters"]["plans"]).iter();
        let mut of_case = plans.filter(|plan| plan["code"] == action["plan"]);
        let later = of_case.find(|plan| book::begins_after_its_trial(self.case, plan)).and_then(book::trial_days);
        let start = hour_of(said) + (24 * later.unwrap_or_default()).hours();
        let consumer = text(&action["subscription"]);
        let tax = book::tax_rate(self.case).map(|_| "tax");
        let known = json!({ "name": "A consumer", "currency": book::currency(self.case), "tax": tax });
        self.server.put(&format!("/v1/consumers/{consumer}"), &known).ok();
        let (plan, day, quantity) = (&action["plan"], &action["anchor_day"], &action["quantity"]);
        let wanted = json!({
            "consumer": consumer,
            "plan": plan,
            "start": start.to_string(),
            "anchor_day": day,
            "quantity": quantity,
        });
        let subscribed = self.server.post("/v1/subscriptions", &wanted).ok();
        self.ids.borrow_mut().insert(consumer.to_owned(), text(&subscribed["id"]).to_owned());
        self.close(start);
    }

    fn event(&self, index: usize, event: &Value, time: Timestamp) {
        let mut data = event["dimensions"].as_object().cloned().unwrap_or_default();
        data.insert("value".to_owned(), event["value"].as_str().unwrap_or("1").parse().expect("a number"));
        let sent = json!({
            "specversion": "1.0",
            "id": index.to_string(),
            "source": "/case",
            "type": format!("metric.{}", text(&event["metric"])),
            "subject": event["subscription"],
            "time": time.to_string(),
            "data": data,
        });
        assert_eq!(self.server.events(&sent.to_string()).ok()["accepted"], 1, "{sent} counts");
    }

    /// Pays so much of an invoice.
    fn pay(&self, action: &Value) {
        let mut invoices = self.all::<Invoice>("/v1/invoices");
        invoices.sort_by_key(|invoice| (invoice.number.len(), invoice.number.clone()));
        let index: usize = action["invoice"].as_u64().expect("an index").try_into().expect("is small");
        let amount = json!({ "amount": action["amount"], "currency": book::currency(self.case) });
        let path = format!("/v1/invoices/{}/pay", invoices[index].id);
        self.server.post(&path, &json!({ "amount": amount })).ok();
    }

    fn close(&self, through: Timestamp) {
        self.server.post("/v1/close", &json!({ "through": through.to_string() })).ok();
    }

    fn change(&self, action: &Value, wanted: &Value) {
        let body = wanted.to_string();
        let json = [("content-type", "application/json")];
        self.server.send("PATCH", &self.path(action), &json, body.as_bytes()).ok();
    }

    /// Where the subscription of an action is.
    fn path(&self, action: &Value) -> String {
        format!("/v1/subscriptions/{}", self.ids.borrow()[text(&action["subscription"])])
    }

    /// Of the billing period that holds a time.
    fn statement(&self, consumer: &str, time: Timestamp) -> Statement {
        let day = self.zone.to_datetime(time).date();
        read(self.server.get(&format!("/v1/consumers/{consumer}/statement?period={day}&format=json")).ok())
    }

    /// Every item of a list, page by page.
    fn all<T: DeserializeOwned>(&self, path: &str) -> Vec<T> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.server.get(&format!("{path}?limit=5{cursor}")).ok();
            items.extend(list(&page["data"]).iter().map(|item| read(item.clone())));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Where the running period ends, if that is when an action is to take effect.
    fn end_of_period(&self, action: &Value) -> Option<Timestamp> {
        if action["effective"] != "end_of_period" {
            return None;
        }
        let subscription: Subscription = read(self.server.get(&self.path(action)).ok());
        let time = at(&action["at"]).max(subscription.closed_through);
        Some(self.statement(text(&action["subscription"]), time).period.to)
    }

    /// When a subscription ends: where the day still counts, after it.
    fn end(&self, action: &Value, time: Timestamp) -> Timestamp {
        if self.case["parameters"]["rules"]["termination_day"] != "used" {
            return self.on_the_hour(action, time);
        }
        self.start_of(self.zone.to_datetime(time).date().tomorrow().expect("in the calendar"))
    }

    fn start_of(&self, day: Date) -> Timestamp {
        self.zone.to_timestamp(day.at(0, 0, 0, 0)).expect("in the calendar")
    }

    /// The full hour before or after a time, on the same side of all usage: subscriptions change at full hours.
    fn on_the_hour(&self, action: &Value, time: Timestamp) -> Timestamp {
        let before = hour_of(time);
        let timeline = list(&self.case["input"]["timeline"]).iter();
        let of_same = timeline.filter(|other| other["subscription"] == action["subscription"]);
        let mut used = of_same.filter(|other| other["action"] == "event").map(|event| at(&event["at"]));
        if !used.any(|used| before <= used && used < time) {
            return before;
        }
        let after = before + 1.hour();
        assert!(!used.any(|used| time <= used && used < after), "usage on both sides within an hour");
        after
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("lies in a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    let said = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn at(time: &Value) -> Timestamp {
    text(time).parse().unwrap_or_else(|error| panic!("{time}: {error}"))
}

/// On which an invoice is expected, or a line of one.
fn last_day(expected: &Value) -> Option<Date> {
    let invoices = list(&expected["invoices"]).iter().map(|invoice| &invoice["issued_at"]);
    let lines = list(&expected["lines"]).iter().map(|line| &line["at"]);
    let days = invoices.chain(lines).filter_map(Value::as_str);
    days.map(|day| day.parse().unwrap_or_else(|error| panic!("{day}: {error}"))).max()
}

/// The full hour at or before a time.
fn hour_of(time: Timestamp) -> Timestamp {
    let seconds = time.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(3_600)).expect("in the calendar")
}
