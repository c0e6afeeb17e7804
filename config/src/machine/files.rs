//! Small readers for kernel files: one figure, a table of figures, a list of processors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Kernel files are small; whatever is longer is not one (a fixture may be anything).
const LIMIT: u64 = 1 << 20;

/// The text of a file; `None` when it is missing, unreadable or no text.
pub(super) fn read_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The one number in a file.
pub(super) fn read_number(path: &Path) -> Option<u64> {
    read_text(path)?.trim().parse().ok()
}

/// The number after `key` in a file of `key number` lines, such as `memory.stat`.
pub(super) fn find_number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How many processors `0-3,6` names; `None` when it names none or is malformed.
pub(super) fn count_cpu_list(list: &str) -> Option<usize> {
    let mut count = 0_usize;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)? as usize)?.checked_add(1)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_cpu_list("0-3,6\n"), Some(5));
        assert_eq!(count_cpu_list("0"), Some(1));
        for wrong in ["", "\n", "3-1", "a", "1,,2", "0-4294967296"] {
            assert_eq!(count_cpu_list(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_must_match_whole() {
        let text = "inactive_file 5\ntotal_inactive_file 7\n";
        assert_eq!(find_number(text, "inactive_file"), Some(5));
        assert_eq!(find_number(text, "total_inactive_file"), Some(7));
        assert_eq!(find_number(text, "inactive"), None);
    }
}
