//! The written queries: lists of words, and queries in which `$name` stands for each word of a list.

use std::collections::BTreeMap;

const TEXT: &str = include_str!("queries.txt");

/// Every query, lists put in.
pub fn all() -> Vec<String> {
    let (mut lists, mut out) = (BTreeMap::<&str, Vec<&str>>::new(), Vec::new());
    for line in TEXT.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.strip_prefix('=') {
            Some(list) => {
                let (name, words) = list.split_once(' ').unwrap();
                lists.insert(name, words.split(' ').collect());
            }
            None => expand(line, &lists, &mut out),
        }
    }
    out
}

/// The first `$name` of a list is put in, then what is left; `$1` in a replacement is none of them.
fn expand(line: &str, lists: &BTreeMap<&str, Vec<&str>>, out: &mut Vec<String>) {
    let found = line.match_indices('$').find_map(|(at, _)| {
        let name: String = line[at + 1..].chars().take_while(char::is_ascii_lowercase).collect();
        Some((at, name.len(), lists.get(name.as_str())?))
    });
    let Some((at, length, words)) = found else { return out.push(line.to_owned()) };
    for word in words {
        expand(&format!("{}{word}{}", &line[..at], &line[at + 1 + length..]), lists, out);
    }
}
