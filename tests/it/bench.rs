//! `tallystick bench`: a small run, to see that it measures everything and that everything it sends is counted.
//! What it measures is not looked at: a busy machine must not fail a test.

use std::process::Stdio;

use serde_json::Value;

use crate::support::data::tallystick;

#[test]
fn a_benchmark_of_ingest_counts_every_event_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tallystick();
    command.args(["bench", "ingest", "--events", "20000", "--seconds", "2", "--body", "1000", "--seed", "7", "--json"]);
    command.env("TMPDIR", folder.path()).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    assert!(!stderr.contains("panicked at"), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    // 20,000 events of a history, 20,000 in large bodies, 2,000 in bodies of 100, 200 singly, and those of the paced
    // load, which is sent for a time.
    let counts = &report["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("{name} is a number: {counts}"));
    assert_eq!(counts["agree"], true, "{counts}");
    assert!(count("sent") > 42_200 && count("duplicates") > 0, "{counts}");
    assert_eq!(count("sent"), count("distinct") + count("duplicates"), "{counts}");
    for counted in ["accepted", "counted", "counted_after_restart"] {
        assert_eq!(count(counted), count("distinct"), "{counted} of {counts}");
    }
    assert_eq!(count("duplicates_found"), count("duplicates"), "{counts}");
    assert_eq!(count("bytes_counted"), count("bytes_sent"), "{counts}");

    for (load, events) in
        [("large", 20_000), ("large_empty", 5_000), ("medium", 2_000), ("single", 200), ("single_empty", 200)]
    {
        assert_eq!(report[load]["events"], events, "{load}");
    }
    let mut figures = vec![
        "/machine/cores".to_owned(),
        "/machine/memory_bytes".to_owned(),
        "/limit/events_per_second".to_owned(),
        "/generator/events_per_second".to_owned(),
        "/naive/events_per_second".to_owned(),
        "/naive_near_end/events_per_second".to_owned(),
        "/query/p99_ms".to_owned(),
        "/restart/ready_after_seconds".to_owned(),
        "/restart/memory/peak_bytes".to_owned(),
        "/memory/peak_bytes".to_owned(),
        "/memory/now_bytes".to_owned(),
        "/disk/bytes_per_event".to_owned(),
    ];
    for load in ["large", "large_empty", "medium", "single", "single_empty", "paced"] {
        for figure in
            ["connections", "events_a_body", "requests", "events_per_second", "latency/p50_ms", "latency/p99_ms"]
        {
            figures.push(format!("/{load}/{figure}"));
        }
        // On a busy machine nothing may have been answered in one of them.
        for stretch in ["first_events_per_second", "last_events_per_second"] {
            assert!(report[load][stretch].is_number(), "{stretch} of {load}: {report}");
        }
    }
    for figure in figures {
        let value = report.pointer(&figure).and_then(Value::as_number).map(ToString::to_string);
        let is_positive = |value: String| !value.starts_with('-') && value.contains(|c| ('1'..='9').contains(&c));
        assert!(value.is_some_and(is_positive), "{figure} was measured: {report}");
    }
    assert!(report["machine"]["cpu"].as_str().is_some_and(|cpu| !cpu.is_empty()), "{}", report["machine"]);
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_benchmark_of_closing_makes_what_it_measures_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tallystick();
    command.args(["bench", "close", "--subscriptions", "300", "--months", "2", "--json"]);
    command.env("TMPDIR", folder.path()).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // An invoice of a fee and four charges, and a payout statement of a reward, for each but whom nobody answered.
    let count =
        |place: &str| report.pointer(place).and_then(Value::as_u64).unwrap_or_else(|| panic!("{place}: {report}"));
    let payouts = count("/closing/documents") - 300;
    assert!((290..=300).contains(&payouts), "{report}");
    assert_eq!(count("/closing/lines"), 5 * 300 + payouts);
    assert_eq!((count("/usage_rows"), count("/simulation/periods")), (300 * 3 * 2, 300 * 2 * 2));
    assert!(count("/limit/rows") > count("/closing/lines") && count("/rating/lines") >= 300 * 5, "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
}

#[test]
fn a_benchmark_of_the_ledger_posts_what_it_measures_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tallystick();
    command.args(["bench", "ledger", "--entries", "500", "--batch", "120", "--json", "--database-url"]);
    command.arg(crate::support::postgres::fresh_database());
    command.env("TMPDIR", folder.path()).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["entries"], &report["postings"]), (&500.into(), &2_000.into()));
    for engine in ["sqlite", "postgres"] {
        let number = |name: &str| report[engine][name].as_number().map(ToString::to_string).unwrap_or_default();
        let is_measured = |name| number(name).contains(|digit| ('1'..='9').contains(&digit));
        let names = ["postings_per_second", "plain_postings_per_second", "ratio"];
        assert!(names.into_iter().all(is_measured), "{report}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
}
