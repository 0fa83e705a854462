//! A Stripe of our own, for as much as is used of it, with its real rules about idempotency keys, and with faults.
//!
//! - The same key and the same body: the same answer, also when that was an error 500.
//! - The same key and another body: 400, `idempotency_error`. While the first request is under way: 409.
//! - A key is forgotten when it is told to forget, as Stripe does after a day at the earliest.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use serde_json::json;

pub const KEY: &str = "sk_test_fake";
pub const WEBHOOK_SECRET: &str = "whsec_fake";

/// What goes wrong with the next request that changes something.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is done, and the connection ends before the answer.
    DoneAndHungUp,
    /// It is done after this time, and only then answered.
    Slow(Duration),
    /// Another request on the same object is under way: nothing is done, and nothing is kept under the key.
    Conflict,
    /// Too many requests: the same.
    Busy,
    /// Something broke before it was done. The same key gets the same answer, for as long as it is known.
    Broken,
    /// Something broke after it was done. The same.
    DoneAndBroken,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<String, Kept>,
    faults: VecDeque<Fault>,
    transfers: Vec<Value>,
    customers: Vec<Value>,
    invoices: Vec<Value>,
    items: Vec<Value>,
    /// By currency, in the minor unit.
    balance: BTreeMap<String, i64>,
    /// What went over it, newest last.
    transactions: Vec<Value>,
    closed_accounts: Vec<String>,
    requests: usize,
    made: usize,
}

/// What is known of a key: the request, and its answer when there is one.
struct Kept {
    request: String,
    answer: Option<(u16, Value)>,
}

#[derive(Clone)]
pub struct FakeStripe {
    state: Arc<Mutex<State>>,
    address: String,
}

/// A request as it came.
struct Asked {
    method: String,
    path: String,
    parameters: BTreeMap<String, String>,
    key: Option<String>,
    authorized: bool,
}

impl FakeStripe {
    /// With this much in euros.
    pub fn start(balance: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State { balance: BTreeMap::from([("eur".to_owned(), balance)]), ..State::default() };
        let fake = Self { state: Arc::new(Mutex::new(state)), address };
        let serving = fake.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(connection));
            }
        });
        fake
    }

    pub fn url(&self) -> &str {
        &self.address
    }

    /// What a server needs in its environment to talk to it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            of("TALLYSTICK_STRIPE_URL", self.url()),
            of("TALLYSTICK_STRIPE_KEY", KEY),
            of("TALLYSTICK_STRIPE_WEBHOOK_SECRET", &format!("whsec_old, {WEBHOOK_SECRET}")),
            of("TALLYSTICK_STRIPE_TIMEOUT", "1"),
            of("TALLYSTICK_STRIPE_EVERY", "1"),
        ]
    }

    /// The next requests that change something meet these, one each.
    pub fn fail_with(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// Forgets every key, as after a day.
    pub fn forget_keys(&self) {
        self.state().keys.clear();
    }

    pub fn close_account(&self, account: &str) {
        self.state().closed_accounts.push(account.to_owned());
    }

    pub fn put_in(&self, minor: i64) {
        *self.state().balance.entry("eur".to_owned()).or_default() += minor;
    }

    pub fn balance(&self) -> i64 {
        self.state().balance["eur"]
    }

    /// Requests that were meant to change something.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Transfers of a payout, oldest first.
    pub fn transfers(&self, group: &str) -> Vec<Value> {
        self.state().transfers.iter().filter(|transfer| transfer["transfer_group"] == group).cloned().collect()
    }

    /// Reverses some of a transfer, as somebody does in Stripe's own pages.
    pub fn reverse(&self, transfer: &str, amount: i64) -> Value {
        let parameters = BTreeMap::from([("amount".to_owned(), amount.to_string())]);
        let (status, reversal) = self.state().reversal(transfer, &parameters);
        assert_eq!(status, 200, "{reversal}");
        self.state().transfers.iter().find(|known| known["id"] == transfer).expect("is known").clone()
    }

    pub fn customers(&self) -> Vec<Value> {
        self.state().customers.clone()
    }

    pub fn invoices(&self) -> Vec<Value> {
        self.state().invoices.clone()
    }

    /// The customer of an invoice pays it by card; Stripe keeps a fee. Gives the invoice as it is then.
    pub fn pay(&self, invoice: &str, fee: i64) -> Value {
        let mut state = self.state();
        let at = state.invoices.iter().position(|known| known["id"] == invoice).expect("is known");
        assert_eq!(state.invoices[at]["status"], "open", "it is final, and not paid");
        let amount = state.invoices[at]["amount_due"].as_i64().expect("an amount");
        let currency = state.invoices[at]["currency"].as_str().expect("a currency").to_owned();
        let charge = state.id("ch");
        state.moved("charge", &charge, (amount, fee), &currency);
        *state.balance.entry(currency).or_default() += amount - fee;
        let by = json!({ "type": "payment_intent", "payment_intent": { "id": "pi_1", "latest_charge": charge } });
        let known = &mut state.invoices[at];
        known["status"] = json!("paid");
        known["payments"] = list(vec![json!({ "id": "inpay_1", "status": "paid", "payment": by })]);
        known.clone()
    }

    /// Money that left or came by itself, as a fee of Stripe does.
    pub fn happens(&self, kind: &str, source: &str, amount: i64) {
        let mut state = self.state();
        state.moved(kind, source, (amount, 0), "eur");
        *state.balance.entry("eur".to_owned()).or_default() += amount;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this")
    }

    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(connection);
        let Some(asked) = read(&mut reader) else { return };
        let Some((status, body)) = self.answer(&asked) else { return };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
    }

    /// None if the connection just ends.
    fn answer(&self, asked: &Asked) -> Option<(u16, Value)> {
        if !asked.authorized {
            return Some(error(401, "invalid_request_error", "", "Invalid API Key provided"));
        }
        if asked.method == "GET" {
            return Some(self.state().read(asked));
        }
        let request = format!("{} {:?}", asked.path, asked.parameters);
        let fault = {
            let mut state = self.state();
            state.requests += 1;
            if let Some(key) = &asked.key {
                match state.keys.get(key) {
                    Some(kept) if kept.request != request => {
                        let text = "Keys for idempotent requests can only be used with the same parameters";
                        return Some(error(400, "idempotency_error", "", text));
                    }
                    Some(Kept { answer: Some(answer), .. }) => return Some(answer.clone()),
                    Some(Kept { answer: None, .. }) => {
                        let text = "There is currently another in-progress request using this Idempotent Key";
                        return Some(error(409, "idempotency_error", "idempotency_key_in_use", text));
                    }
                    None => {}
                }
            }
            let fault = state.faults.pop_front();
            match fault {
                Some(Fault::Conflict) => {
                    return Some(error(409, "invalid_request_error", "lock_timeout", "This object is locked"));
                }
                Some(Fault::Busy) => {
                    return Some(error(429, "invalid_request_error", "rate_limit", "Too many requests"));
                }
                _ => {}
            }
            if let Some(key) = &asked.key {
                state.keys.insert(key.clone(), Kept { request, answer: None });
            }
            fault
        };
        if let Some(Fault::Slow(time)) = fault {
            std::thread::sleep(time);
        }
        let mut state = self.state();
        let broken = || error(500, "api_error", "", "An error occurred with our API");
        let answer = match fault {
            Some(Fault::Broken) => broken(),
            Some(Fault::DoneAndBroken) => {
                state.write(asked);
                broken()
            }
            _ => state.write(asked),
        };
        if let Some(kept) = asked.key.as_ref().and_then(|key| state.keys.get_mut(key)) {
            kept.answer = Some(answer.clone());
        }
        (!matches!(fault, Some(Fault::DoneAndHungUp))).then_some(answer)
    }
}

impl State {
    fn write(&mut self, asked: &Asked) -> (u16, Value) {
        let path: Vec<&str> = asked.path.split('/').skip(1).collect();
        match path.as_slice() {
            ["v1", "transfers"] => self.transfer(&asked.parameters),
            ["v1", "transfers", id, "reversals"] => self.reversal(id, &asked.parameters),
            ["v1", "customers"] => {
                let id = self.id("cus");
                let of = |name: &str| asked.parameters.get(name);
                let customer = json!({ "id": id, "object": "customer", "name": of("name"), "email": of("email") });
                self.customers.push(customer.clone());
                (200, customer)
            }
            ["v1", "invoices"] => self.draft(&asked.parameters),
            ["v1", "invoiceitems"] => self.item(&asked.parameters),
            ["v1", "invoices", id, "finalize"] => {
                let Some(known) = self.invoices.iter_mut().find(|known| known["id"] == *id) else {
                    return error(404, "invalid_request_error", "resource_missing", "No such invoice");
                };
                if known["status"] != "draft" {
                    return error(400, "invalid_request_error", "", "This invoice is already finalized");
                }
                assert_eq!(asked.parameters["auto_advance"], "true", "it would not be collected");
                known["status"] = json!("open");
                (200, known.clone())
            }
            _ => error(404, "invalid_request_error", "", &format!("Unrecognized request URL ({})", asked.path)),
        }
    }

    fn read(&self, asked: &Asked) -> (u16, Value) {
        let path: Vec<&str> = asked.path.split('/').skip(1).collect();
        match path.as_slice() {
            ["v1", "transfers"] => {
                let group = asked.parameters.get("transfer_group").cloned().unwrap_or_default();
                let of_group = |transfer: &&Value| transfer["transfer_group"] == *group;
                (200, list(self.transfers.iter().rev().filter(of_group).cloned().collect()))
            }
            ["v1", "transfers", id] => match self.transfers.iter().find(|transfer| transfer["id"] == *id) {
                Some(transfer) => (200, transfer.clone()),
                None => error(404, "invalid_request_error", "resource_missing", "No such transfer"),
            },
            ["v1", "invoices", id] => match self.invoices.iter().find(|invoice| invoice["id"] == *id) {
                Some(invoice) => (200, invoice.clone()),
                None => error(404, "invalid_request_error", "resource_missing", "No such invoice"),
            },
            ["v1", "invoices"] => (200, list(self.invoices.iter().rev().cloned().collect())),
            ["v1", "invoiceitems"] => {
                let of_invoice = |item: &&Value| item["invoice"] == *asked.parameters["invoice"];
                (200, list(self.items.iter().rev().filter(of_invoice).cloned().collect()))
            }
            ["v1", "balance_transactions"] => self.transactions_of(&asked.parameters),
            _ => error(404, "invalid_request_error", "", &format!("Unrecognized request URL ({})", asked.path)),
        }
    }

    /// Newest first, a page at a time.
    fn transactions_of(&self, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let source = parameters.get("source");
        let bound = |name: &str| parameters.get(name).map(|seconds| seconds.parse::<i64>().expect("seconds"));
        let (from, to) = (bound("created[gte]"), bound("created[lt]"));
        let is_of = |of: &&Value| {
            let created = of["created"].as_i64().expect("seconds");
            source.is_none_or(|source| of["source"]["id"] == **source)
                && from.is_none_or(|from| from <= created)
                && to.is_none_or(|to| created < to)
        };
        let mut rest: Vec<Value> = self.transactions.iter().rev().filter(is_of).cloned().collect();
        if let Some(after) = parameters.get("starting_after") {
            let at = rest.iter().position(|of| of["id"] == **after).expect("was listed");
            rest.drain(..=at);
        }
        let page = parameters.get("limit").map_or(10, |limit| limit.parse().expect("a number"));
        let has_more = rest.len() > page;
        rest.truncate(page);
        if !parameters.contains_key("expand[0]") {
            for of in &mut rest {
                of["source"] = of["source"]["id"].clone();
            }
        }
        let mut page = list(rest);
        page["has_more"] = json!(has_more);
        (200, page)
    }

    fn draft(&mut self, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let of = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        if !self.customers.iter().any(|customer| customer["id"] == *of("customer")) {
            return error(400, "invalid_request_error", "resource_missing", "No such customer");
        }
        let draft = json!({
            "id": self.id("in"), "object": "invoice", "status": "draft", "customer": of("customer"),
            "currency": of("currency"), "amount_due": 0, "metadata": { "tallystick": of("metadata[tallystick]") },
        });
        self.invoices.push(draft.clone());
        (200, draft)
    }

    fn item(&mut self, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let of = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        let amount: i64 = of("amount").parse().expect("an amount");
        let id = self.id("ii");
        let Some(draft) = self.invoices.iter_mut().find(|known| known["id"] == *of("invoice")) else {
            return error(404, "invalid_request_error", "resource_missing", "No such invoice");
        };
        if draft["status"] != "draft" || draft["currency"] != *of("currency") || draft["customer"] != *of("customer") {
            return error(400, "invalid_request_error", "", "It does not belong on this invoice");
        }
        draft["amount_due"] = json!(draft["amount_due"].as_i64().unwrap_or_default() + amount);
        let metadata = json!({ "tallystick": of("metadata[tallystick]") });
        let item = json!({ "id": id, "object": "invoiceitem", "invoice": of("invoice"), "amount": amount, "metadata": metadata });
        self.items.push(item.clone());
        (200, item)
    }

    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_{}", self.made)
    }

    fn transfer(&mut self, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let of = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        let amount: i64 = of("amount").parse().expect("an amount");
        if self.closed_accounts.contains(&of("destination")) {
            return error(400, "invalid_request_error", "account_invalid", "The destination account was closed");
        }
        let balance = self.balance.entry(of("currency")).or_default();
        if *balance < amount {
            let text = "You have insufficient available funds in your Stripe account";
            return error(400, "invalid_request_error", "balance_insufficient", text);
        }
        *balance -= amount;
        let id = self.id("tr");
        let transaction = self.moved("transfer", &id, (-amount, 0), &of("currency"));
        let transfer = json!({
            "id": id, "object": "transfer", "amount": amount, "amount_reversed": 0, "balance_transaction": transaction,
            "created": now(), "currency": of("currency"), "description": null, "destination": of("destination"),
            "destination_payment": "py_1", "livemode": false, "metadata": { "tallystick": of("metadata[tallystick]") },
            "reversals": list(Vec::new()), "reversed": false, "source_transaction": null, "source_type": "card",
            "transfer_group": of("transfer_group"),
        });
        self.transfers.push(transfer.clone());
        (200, transfer)
    }

    fn reversal(&mut self, transfer: &str, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let Some(at) = self.transfers.iter().position(|known| known["id"] == transfer) else {
            return error(404, "invalid_request_error", "resource_missing", "No such transfer");
        };
        let number = |value: &Value| value.as_i64().expect("a number");
        let (total, before) = (number(&self.transfers[at]["amount"]), number(&self.transfers[at]["amount_reversed"]));
        let amount = parameters.get("amount").map_or(total - before, |amount| amount.parse().expect("an amount"));
        if before + amount > total {
            return error(400, "invalid_request_error", "", "The transfer has already been reversed");
        }
        let destination = self.transfers[at]["destination"].as_str().unwrap_or_default().to_owned();
        if self.closed_accounts.contains(&destination) {
            return error(400, "invalid_request_error", "balance_insufficient", "The account has insufficient funds");
        }
        let currency = self.transfers[at]["currency"].as_str().unwrap_or_default().to_owned();
        *self.balance.entry(currency.clone()).or_default() += amount;
        let id = self.id("trr");
        let transaction = self.moved("transfer_refund", &id, (amount, 0), &currency);
        if let Some(moved) = self.transactions.last_mut() {
            moved["source"]["transfer"] = json!(transfer);
        }
        let key = parameters.get("metadata[tallystick]");
        let reversal = json!({
            "id": id, "object": "transfer_reversal", "amount": amount, "balance_transaction": transaction,
            "created": now(), "currency": currency, "destination_payment_refund": null,
            "metadata": key.map_or(json!({}), |key| json!({ "tallystick": key })), "source_refund": null,
            "transfer": transfer,
        });
        let known = &mut self.transfers[at];
        known["amount_reversed"] = json!(before + amount);
        known["reversed"] = json!(before + amount == total);
        known["reversals"]["data"].as_array_mut().expect("a list").push(reversal.clone());
        (200, reversal)
    }

    fn moved(&mut self, kind: &str, source: &str, (amount, fee): (i64, i64), currency: &str) -> String {
        let id = self.id("txn");
        self.transactions.push(json!({
            "id": id, "object": "balance_transaction", "type": kind, "source": { "id": source }, "amount": amount, "fee": fee,
            "net": amount - fee, "currency": currency, "created": now(), "description": null,
        }));
        id
    }
}

/// An event as Stripe posts it: its body, and the signature over it.
pub fn event(id: &str, kind: &str, account: Option<&str>, object: &Value) -> (String, String) {
    let mut event = json!({
        "id": id, "object": "event", "type": kind, "created": now(), "api_version": "2026-09-30.endive",
        "livemode": false, "data": { "object": object },
    });
    if let Some(account) = account {
        event["account"] = json!(account);
    }
    let body = event.to_string();
    let signature = signature(&body, now());
    (body, signature)
}

pub fn signature(body: &str, at: i64) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).expect("any key");
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

pub fn now() -> i64 {
    tallystick::clock::now().micros() / 1_000_000
}

fn list(data: Vec<Value>) -> Value {
    json!({ "object": "list", "data": data, "has_more": false, "url": "/v1/list" })
}

fn error(status: u16, kind: &str, code: &str, message: &str) -> (u16, Value) {
    let mut error = json!({ "type": kind, "message": message });
    if !code.is_empty() {
        error["code"] = json!(code);
    }
    (status, json!({ "error": error }))
}

/// Reads a request; none if the other side has gone.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut key, mut authorized) = (0, None, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "authorization" => authorized = value.trim() == format!("Bearer {KEY}"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let (path, query) = target.split_once('?').map_or((target.as_str(), ""), |(path, query)| (path, query));
    let pairs = [query, &body].into_iter().flat_map(|form| form.split('&')).filter_map(|pair| pair.split_once('='));
    let parameters = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    Some(Asked { method, path: path.to_owned(), parameters, key, authorized })
}

/// Undoes `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).expect("two hex digits")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
