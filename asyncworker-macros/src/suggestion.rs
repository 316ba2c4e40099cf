//! "Did you mean `x`?"

/// The known name nearest to `given`, if it is near enough for a slip of the keyboard or a part left out.
pub(crate) fn nearest(given: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    known
        .into_iter()
        .map(|name| (edits(given, name), name))
        .filter(|(edits, name)| edits * 3 <= name.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// How many letters to insert, remove, replace or swap with their neighbour.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let shifted = rows[i - 1][j].min(rows[i][j - 1]) + 1;
                let best = replaced.min(shifted);
                let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 3] = ["bulk_size", "bulk_flush_interval", "timeout"];

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        assert_eq!(nearest("bulksize", KNOWN), Some("bulk_size"));
        assert_eq!(nearest("timeuot", KNOWN), Some("timeout"));
        assert_eq!(nearest("flush_interval", KNOWN), Some("bulk_flush_interval"));
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("retries", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
    }
}
