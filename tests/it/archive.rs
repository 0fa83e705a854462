//! Old events out of the database and into files: still known, still counted, still verified, whatever is killed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support::books;
use crate::support::data::Engine;
use crate::support::data::run_and_kill;
use crate::support::flights;
use crate::support::flights::FLIGHTS;
use crate::support::flights::column;
use crate::support::flights::used;
use crate::support::random::Random;
use crate::support::server::Server;

crate::support::both_engines!(
    what_is_archived_is_still_known_counted_and_verified,
    kills_while_archiving_leave_batches_or_files,
);

const KILLS: u64 = 12;
const BODY_EVENTS: usize = 500;

/// The files of an archive: manifests, in order, each with the events that `zstd -d` gives of its file.
fn files(archive: &Path) -> Vec<(Value, Vec<String>)> {
    let names = fs::read_dir(archive).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    let kind = |path: &PathBuf| path.extension().map(|kind| kind.to_string_lossy().into_owned()).unwrap_or_default();
    assert!(names.iter().all(|path| ["json", "zst"].contains(&&*kind(path))), "nothing half is left: {names:?}");
    let manifests = names.iter().filter(|path| kind(path) == "json");
    let read = |path: &PathBuf| {
        let manifest: Value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
        let data = fs::File::open(archive.join(manifest["file"].as_str().expect("a name"))).expect("a file");
        let text = zstd::stream::decode_all(data).expect("zstd");
        let events = String::from_utf8(text).expect("text").lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(manifest["events"].as_u64(), Some(events.len() as u64));
        (manifest, events)
    };
    let files: Vec<_> = manifests.map(read).collect();
    assert_eq!(files.len() * 2, names.len(), "each file has a manifest: {names:?}");
    for (number, (manifest, _)) in (1..).zip(&files) {
        assert_eq!((manifest["number"].as_u64(), &manifest["version"]), (Some(number), &json!(1)));
        assert_eq!(manifest["previous"].is_null(), number == 1);
    }
    files
}

fn what_is_archived_is_still_known_counted_and_verified(engine: Engine) {
    let mut server = Server::start(engine, &books::flights());
    let bodies = flights::events();
    for body in bodies.chunks(BODY_EVENTS) {
        server.events(&body.join("\n")).ok();
    }
    let book = books::younger();
    server.cli(&["pricing", "apply", "--pricing", &book.path().display().to_string()]).done();
    let archive = server.data.folder().join("archive");
    let folder = archive.display().to_string();
    let arguments = ["events", "archive", "--before", "2013-03-01", "--to", &folder, "--file-size", "1", "--json"];
    if engine == Engine::Sqlite {
        let refused = server.data.run(&arguments);
        assert_eq!(refused.code, 3);
        assert!(refused.stderr.contains("stop the server"), "{}", refused.stderr);
    }
    server.stop();

    let said = server.data.run(&arguments).json();
    let archived = files(&archive);
    assert!(archived.len() > 1, "{} files", archived.len());
    let events: Vec<&String> = archived.iter().flat_map(|(_, events)| events).collect();
    assert_eq!(said["events"].as_u64(), Some(events.len() as u64));
    assert!(events.len() > 40_000 && events.len() < 60_000, "two months of three: {}", events.len());
    if engine == Engine::Sqlite {
        let (before, after) = (said["log_bytes_before"].as_i64(), said["log_bytes_after"].as_i64());
        assert!(after.map(|after| after * 2) < before, "{said}");
    }
    let again = server.data.run(&arguments).json();
    assert_eq!((&again["events"], &again["files"]), (&json!(0), &json!([])));
    server.data.run(&["verify"]).done();

    // Its duplicates are known, also by an index that is made anew, and what says something else is named.
    for lost in [false, true] {
        if lost {
            let cache = if engine == Engine::Sqlite { "data/seen" } else { "cache/seen" };
            fs::remove_dir_all(server.data.folder().join(cache)).expect("is there");
        }
        server.start_again();
        let answer: Value =
            serde_json::from_str(&server.cli(&["events", "import", "--json", &flights::events_file()]).done())
                .expect("JSON");
        assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(FLIGHTS)));
        assert_eq!(answer["conflicts"], 0);
        let mut changed: Value = serde_json::from_str(events[0]).expect("JSON");
        changed["data"]["distance"] = json!(7);
        assert_eq!(server.events(&changed.to_string()).ok()["conflicts"], json!([0]));
        let (source, id) = (changed["source"].as_str().expect("text"), changed["id"].as_str().expect("text"));
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let event = server.get(&format!("/v1/events/{}/{}", encoded(source), encoded(id))).ok();
        assert_eq!(event["event"].to_string(), serde_json::from_str::<Value>(events[0]).expect("JSON").to_string());
        flights::assert_all_counted(&server);
        server.stop();
    }
    server.data.run(&["events", "replay", "--meter", "late_again"]).done();

    // A bit is another, a file is elsewhere, a manifest is gone: each is named.
    let data = archive.join("events-000002.ndjson.zst");
    let whole = fs::read(&data).expect("a file");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    fs::write(&data, damaged).expect("a file");
    let named = |arguments: &[&str], name: &str| {
        let verified = server.data.run(arguments);
        assert_eq!(verified.code, 1, "{verified:?}");
        assert!(verified.stdout.contains(name) && verified.stdout.contains("--archive"), "{}", verified.stdout);
    };
    named(&["verify"], "events-000002.ndjson.zst");
    fs::write(&data, whole).expect("a file");
    server.data.run(&["verify"]).done();
    fs::rename(archive.join("events-000001.json"), archive.join("kept")).expect("is renamed");
    named(&["verify"], "events-000001.json");
    fs::rename(archive.join("kept"), archive.join("events-000001.json")).expect("is renamed");
    let moved = server.data.folder().join("moved");
    fs::rename(&archive, &moved).expect("is moved");
    named(&["verify"], "events-000001.ndjson.zst");
    server.data.run(&["verify", "--archive", &moved.display().to_string()]).done();

    server.start_again();
    assert_eq!(used(&server, "late_again", None), column("late_60"), "replayed from the archive");
    let event: Value = serde_json::from_str(events[0]).expect("JSON");
    let encoded =
        |name: &str| event[name].as_str().expect("text").bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let problem = server.get(&format!("/v1/events/{}/{}", encoded("source"), encoded("id"))).problem(500);
    assert_eq!(problem["code"], "archive_unreadable");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("events-000001.ndjson.zst")), "{problem}");
}

fn kills_while_archiving_leave_batches_or_files(engine: Engine) {
    let mut random = Random::from_environment();
    let mut server = Server::start(engine, &books::flights());
    for body in flights::events().chunks(BODY_EVENTS) {
        server.events(&body.join("\n")).ok();
    }
    server.stop();
    let archive = server.data.folder().join("archive");
    let arguments = |before: &str| -> Vec<String> {
        let archive = archive.display().to_string();
        let own = ["events", "archive", "--before", before, "--to", &archive, "--file-size", "1"].map(str::to_owned);
        own.into_iter().chain(server.data.arguments()).collect()
    };
    // Machines differ: as soon as a run has ended before its kill, the next kill comes earlier.
    let (mut killed, mut within) = (0, 400);
    for kill in 1..=KILLS {
        let before = format!("2013-0{}-{:02}", 1 + kill / 5, 1 + kill % 5 * 6);
        match run_and_kill(&arguments(&before), Duration::from_millis(10 + random.below(within))) {
            true => killed += 1,
            false => within = (within * 2 / 3).max(10),
        }
        if kill % 4 == 0 {
            server.data.run(&["verify"]).done();
        }
    }
    assert!(killed > 0, "no kill came in time: it proves nothing");
    let folder = archive.display().to_string();
    server.data.run(&["events", "archive", "--before", "2013-03-20", "--to", &folder]).done();
    let archived: usize = files(&archive).iter().map(|(_, events)| events.len()).sum();
    assert!(archived > 60_000, "{archived}");
    server.data.run(&["verify"]).done();
    server.start_again();
    flights::assert_all_counted(&server);
    let answer = server.cli(&["events", "import", "--json", &flights::events_file()]).done();
    assert_eq!(serde_json::from_str::<Value>(&answer).expect("JSON")["duplicates"], json!(FLIGHTS));
}
