//! How money leaves and arrives through others, who have a mind of their own. What they are asked is written down before they
//! are asked, and what they say is kept before it is understood.

pub mod stripe;
