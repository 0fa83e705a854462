//! Streams of bodies of events, each with its own consumer: of different sizes, some with events that cannot be taken,
//! some that take back what the body before them brought. What a body holds follows from its number, so that it can be
//! sent again at any time; and what a stream has counted is known to the event.

use crate::support::http::Client;
use crate::support::http::Reply;
use crate::support::random::Random;

/// Events of a body.
const SIZES: [u64; 8] = [1, 1, 1, 1, 2, 5, 12, 60];
/// One body in so many takes events back, and one in so many has some that cannot be taken.
const RETRACTING_EVERY: u64 = 6;
const FAULTY_EVERY: u64 = 7;
/// Events of one body that are taken back at most.
const RETRACTED_MAX: usize = 20;

/// What usage says of a consumer, or what it will say more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub flights: i64,
    pub miles: i64,
}

/// One body of a stream.
#[derive(Clone, Debug)]
pub struct Body {
    pub text: String,
    /// Events that are taken, and those that go into quarantine.
    pub good: i64,
    pub faulty: usize,
    /// What it adds to usage.
    pub counted: Counted,
}

#[derive(Debug)]
pub struct Stream {
    random: Random,
    pub number: u64,
    /// Bodies before this one were acknowledged.
    pub next: u64,
    /// What those bodies come to.
    pub counted: Counted,
    pub events: i64,
    /// Whether the next body was sent, and its answer did not come.
    pub in_flight: bool,
}

struct Flight {
    id: String,
    text: String,
    miles: i64,
}

impl std::ops::Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flights: self.flights + other.flights, miles: self.miles + other.miles }
    }
}

impl Stream {
    pub fn new(random: &Random, number: u64) -> Self {
        let (random, counted) = (random.of(&[number]), Counted::default());
        Self { random, number, next: 0, counted, events: 0, in_flight: false }
    }

    pub fn consumer(&self) -> String {
        format!("K{}", self.number)
    }

    pub fn body(&self, number: u64) -> Body {
        let mut random = self.random.of(&[number]);
        let flights = self.flights(number);
        let sum = |flights: &[Flight]| flights.iter().map(|flight| flight.miles).sum::<i64>();
        let mut counted = Counted { flights: count(flights.len()), miles: sum(&flights) };
        let mut lines: Vec<String> = flights.into_iter().map(|flight| flight.text).collect();
        if number > 0 && random.below(RETRACTING_EVERY) == 0 {
            for flight in self.flights(number - 1).into_iter().step_by(2).take(RETRACTED_MAX) {
                lines.push(format!(
                    r#"{{"specversion":"1.0","id":"back-{}","source":"{}","type":"tallystick.event.retracted","data":{{"source":"{1}","id":"{0}"}}}}"#,
                    flight.id,
                    self.source()
                ));
                counted = counted + Counted { flights: -1, miles: -flight.miles };
            }
        }
        let good = count(lines.len());
        let faulty = if random.below(FAULTY_EVERY) == 0 { 1 + random.below(3) } else { 0 };
        for index in 0..faulty {
            let id = format!("faulty-{number}-{index}");
            let place = usize::try_from(random.below(1 + lines.len() as u64)).expect("small");
            lines.insert(place, self.flight_text(&id, "2013-02-30T00:00:00Z", "EWR", 1));
        }
        let faulty = usize::try_from(faulty).expect("small");
        Body { text: lines.join("\n"), good, faulty, counted }
    }

    /// An event of an earlier body, which says something else now.
    pub fn changed(&self, number: u64) -> String {
        let flight = self.flights(number).swap_remove(0);
        flight.text.replace("\"distance\":", "\"distance\":7")
    }

    /// Sends the next body. `None` if no answer came; then it is in flight.
    pub fn send_next(&mut self, client: &Client) -> Option<Reply> {
        self.in_flight = true;
        let body = self.body(self.next);
        let reply = send(client, &body.text)?;
        if reply.status == 200 {
            self.in_flight = false;
            self.acknowledged(&body);
        }
        Some(reply)
    }

    pub fn acknowledged(&mut self, body: &Body) {
        self.next += 1;
        self.counted = self.counted + body.counted;
        self.events += body.good;
    }

    /// The new events of a body.
    fn flights(&self, number: u64) -> Vec<Flight> {
        let mut random = self.random.of(&[number, 1]);
        let size = random.pick(&SIZES);
        let flight = |index| {
            let id = format!("{number}-{index}");
            let (day, hour, minute) = (2 + random.below(3), random.below(24), random.below(60));
            let miles = i64::try_from(1 + random.below(3000)).expect("small");
            let time = format!("2013-01-{day:02}T{hour:02}:{minute:02}:00Z");
            let text = self.flight_text(&id, &time, random.pick(&["EWR", "JFK", "LGA"]), miles);
            Flight { id, text, miles }
        };
        (0..size).map(flight).collect()
    }

    fn flight_text(&self, id: &str, time: &str, origin: &str, miles: i64) -> String {
        let (source, subject) = (self.source(), self.consumer());
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"flight.completed","subject":"{subject}","time":"{time}","data":{{"origin":"{origin}","distance":{miles},"dep_delay":0,"arr_delay":{}}}}}"#,
            miles % 90 - 30
        )
    }

    fn source(&self) -> String {
        format!("/streams/{}", self.number)
    }
}

/// Posts events; bad ones go into quarantine. `None` if no answer came.
pub fn send(client: &Client, ndjson: &str) -> Option<Reply> {
    let headers = [("content-type", "application/x-ndjson")];
    client.try_send("POST", "/v1/events?invalid=quarantine", &headers, ndjson.as_bytes()).ok()
}

/// What a server has counted of each stream.
pub fn counted(client: &Client, streams: &[Stream]) -> Vec<Counted> {
    let of = |meter: &str| {
        let path = format!("/v1/usage?meter={meter}&from=2013-01-01&to=2013-02-01&window=total");
        let rows = client.get(&path).ok()["data"].as_array().expect("rows").clone();
        let number = |consumer: &str| {
            let row = rows.iter().find(|row| row["consumer"] == consumer);
            row.map_or(0, |row| row["value"].as_str().and_then(|text| text.parse().ok()).expect("a whole number"))
        };
        streams.iter().map(|stream| number(&stream.consumer())).collect::<Vec<i64>>()
    };
    let both = of("flights").into_iter().zip(of("miles"));
    both.map(|(flights, miles)| Counted { flights, miles }).collect()
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("small")
}
