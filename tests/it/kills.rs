//! A server that is killed at any moment, while it starts, takes events in, flushes, writes its index or stops, loses
//! nothing and counts nothing twice. `scripts/kills` does it a thousand times.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::data::Data;
use crate::support::data::Engine;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::server::OPERATOR_KEY;
use crate::support::server::Server;
use crate::support::streams;
use crate::support::streams::Counted;
use crate::support::streams::Stream;

crate::support::both_engines!(kills_at_any_moment_lose_nothing);

/// In the suite; `TALLYSTICK_TEST_KILLS` says another number.
const KILLS: u64 = 12;
const STREAMS: u64 = 4;
/// Kills from one `verify` to the next.
const VERIFY_EVERY: u64 = 50;
/// One body in so many is an old one, sent again.
const AGAIN_EVERY: u64 = 4;
/// One life in so many has a price book published.
const PUBLISH_EVERY: u64 = 25;

/// When a server is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// So long after it was started: it opens its files, reads the log, or listens by then.
    Starting(Duration),
    /// So long after it took the first body.
    Taking(Duration),
    /// The same, when usage is flushed for the first time.
    Flushing(Duration),
    /// So long after it was told to stop.
    Stopping(Duration),
}

/// Books that were published, each with one more meter.
#[derive(Default)]
struct Publications(u64);

#[derive(Default)]
struct Figures {
    kills: BTreeMap<&'static str, u64>,
    duplicates: AtomicI64,
    conflicts: AtomicI64,
    /// Bodies that were stored and not answered.
    stored_unanswered: u64,
}

impl Moment {
    fn random(random: &mut Random, engine: Engine) -> Self {
        let start_micros = if engine == Engine::Sqlite { 60_000 } else { 150_000 };
        match random.below(100) {
            0..25 => Self::Starting(Duration::from_micros(random.below(start_micros))),
            25..35 => Self::Stopping(Duration::from_micros(random.below(40_000))),
            35..55 => Self::Flushing(Duration::from_micros(950_000 + random.below(250_000))),
            _ => Self::Taking(Duration::from_micros(random.below(300_000))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Taking(_) => "taking events",
            Self::Flushing(_) => "flushing",
            Self::Stopping(_) => "stopping",
        }
    }
}

fn kills_at_any_moment_lose_nothing(engine: Engine) {
    let given = std::env::var("TALLYSTICK_TEST_KILLS").ok();
    let kills = given.as_deref().map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let mut random = Random::from_environment();
    let began = Instant::now();
    let mut streams: Vec<Stream> = (0..STREAMS).map(|number| Stream::new(&random, number)).collect();
    let mut server = Server::start_with(Data::new(engine), &books::flights(), &["--seen-memory", "0"]);
    let (mut publications, mut figures) = (Publications::default(), Figures::default());
    for kill in 1..=kills {
        let moment = Moment::random(&mut random, engine);
        *figures.kills.entry(moment.name()).or_default() += 1;
        if let Moment::Starting(after) = moment {
            // This one dies too, and the next one finds what both have left.
            server.kill();
            server.kill_while_starting(after);
        } else {
            let publishing = (random.below(PUBLISH_EVERY) == 0).then_some(&mut publications);
            live(&mut server, moment, &mut random, (&mut streams, publishing), &figures);
        }
        // A table of 56 entries, so that the index is written and merged all the time; or one of 3,584.
        server.set_arguments(&["--seen-memory", random.pick(&["0", "0", "1"])]);
        server.start_again();
        check(&server, &mut streams, &mut figures);
        if kill % VERIFY_EVERY == 0 {
            server.data.run(&["verify"]).done();
            let seconds = began.elapsed().as_secs();
            println!("{kill} of {kills} kills, {} events acknowledged, {seconds} s", acknowledged(&streams));
        }
    }

    send_everything_again(&server, &mut streams, &figures);
    let (status, said) = server.stop();
    assert!(status.success(), "{said}");
    let verified = server.data.run(&["verify", "--json"]).json();
    assert_eq!(verified["differences"], json!([]));
    server.start_again();
    check(&server, &mut streams, &mut figures);
    // What was taken back is an event, and counts less than nothing.
    let flights: i64 = streams::counted(&server, &streams).iter().map(|counted| counted.flights).sum();
    println!(
        "kills: {kills} on {engine:?} ({:?}), {} events acknowledged, all of them counted ({flights} flights are left \
         after retractions), {} bodies stored whose answer was lost, {} duplicates found, {} conflicts found, {} price \
         books published, {} batches verified, {:.0} s",
        figures.kills,
        acknowledged(&streams),
        figures.stored_unanswered,
        figures.duplicates.into_inner(),
        figures.conflicts.into_inner(),
        publications.0,
        verified["batches"],
        began.elapsed().as_secs_f64()
    );
}

/// Has all streams send at once until the server is gone.
fn live(
    server: &mut Server,
    moment: Moment,
    random: &mut Random,
    (streams, publishing): (&mut [Stream], Option<&mut Publications>),
    figures: &Figures,
) {
    let client = server.client(Some(OPERATOR_KEY));
    let (gone, enough) = (AtomicBool::new(false), AtomicBool::new(false));
    let publish_after = Duration::from_micros(random.below(200_000));
    std::thread::scope(|scope| {
        for stream in streams {
            let (client, gone, enough, mut random) = (&client, &gone, &enough, random.of(&[stream.number]));
            scope.spawn(move || {
                while !enough.load(Ordering::SeqCst) && send(client, stream, &mut random, gone, figures) {
                    std::thread::sleep(Duration::from_micros(random.below(8_000)));
                }
            });
        }
        if let Some(publications) = publishing {
            let (client, gone) = (&client, &gone);
            scope.spawn(move || {
                std::thread::sleep(publish_after);
                publications.publish(client, gone);
            });
        }
        match moment {
            Moment::Starting(_) => unreachable!("nothing is sent then"),
            Moment::Taking(after) | Moment::Flushing(after) => {
                std::thread::sleep(after);
                gone.store(true, Ordering::SeqCst);
                server.kill();
            }
            // What comes after the last answer is meant here: a flush, and the end of the index.
            Moment::Stopping(_) => {
                std::thread::sleep(publish_after);
                enough.store(true, Ordering::SeqCst);
            }
        }
    });
    drop(client);
    if let Moment::Stopping(after) = moment {
        server.kill_while_stopping(after);
    }
}

/// Sends the next body of a stream, and sometimes an old one. False if the server has gone.
fn send(client: &Client, stream: &mut Stream, random: &mut Random, gone: &AtomicBool, figures: &Figures) -> bool {
    let answered = try_send(client, stream, random, gone, figures).is_some();
    assert!(answered || gone.load(Ordering::SeqCst), "the server went away by itself");
    answered
}

fn try_send(
    client: &Client,
    stream: &mut Stream,
    random: &mut Random,
    gone: &AtomicBool,
    figures: &Figures,
) -> Option<()> {
    if stream.next > 0 && random.below(AGAIN_EVERY) == 0 {
        let number = random.below(stream.next);
        match random.below(4) {
            0 => send_changed(client, stream, number, figures)?,
            _ => send_again(client, stream, number, figures)?,
        }
    }
    let body = stream.body(stream.next);
    let reply = stream.send_next(client)?;
    if reply.status == 503 && gone.load(Ordering::SeqCst) {
        return None;
    }
    let answer = reply.ok();
    assert_eq!(answer["accepted"], body.good, "stream {}, body {}: {answer}", stream.number, stream.next - 1);
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(body.faulty), "{answer}");
    Some(())
}

/// Sends a body that was acknowledged: all of it is known.
fn send_again(client: &Client, stream: &Stream, number: u64, figures: &Figures) -> Option<()> {
    let body = stream.body(number);
    let reply = streams::send(client, &body.text).filter(|reply| reply.status != 503)?;
    let answer = reply.ok();
    let expected = json!([0, body.good, []]);
    let found = json!([answer["accepted"], answer["duplicates"], answer["conflicts"]]);
    assert_eq!(found, expected, "stream {}, body {number}, again", stream.number);
    figures.duplicates.fetch_add(body.good, Ordering::Relaxed);
    Some(())
}

/// Sends an event that was acknowledged, and says something else now.
fn send_changed(client: &Client, stream: &Stream, number: u64, figures: &Figures) -> Option<()> {
    let reply = streams::send(client, &stream.changed(number)).filter(|reply| reply.status != 503)?;
    let answer = reply.ok();
    let found = json!([answer["accepted"], answer["duplicates"], answer["conflicts"]]);
    assert_eq!(found, json!([0, 1, [0]]), "stream {}, body {number}, changed", stream.number);
    figures.duplicates.fetch_add(1, Ordering::Relaxed);
    figures.conflicts.fetch_add(1, Ordering::Relaxed);
    Some(())
}

/// What was acknowledged is counted, and nothing else; a body that was in flight may be. That one is sent again, and
/// so is an old one.
fn check(server: &Server, streams: &mut [Stream], figures: &mut Figures) {
    let counted = streams::counted(server, streams);
    for (stream, counted) in streams.iter_mut().zip(counted) {
        let number = stream.number;
        if stream.in_flight {
            let body = stream.body(stream.next);
            let with = stream.counted + body.counted;
            assert!(
                counted == stream.counted || counted == with,
                "stream {number}, body {} in flight: {counted:?} is counted, {:?} acknowledged, {with:?} with it",
                stream.next,
                stream.counted
            );
            let reply = stream.send_next(server).expect("an answer");
            let answer = reply.ok();
            // Whether it is there cannot be seen where it comes to nothing.
            if body.counted != Counted::default() {
                let stored = if counted == with { body.good } else { 0 };
                let expected = json!([body.good - stored, stored, []]);
                let found = json!([answer["accepted"], answer["duplicates"], answer["conflicts"]]);
                assert_eq!(found, expected, "stream {number}, body {} in flight, again", stream.next - 1);
                figures.duplicates.fetch_add(stored, Ordering::Relaxed);
                figures.stored_unanswered += u64::from(stored > 0);
            }
        } else {
            assert_eq!(counted, stream.counted, "stream {number}: what is counted, and what was acknowledged");
        }
        if let Some(last) = stream.next.checked_sub(1) {
            send_again(server, stream, last, figures).expect("an answer");
        }
    }
    let expected: Vec<Counted> = streams.iter().map(|stream| stream.counted).collect();
    assert_eq!(streams::counted(server, streams), expected);
}

fn send_everything_again(server: &Server, streams: &mut [Stream], figures: &Figures) {
    for stream in streams {
        for number in 0..stream.next {
            send_again(server, stream, number, figures).expect("an answer");
        }
    }
}

fn acknowledged(streams: &[Stream]) -> i64 {
    streams.iter().map(|stream| stream.events).sum()
}

impl Publications {
    /// Publishes a book with one meter more than the last one. If no answer comes, it is published again later.
    fn publish(&mut self, client: &Client, gone: &AtomicBool) {
        let mut files: BTreeMap<String, String> = books::files(&books::flights());
        let meter = |number| {
            format!(
                "[[meter]]\nid = \"far_{number}\"\nevent_type = \"flight.completed\"\naggregation = \"count\"\n\
                 party = \"subject\"\nwhere = [{{ field = \"data.distance\", ge = \"{}\" }}]\n",
                number * 10
            )
        };
        files.insert("meters/far.toml".to_owned(), (0..=self.0).map(meter).collect());
        let (day, hour) = (1 + self.0 / 24, self.0 % 24);
        let book = json!({ "files": files, "effective_from": format!("2100-01-{day:02}T{hour:02}:00:00Z") });
        let headers = [("content-type", "application/json")];
        match client.try_send("POST", "/v1/pricing/versions", &headers, book.to_string().as_bytes()) {
            Ok(reply) if reply.status == 503 && gone.load(Ordering::SeqCst) => {}
            Ok(reply) => {
                let answer: Value = reply.ok();
                assert!(answer["new"].is_boolean(), "{answer}");
                self.0 += 1;
            }
            Err(_) => assert!(gone.load(Ordering::SeqCst), "the server went away by itself"),
        }
    }
}
