//! What the system says of this process: memory, page faults, bytes read from disk.

use std::fs;

/// A number of a file of lines such as `name: 12 kB`.
fn number(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Forgets the peak, and gives the bytes of now.
pub(super) fn reset_peak() -> u64 {
    // Where that isn't allowed the peak is that of the whole run.
    let _ignored = fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/clear_refs")
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"5"));
    number("/proc/self/status", "VmRSS:") << 10
}

/// The most bytes since [`reset_peak`].
pub(super) fn peak() -> u64 {
    number("/proc/self/status", "VmHWM:") << 10
}

/// Page faults that waited for a disk, so far.
pub(super) fn faults() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let word = after_name.split(' ').nth(9);
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Bytes that were read from a disk, so far.
pub(super) fn bytes_read() -> u64 {
    number("/proc/self/io", "read_bytes:")
}
