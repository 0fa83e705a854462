//! `tallystick demo`: a whole platform in one command, on data of its own.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;

use serde_json::Value;

use crate::support::airlines::assert_no_gaps;
use crate::support::airlines::documents;
use crate::support::data::run;
use crate::support::data::tallystick;
use crate::support::http::Client;
use crate::support::postgres::Leash;

#[test]
fn the_demo_shows_a_platform_that_has_closed_its_books() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut command = tallystick();
    command.args(["demo", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary can be started");
    // Kills it when the test ends, whichever way that is.
    let leash = Leash::new(r#"kill -9 "$1""#, &[child.id().to_string().as_ref()]);

    let said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut parsed = said.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let told = parsed.next().expect("the demo says in JSON where it is");
    let key = told["operator_key"].as_str().expect("a key to look around with");
    let links = told["links"].as_object().expect("links");
    let url = links["login"].as_str().and_then(|login| login.strip_suffix("/login")).expect("the page to sign in");
    let client = Client::new(url, Some(key));

    let invoices = documents(&client, "invoices");
    assert!(!invoices.is_empty() && told["invoices"] == invoices.len(), "{} invoices: {told}", invoices.len());
    assert_no_gaps(&invoices);
    assert_eq!(told["payouts"], documents(&client, "payouts").len());
    for link in links.values() {
        let path = link.as_str().and_then(|link| link.strip_prefix(url)).expect("a page of the demo");
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    // What the demo tells of its members is what their statements say.
    let (mut charged, mut rewarded) = (false, false);
    for member in told["members"].as_array().expect("members") {
        let (consumer, month) = (member["consumer"].as_str().expect("an id"), told["month"].as_str().expect("a month"));
        let statement = client.get(&format!("/v1/consumers/{consumer}/statement?period={month}")).ok();
        assert_eq!(statement["net"], member["net"], "{consumer}");
        charged |= member["charged"]["amount"] != "0.00";
        rewarded |= member["rewarded"]["amount"] != "0.00";
    }
    assert!(charged && rewarded, "somebody pays and somebody is paid: {told}");
    drop(leash);
    child.wait().expect("it ends");
    let verified = run(["verify".as_ref(), "--data".as_ref(), data.as_os_str()], "");
    assert_eq!(verified.code, 0, "nothing was made up: {verified:?}");
}
