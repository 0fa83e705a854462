//! The pure half: values in, values out. Nothing here waits, reads a clock, draws a random number or touches a disk.
//!
//! From the ground up: [`money`], [`time`], [`ids`], [`hex`], [`bank`], [`walk`], [`cores`] → [`period`], [`days`], [`event`] → [`shape`] → [`book`] → [`measure`], [`rating`]
//! → [`document`] → [`payee`], [`payout`] → [`ledger`], [`simulation`]; [`show`] writes values for people. Beside them stand [`credit`] and [`spend`], which need no price book.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::panic))]

pub mod bank;
pub mod book;
pub mod consumer;
pub mod cores;
pub mod credit;
pub mod days;
pub mod document;
pub mod event;
#[cfg(test)]
pub mod golden;
pub mod hex;
pub mod ids;
pub mod ledger;
pub mod measure;
pub mod money;
pub mod payee;
pub mod payout;
pub mod period;
pub mod quantity;
pub mod rating;
pub mod shape;
pub mod show;
pub mod simulation;
pub mod spend;
pub mod subscription;
pub mod time;
pub mod walk;
pub mod webhook;
