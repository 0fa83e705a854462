//! One bit of the log's file changes: what reads it says so, and names the batch.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnectOptions;

use crate::support::data::Engine;
use crate::support::data::run;
use crate::support::flights;
use crate::support::server::Server;

/// What every zstd frame begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[test]
fn a_flipped_bit_of_the_log_is_found_and_its_batch_named() {
    let mut server = Server::start(Engine::Sqlite, &crate::support::books::flights());
    for events in flights::events().chunks(200).take(3) {
        server.events(&events.join("\n")).ok();
    }
    assert!(server.stop().0.success());
    let file = server.data.folder().join("data/events.db");
    move_into_file(&file);
    let whole = std::fs::read(&file).expect("the log");
    let verify = |server: &Server| run([vec!["verify".to_owned()], server.data.arguments()].concat(), "");
    assert_eq!(verify(&server).code, 0);
    let mut named = BTreeSet::new();
    for frame in whole.windows(4).enumerate().filter(|(_, bytes)| *bytes == ZSTD_MAGIC).map(|(at, _)| at) {
        let mut flipped = whole.clone();
        flipped[frame + 100] ^= 0b100;
        std::fs::write(&file, &flipped).expect("is written");
        let verified = verify(&server);
        let said = format!("{}{}", verified.stdout, verified.stderr);
        let names = |seq: &u32| said.contains(&format!("batch {seq} of the event log is damaged"));
        let batch = (1..=3).find(names);
        // A page that was moved leaves a copy behind that nothing reads.
        assert_eq!(verified.code, i32::from(batch.is_some()), "{said}");
        named.extend(batch);
    }
    assert_eq!(named, BTreeSet::from([1, 2, 3]), "a batch a body, and each was named");
    std::fs::write(&file, &whole).expect("is written");
    server.start_again();
    assert_eq!(server.events(&flights::events()[0]).ok()["duplicates"], json!(1));
}

/// Moves what is in the write-ahead log into the file.
fn move_into_file(file: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = options.connect().await.expect("opens");
        sqlx::raw_sql("pragma wal_checkpoint(truncate)").execute(&mut connection).await.expect("is moved");
        connection.close().await.expect("closes");
    });
}
