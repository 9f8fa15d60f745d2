//! The proven statement.
