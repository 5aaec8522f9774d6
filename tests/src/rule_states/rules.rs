//! The shipped rule files, with waiting times shortened: `for` and `keep_firing_for` beyond ten seconds become ten seconds, the
//! windows of rates and changes one minute. Anything else that differs from what is shipped is an [`Override`] with its reason.

use std::path::Path;

/// A text of a rule that is replaced because its state can't be had on a machine for tests.
pub struct Override {
    /// Whose.
    pub rule: &'static str,
    /// What is shipped.
    pub shipped: &'static str,
    /// What is tested.
    pub tested: String,
    /// Why.
    pub why: &'static str,
}

/// Functions over a window that only waits; `last_over_time` bridges slow readings and is left alone.
const WINDOWED: [&str; 6] = ["rate", "increase", "changes", "resets", "max_over_time", "min_over_time"];

/// Writes every built-in file, with waits shortened and overrides applied, into `folder`. Gives how many rules there are.
pub fn write(folder: &Path, overrides: &[Override]) -> anyhow::Result<usize> {
    let mut left: Vec<&Override> = overrides.iter().collect();
    let mut rules = 0;
    for (name, text) in alerting::builtin::FILES {
        let mut out = String::new();
        for rule in pieces(text) {
            let alert = rule.lines().find_map(|l| l.trim().strip_prefix("- alert: ")).unwrap_or("");
            rules += usize::from(!alert.is_empty());
            let mut rule = shortened(rule);
            left.retain(|o| {
                let fits = o.rule == alert && rule.contains(o.shipped);
                if fits {
                    rule = rule.replace(o.shipped, &o.tested);
                }
                !fits
            });
            out.push_str(&rule);
        }
        std::fs::write(folder.join(name.trim_start_matches("builtin:")), out)?;
    }
    let unused: Vec<&str> = left.iter().map(|o| o.rule).collect();
    anyhow::ensure!(unused.is_empty(), "overrides that fit no shipped text: {unused:?}");
    Ok(rules)
}

/// A file cut before each rule.
fn pieces(text: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    cuts.extend(text.match_indices("      - alert: ").map(|(at, _)| at));
    cuts.push(text.len());
    cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect()
}

fn shortened(rule: &str) -> String {
    let (mut out, mut rest) = (String::new(), rule);
    while let Some(at) = rest.find("for: ") {
        let (head, tail) = rest.split_at(at + "for: ".len());
        out.push_str(head);
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
        let long = tail[..end].trim_end_matches('s').parse::<u32>().map_or(true, |seconds| seconds > 10);
        out.push_str(if long && tail.starts_with(|c: char| c.is_ascii_digit()) { "10s" } else { &tail[..end] });
        rest = &tail[end..];
    }
    out.push_str(rest);
    let mut short = String::new();
    let mut rest = out.as_str();
    while let Some(at) = rest.find('[') {
        let (head, tail) = rest.split_at(at);
        let end = tail.find(']').map_or(tail.len(), |e| e + 1);
        let window = &tail[..end];
        short.push_str(head);
        short.push_str(match window {
            "[2m]" | "[5m]" | "[10m]" | "[15m]" if near(head) => "[1m]",
            _ => window,
        });
        rest = &tail[end..];
    }
    short + rest
}

/// Whether the last call before a window is one of those that only wait.
fn near(head: &str) -> bool {
    let Some(open) = head.rfind('(') else { return false };
    let name = head[..open].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
    WINDOWED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waiting_is_shortened() {
        for (shipped, tested) in [
            ("for: 5m\n", "for: 10s\n"),
            ("for: 10s\n", "for: 10s\n"),
            ("{above: 2, recover: 1, for: 1h}", "{above: 2, recover: 1, for: 10s}"),
            ("rate(x{a=\"b\"}[5m]) > 1", "rate(x{a=\"b\"}[1m]) > 1"),
            ("100 * last_over_time(x[15m])", "100 * last_over_time(x[15m])"),
            ("min_over_time(x[1d]) == 0", "min_over_time(x[1d]) == 0"),
            ("waits for: locks", "waits for: locks"),
        ] {
            assert_eq!(shortened(shipped), tested);
        }
    }
}
