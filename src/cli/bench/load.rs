//! Drives a server with events over some connections, and keeps what that took.
//!
//! One thread makes the events and does all the talking, so that the server has the other cores to itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use indicatif::ProgressBar;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::cli::bench::client::Connection;
use crate::cli::bench::events::Stream;
use crate::cli::bench::machine::processor_seconds;
use crate::cli::bench::report::Figures;
use crate::cli::bench::report::Percentiles;
use crate::cli::bench::server::EMPTY_PATH;
use crate::cli::bench::server::Server;

/// Where events go.
const EVENTS_PATH: &str = "/v1/events";
/// Events are counted for each tenth of a second.
const TICK: Duration = Duration::from_millis(100);
/// The first and the last minute are compared, or the halves of what is shorter than two.
const WINDOW: Duration = Duration::from_secs(60);
/// For a server that is busy and does not say for how long.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What to send, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    pub events_a_body: u64,
    pub until: Until,
    /// Events a second, if not as many as can be.
    pub pace: Option<f64>,
    /// To the handler that does nothing, instead of the one that takes events.
    pub to_empty: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    Time(Duration),
    Events(u64),
}

/// What came of it.
pub struct Loaded {
    pub figures: Figures,
    /// As the server answered.
    pub accepted: u64,
    pub duplicates: u64,
}

/// What all connections share.
struct Course {
    stream: Rc<RefCell<Stream>>,
    load: Load,
    started: Stopwatch,
    events_begun: u64,
    /// Events that were answered in each tick.
    ticks: Vec<u64>,
    latencies: Vec<u32>,
    refused: u64,
    accepted: u64,
    duplicates: u64,
    bar: ProgressBar,
}

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    duplicates: u64,
}

/// Sends events until it is enough. Call it within a `LocalSet`.
pub async fn drive(
    server: &Server,
    stream: &Rc<RefCell<Stream>>,
    load: Load,
    bar: &ProgressBar,
) -> anyhow::Result<Loaded> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(&server.target).await?);
    }
    let (server_before, client_before) = (processor_seconds(server.process())?, processor_seconds(std::process::id())?);
    let course = Rc::new(RefCell::new(Course::new(stream.clone(), load, bar.clone())));
    let mut under_way = JoinSet::new();
    for connection in connections {
        under_way.spawn_local(send(connection, course.clone()));
    }
    while let Some(ended) = under_way.join_next().await {
        ended.context("a connection's task ended early")??;
    }
    let mut course = course.borrow_mut();
    let seconds = course.started.elapsed().as_secs_f64();
    let cores = |before: f64, process: u32| Ok((processor_seconds(process)? - before) / seconds);
    let server_cores: anyhow::Result<f64> = cores(server_before, server.process());
    let client_cores: anyhow::Result<f64> = cores(client_before, std::process::id());
    let events: u64 = course.ticks.iter().sum();
    let (window_seconds, first, last) = course.stretches(seconds);
    let figures = Figures {
        connections: load.connections,
        events_a_body: load.events_a_body,
        events,
        requests: course.latencies.len(),
        refused: course.refused,
        seconds,
        events_per_second: events as f64 / seconds,
        window_seconds,
        first_events_per_second: first,
        last_events_per_second: last,
        latency: Percentiles::of(&mut course.latencies),
        server_cores: server_cores?,
        client_cores: client_cores?,
    };
    Ok(Loaded { figures, accepted: course.accepted, duplicates: course.duplicates })
}

/// Sends one body after the other over one connection.
async fn send(mut connection: Connection, course: Rc<RefCell<Course>>) -> anyhow::Result<()> {
    let mut body = Vec::new();
    let load = course.borrow().load;
    let path = if load.to_empty { EMPTY_PATH } else { EVENTS_PATH };
    let content_type = if load.events_a_body == 1 { "application/cloudevents+json" } else { "application/x-ndjson" };
    loop {
        let Some((events, due)) = course.borrow_mut().next(&mut body) else { return Ok(()) };
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        let begun = Stopwatch::now();
        let answer = loop {
            let answer = connection.post(path, content_type, &body).await?;
            if answer.status != 429 {
                break answer;
            }
            let wait = answer.retry_after.unwrap_or(RETRY_AFTER);
            course.borrow_mut().refused += 1;
            tokio::time::sleep(wait).await;
        };
        if answer.status != 200 {
            bail!("the server answers {}: {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        let answer: Answer = serde_json::from_slice(answer.body).context("an answer cannot be read")?;
        ensure!(
            load.to_empty || answer.accepted.checked_add(answer.duplicates) == Some(events),
            "of {events} events sent, {} were accepted and {} were duplicates",
            answer.accepted,
            answer.duplicates
        );
        course.borrow_mut().done(events, begun, &answer);
    }
}

impl Course {
    fn new(stream: Rc<RefCell<Stream>>, load: Load, bar: ProgressBar) -> Self {
        Self {
            stream,
            load,
            started: Stopwatch::now(),
            events_begun: 0,
            ticks: Vec::new(),
            latencies: Vec::new(),
            refused: 0,
            accepted: 0,
            duplicates: 0,
            bar,
        }
    }

    /// Makes the next body: how many events it has, and when it is due. `None` when it is enough.
    fn next(&mut self, body: &mut Vec<u8>) -> Option<(u64, Option<Stopwatch>)> {
        let events = match self.load.until {
            Until::Time(time) => (self.started.elapsed() < time).then_some(self.load.events_a_body)?,
            Until::Events(events) => self.load.events_a_body.min(events.saturating_sub(self.events_begun)),
        };
        if events == 0 {
            return None;
        }
        let due = self.load.pace.map(|pace| self.started + Duration::from_secs_f64(self.events_begun as f64 / pace));
        self.stream.borrow_mut().fill(events, body);
        self.events_begun += events;
        Some((events, due))
    }

    fn done(&mut self, events: u64, begun: Stopwatch, answer: &Answer) {
        let now = Stopwatch::now();
        self.latencies.push(u32::try_from((now - begun).as_micros()).unwrap_or(u32::MAX));
        let tick = ((now - self.started).as_micros() / TICK.as_micros()) as usize;
        if tick >= self.ticks.len() {
            self.ticks.resize(tick + 1, 0);
        }
        self.ticks[tick] += events;
        self.accepted += answer.accepted;
        self.duplicates += answer.duplicates;
        self.bar.inc(events);
    }

    /// The length in seconds of the first and the last stretch, and how many events a second there were in each.
    fn stretches(&self, seconds: f64) -> (f64, f64, f64) {
        let ticks = self.ticks.len();
        let window = (WINDOW.as_micros() / TICK.as_micros()) as usize;
        // Half of them, or the only one.
        let window = window.min(ticks / 2).max(1);
        let rate = |ticks: &[u64], seconds: f64| ticks.iter().sum::<u64>() as f64 / seconds;
        let (first, last) = (window.min(ticks), ticks.saturating_sub(window));
        let length = (window as f64 * TICK.as_secs_f64()).min(seconds);
        // The last tick is not a whole one.
        let rest = seconds - last as f64 * TICK.as_secs_f64();
        (length, rate(&self.ticks[..first], length), rate(&self.ticks[last..], rest))
    }
}
