//! The ledger: a chart of accounts, entries that balance or do not exist, and one function a posting rule.
