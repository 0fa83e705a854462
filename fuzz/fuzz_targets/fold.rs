//! Sends events in any order, again, and taken back, with flushes and restarts in between: usage is what one pass over
//! the distinct events that were not taken back comes to.

#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tallystick::domain::book::SourceFile;
use tallystick::domain::book::version::BookVersion;
use tallystick::domain::period::Period;
use tallystick::domain::time::Instant;
use tallystick::domain::time::Zone;
use tallystick::metering::Metering;
use tallystick::metering::Options;
use tallystick::metering::ingest::Format;
use tallystick::metering::ingest::Invalid;
use tallystick::metering::ingest::Limits;
use tallystick::metering::usage::Query;
use tallystick::metering::usage::Window;
use tallystick::store::Access;
use tallystick::store::Db;
use tallystick::store::Target;
use tokio::runtime::Runtime;

const NOW: Instant = Instant::from_micros(1_400_000_000_000_000);
const METERS: &str = r#"
[[meter]]
id = "count"
event_type = "job.done"
aggregation = "count"
dimensions = { region = "data.region" }
[[meter]]
id = "sum"
event_type = "job.done"
aggregation = "sum"
value = "data.seconds"
[[meter]]
id = "max"
event_type = "job.done"
aggregation = "max"
value = "data.seconds"
[[meter]]
id = "unique"
event_type = "job.done"
aggregation = "unique"
value = "data.region"
"#;

/// One folder for all inputs, since a new one takes longer than all else; each input has parties and events of its own.
struct Bench {
    runtime: Runtime,
    folder: tempfile::TempDir,
    metering: Option<Metering>,
    input: u64,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

fuzz_target!(|steps: &[u8]| BENCH.with_borrow_mut(|bench| bench.run(steps)));

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let metering = runtime.block_on(async {
            let metering = open(folder.path()).await;
            let files = [
                ("book.toml", "name = \"Test\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"),
                ("catalog/c.toml", "[[event_type]]\ntype = \"job.done\"\ntitle = \"Job\"\ndescription = \"A job\"\n"),
                ("meters/m.toml", METERS),
            ];
            let files = files.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
            let version = BookVersion::new(files.to_vec(), Instant::BEGINNING).expect("is a book");
            metering.publish(version, "fuzz", "", NOW).await.expect("publishes");
            metering
        });
        Self { runtime, folder, metering: Some(metering), input: 0 }
    }

    fn run(&mut self, steps: &[u8]) {
        self.input += 1;
        let input = self.input;
        let (mut sent, mut taken_back, mut body) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for step in steps.chunks(2).take(64) {
            let number = step.get(1).copied().unwrap_or(0) % 48;
            match step[0] % 10 {
                0..=5 => body.push(number),
                6 => self.send(&mut body, &mut sent),
                7 => {
                    self.send(&mut body, &mut sent);
                    let event = retraction(input, number, step[0]);
                    let taken = self.ingest(event);
                    assert_eq!(taken.is_some(), sent.contains(&number), "only what is known can be taken back");
                    if taken.is_some() {
                        taken_back.insert(number);
                    }
                }
                8 => self.runtime.block_on(self.metering().flush()).expect("flushes"),
                _ => {
                    // Nothing of what is in memory is written.
                    drop(self.metering.take());
                    self.metering = Some(self.runtime.block_on(open(self.folder.path())));
                }
            }
        }
        self.send(&mut body, &mut sent);
        self.check(&sent, &taken_back);
    }

    fn send(&mut self, body: &mut Vec<u8>, sent: &mut BTreeSet<u8>) {
        let text: Vec<String> = body.iter().map(|number| event(self.input, *number)).collect();
        let new: BTreeSet<u8> = body.drain(..).filter(|number| !sent.contains(number)).collect();
        let accepted = self.ingest(text.join("\n")).expect("is taken");
        assert_eq!(accepted, new.len());
        sent.extend(new);
    }

    /// How many events were new; none if the body was refused.
    fn ingest(&self, body: String) -> Option<usize> {
        let ingested = self.metering().ingest(Format::Ndjson, body.into_bytes(), Invalid::Reject, NOW);
        self.runtime.block_on(ingested).ok().map(|receipt| receipt.accepted)
    }

    fn check(&self, sent: &BTreeSet<u8>, taken_back: &BTreeSet<u8>) {
        for party in 0..3 {
            let left: Vec<u8> = sent.difference(taken_back).copied().filter(|number| number % 3 == party).collect();
            let regions: BTreeSet<u8> = left.iter().map(|number| number % 4).collect();
            let expected = [
                ("count", left.len() as u64),
                ("sum", left.iter().map(|number| u64::from(*number)).sum()),
                ("max", left.iter().copied().max().map_or(0, u64::from)),
                ("unique", regions.len() as u64),
            ];
            let found = expected.map(|(meter, _)| (meter, self.usage(meter, party)));
            assert_eq!(BTreeMap::from(found), BTreeMap::from(expected), "party {party} of {sent:?} less {taken_back:?}");
        }
    }

    fn usage(&self, meter: &str, party: u8) -> u64 {
        let versions = self.metering().versions();
        let query = Query {
            meter: versions.meter(meter).expect("exists"),
            consumer: Some(&format!("{}-{party}", self.input)),
            period: Period::new(Instant::BEGINNING, NOW).expect("a period"),
            window: Window::Total,
            zone: Zone::utc(),
            group_by: &[],
        };
        let rows = self.runtime.block_on(self.metering().usage(&query)).expect("reads");
        rows.first().map_or(0, |row| row.value.to_string().parse().expect("a whole number"))
    }

    fn metering(&self) -> &Metering {
        self.metering.as_ref().expect("is open")
    }
}

async fn open(folder: &Path) -> Metering {
    let target = Target::Folder(folder.to_owned());
    // The one before lets go of the data when its last task has seen that it is gone.
    let mut tries = 0;
    let db = loop {
        match Db::open(&target, Access::Owner).await {
            Ok(db) => break db,
            Err(error) if tries > 200 => panic!("{error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
        tries += 1;
    };
    let options = Options { limits: Limits::default(), seen: folder.join("seen"), seen_memory: 64 << 10 };
    Metering::open(db, options, |_| {}).await.expect("opens")
}

fn event(input: u64, number: u8) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{input}-{number}","source":"/t","type":"job.done","subject":"{input}-{}","time":"2013-01-{:02}T{:02}:10:00Z","data":{{"region":"r{}","seconds":{number}}}}}"#,
        number % 3,
        1 + number % 28,
        number % 24,
        number % 4,
    )
}

fn retraction(input: u64, number: u8, id: u8) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{input}-{number}-{id}","source":"/mend","type":"tallystick.event.retracted","time":"2013-02-01T00:00:00Z","data":{{"source":"/t","id":"{input}-{number}"}}}}"#
    )
}
