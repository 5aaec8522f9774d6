//! Pairs of statements that must, and must not, have one id.
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn smoke() {
    let f = fingerprint(Dialect::Postgresql, "SELECT * FROM Orders o WHERE id IN (1,2) AND x = -5 -- c");
    assert_eq!(&*f.normalized_text, "select * from orders o where id in (...) and x = ?");
}
