//! `tallystick demo`: a whole platform in one command, on data of its own.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;

use serde_json::Value;

use crate::support::airlines::assert_no_gaps;
use crate::support::airlines::documents;
use crate::support::data::tallystick;
use crate::support::http::Client;
use crate::support::postgres::Leash;

#[test]
fn the_demo_shows_a_platform_with_closed_periods() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tallystick();
    command.args(["demo", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary can be started");
    // Kills it when the test ends, whichever way that is.
    let leash = Leash::new(r#"kill -9 "$1""#, &[child.id().to_string().as_ref()]);

    let said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut parsed = said.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let told = parsed.next().expect("the demo says in JSON where it is");
    let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("{name}: {told}")).to_owned();
    let pages = ["operator", "portal", "finance"].map(text);
    let url = pages[0].split_once("/operator").expect("the operator's page").0.to_owned();
    let client = Client::new(&url, Some(&text("key")));
    assert_no_gaps(&documents(&client, "invoices"));
    assert!(!documents(&client, "payouts").is_empty(), "somebody is paid");
    for page in pages {
        let status = client.get(page.strip_prefix(&url).expect("a page of the demo")).status;
        assert!([200, 303, 307].contains(&status), "{page}: {status}");
    }
    drop(leash);
    child.wait().expect("it ends");
}

#[test]
fn the_demo_can_be_had_without_serving() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let output = tallystick().args(["demo", "--no-serve", "--data"]).arg(&data).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let verified = tallystick().args(["verify", "--data"]).arg(&data).output().expect("the binary runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
