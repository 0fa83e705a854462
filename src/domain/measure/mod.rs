//! A meter compiled: from an event to what it adds to usage.
