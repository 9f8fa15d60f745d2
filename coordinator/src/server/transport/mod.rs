//! Connections, from the moment that they are taken until they are closed.
//!
//! - [`listener`]: takes them, as many as there may be, and shakes hands.
//! - [`connection`]: one of them, which is closed when it is idle or stands still.
//! - [`tls`]: the certificates in force.
//! - [`vouched`]: the connections whose peers have shown certificates, which are looked at again.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod tls;
pub(crate) mod vouched;
