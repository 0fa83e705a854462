//! The black-box suite: the real binary, through its command line and HTTP, on both engines. A file a capability.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod archive;
mod bad_input;
mod bench;
mod billing_day;
mod damage;
mod demo;
mod events;
mod explain;
mod exports;
mod faults;
mod flights;
#[path = "../../src/domain/golden/cases.rs"]
mod golden;
mod journal;
mod keys;
mod kill;
mod kills;
mod ledger;
mod models;
mod openapi;
mod overload;
mod paper;
mod payouts;
mod quarantine;
mod quota;
mod replay;
mod scenarios;
mod settle;
mod shares;
mod simulate;
mod statement;
#[cfg(feature = "stripe")]
mod stripe;
mod support;
mod validation;
mod webhooks;
