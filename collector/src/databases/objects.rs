//! The inventory of an instance and its changes: settings, databases, tables, indexes, extensions. Pure.
//!
//! The first reading of a kind says `seen` of everything; later ones say only what was added, removed or changed, and
//! everything once again when [`SEEN_AGAIN_MS`] have passed. Rows and sizes move all the time and are no change.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Events, EventsBuilder, Table};

use crate::config::Engine;

/// Everything is told again after this, so that it does not age out of the store.
pub const SEEN_AGAIN_MS: i64 = 3_600_000;
/// Longest definition kept, bytes.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// What an object is called within its kind and database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Schema (PostgreSQL).
    pub schema: Option<String>,
    /// Table of an index.
    pub parent: Option<String>,
    /// The object.
    pub name: String,
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// Value or definition: a difference here is a change.
    pub value: Option<String>,
    /// Estimated rows.
    pub rows: Option<i64>,
    /// Size on disk.
    pub size_bytes: Option<i64>,
    /// JSON of the rest.
    pub attributes: Option<String>,
}

/// One kind of object of one database, read whole (or cut at a bound).
#[derive(Clone, Debug)]
pub struct Listing {
    /// setting, database, table, index, extension.
    pub kind: &'static str,
    /// Of which database.
    pub database: Option<String>,
    /// What there is.
    pub objects: BTreeMap<Name, Object>,
    /// There were more than the bound: nothing can be said to be gone.
    pub cut: bool,
}

/// A change, for those who must act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Kind of object.
    pub kind: &'static str,
    /// added, removed, changed.
    pub change: &'static str,
    /// Table concerned, without schema.
    pub table: Option<String>,
}

/// Names with their values, and when all of them were told last, milliseconds.
type Known = (BTreeMap<Name, Option<String>>, i64);

/// What was there at the last reading.
#[derive(Debug, Default)]
pub struct Inventory {
    listings: BTreeMap<(&'static str, Option<String>), Known>,
}

impl Inventory {
    /// Compares a listing with the last; gives rows of `objects` and what changed.
    pub fn observe(&mut self, engine: Engine, instance: &str, now_ms: i64, listing: Listing) -> (Events, Vec<Change>) {
        let mut rows = EventsBuilder::new(Table::Objects);
        let mut changes = Vec::new();
        let key = (listing.kind, listing.database.clone());
        let before = self.listings.remove(&key);
        let all = before.as_ref().is_none_or(|(_, told)| now_ms - told >= SEEN_AGAIN_MS);
        let told_ms = if all { now_ms } else { before.as_ref().map_or(now_ms, |(_, told)| *told) };
        let known = before.map(|(known, _)| known);
        let table = |name: &Name| match listing.kind {
            "table" => Some(name.name.clone()),
            _ => name.parent.clone(),
        };
        let mut add = |name: &Name, change: &'static str, object: &Object, previous: Option<&String>| {
            if change != "seen" {
                changes.push(Change { kind: listing.kind, change, table: table(name) });
            }
            let value = object.value.as_deref().map(|v| super::fingerprint::cut(v, VALUE_BYTES_MAX));
            rows.row(
                instance,
                now_ms,
                [
                    ("engine", engine.as_str().into()),
                    ("kind", listing.kind.into()),
                    ("database", listing.database.clone().into()),
                    ("schema", name.schema.clone().into()),
                    ("name", name.name.as_str().into()),
                    ("parent", name.parent.clone().into()),
                    ("change", change.into()),
                    ("value", value.into()),
                    ("previous", previous.cloned().into()),
                    ("rows", object.rows.into()),
                    ("size_bytes", object.size_bytes.into()),
                    ("attributes", object.attributes.clone().into()),
                ],
            );
        };
        for (name, object) in &listing.objects {
            match known.as_ref().map(|k| k.get(name)) {
                Some(Some(previous)) if *previous != object.value => add(name, "changed", object, previous.as_ref()),
                Some(None) => add(name, "added", object, None),
                _ if all => add(name, "seen", object, None),
                _ => {}
            }
        }
        if let (Some(known), false) = (&known, listing.cut) {
            for (name, value) in known.iter().filter(|(n, _)| !listing.objects.contains_key(n)) {
                add(name, "removed", &Object::default(), value.as_ref());
            }
        }
        let kept = listing.objects.into_iter().map(|(name, object)| (name, object.value)).collect();
        self.listings.insert(key, (kept, told_ms));
        (rows.build(), changes)
    }

    /// Databases that are gone: what was known of their objects is forgotten.
    pub fn forget_databases(&mut self, there: &BTreeSet<String>) {
        self.listings.retain(|(_, database), _| database.as_ref().is_none_or(|d| there.contains(d)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listing(objects: &[(&str, &str)], cut: bool) -> Listing {
        let objects = objects
            .iter()
            .map(|(n, v)| {
                let name = Name { schema: None, parent: Some("t".into()), name: (*n).into() };
                (name, Object { value: Some((*v).into()), size_bytes: Some(v.len() as i64), ..Object::default() })
            })
            .collect();
        Listing { kind: "index", database: Some("d".into()), objects, cut }
    }

    fn check(inventory: &mut Inventory, now_ms: i64, listing: Listing, want: &[(&str, &str)]) {
        let (rows, changes) = inventory.observe(Engine::Postgresql, "i", now_ms, listing);
        let text = |r, c| match rows.get(r, c) {
            proto::Value::Text(t) => t.to_string(),
            other => format!("{other:?}"),
        };
        let got: Vec<(String, String)> = (0..rows.rows()).map(|r| (text(r, "name"), text(r, "change"))).collect();
        let want: Vec<(String, String)> = want.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert_eq!(got, want);
        assert_eq!(changes.len(), want.iter().filter(|(_, c)| c != "seen").count());
        assert!(changes.iter().all(|c| c.table.as_deref() == Some("t")));
    }

    #[test]
    fn only_differences_are_told_after_the_first_reading() {
        let mut inventory = Inventory::default();
        check(&mut inventory, 1, listing(&[("a", "1"), ("b", "2")], false), &[("a", "seen"), ("b", "seen")]);
        check(&mut inventory, 2, listing(&[("a", "1"), ("b", "2")], false), &[]);
        check(
            &mut inventory,
            3,
            listing(&[("a", "9"), ("c", "3")], false),
            &[("a", "changed"), ("c", "added"), ("b", "removed")],
        );
        check(&mut inventory, 4, listing(&[("a", "9")], true), &[]);
        check(&mut inventory, 1 + SEEN_AGAIN_MS, listing(&[("a", "9")], false), &[("a", "seen")]);
        inventory.forget_databases(&BTreeSet::new());
        check(&mut inventory, 5, listing(&[("a", "9")], false), &[("a", "seen")]);
    }
}
