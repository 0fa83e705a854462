//! Tallystick counts events, prices them in both directions, and books the result.
//!
//! | room | does | never |
//! |---|---|---|
//! | [`domain`] | values in, values out | waits, reads a clock, draws a random number, touches a disk |
//! | [`store`] | keeps values, in one SQL text, on two engines | decides anything |
//! | [`metering`] | takes events in, exactly once; knows what was used | knows a price |
//! | [`billing`] | turns periods into documents and entries | sends money or messages |
//! | `settlement`, with the feature `stripe` | sends money through Stripe, and hears what became of it | prices anything |
//! | [`delivery`] | takes events to the endpoints that ask for them | lets one endpoint wait for another |
//! | [`http`] | says it over HTTP, to programs and to people | computes money |
//! | [`cli`] | one file a command | does what a server could not do too |
//!
//! Each room may use those above it in this table and none below; `tests/tidy.rs` keeps it so.
//!
//! # An event, start to finish
//! `http::intake` reads the body within its limits; [`metering::ingest`] reads each event ([`domain::walk`],
//! [`domain::shape`]), checks it against the catalog (where that asks for it, its data against the schema:
//! [`metering::validate`]), measures it with the compiled meters of [`domain::measure`], and looks it up among the
//! sealed runs of [`metering::seen`], all in parallel. `metering::writer` asks the seen index for what came since,
//! appends one batch of [`metering::log`] for everything that waits (one fsync), adds it to [`metering::fold`], and
//! answers. About once a second the fold is flushed: usage and its position in the log, in one transaction. After a
//! crash [`metering::recover`] replays what was not flushed or not sealed. To take an event back is an event too
//! ([`metering::retract`]). One that was refused may have been set aside, from where it is tried again
//! ([`metering::quarantine`]). History gets into a younger meter by [`metering::replay`], and old batches into files by
//! [`metering::archive`]. The way back, from what was measured to its events, is [`metering::trace`].
//!
//! # A delivery, start to finish
//! A worker of [`delivery`] reads the batch through `delivery::feed`, keeps what passes the endpoint's filters
//! ([`domain::webhook`]), signs and sends it ([`delivery::client`]), and tells `delivery::recorder`: what was acknowledged is an
//! event in the log, what was not is written down to be tried again, and only then is the endpoint a batch further.
//!
//! # A period, start to finish
//! [`billing::close`] gathers what is due (read), rates usage with [`domain::rating`] and makes documents and balanced
//! entries of it with [`domain::document`] and [`domain::ledger`] (think), and records all of it in one transaction
//! (write). [`billing::verify`] does the thinking again, from the log up, and compares. [`billing::simulate`] does it under a
//! price book that is not published.

pub mod billing;
pub mod cli;
pub mod clock;
pub mod delivery;
pub mod domain;
pub mod http;
pub mod metering;
pub mod random;
#[cfg(feature = "stripe")]
pub mod settlement;
pub mod store;
