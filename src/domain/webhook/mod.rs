//! Webhooks, as far as they need no network: what an endpoint asks for ([`filter`]), how a delivery is signed ([`sign`]) and
//! its secret kept ([`vault`]), when it is tried again ([`retry`]), and which addresses may be contacted at all ([`address`]).

pub mod address;
pub mod filter;
pub mod retry;
pub mod sign;
pub mod vault;
