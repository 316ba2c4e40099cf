//! What Linux says of this process.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};

/// User and system time of all its threads, in seconds.
///
/// # Errors
/// The system does not tell it.
pub fn cpu_seconds() -> nix::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = [usage.user_time(), usage.system_time()];
    Ok(time.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum())
}

/// The most memory that it held. Not ru_maxrss, which counts that of whoever started the program.
#[must_use]
pub fn peak_kib() -> Option<u64> {
    kib_of("VmHWM:")
}

/// The memory that it holds.
#[must_use]
pub fn resident_kib() -> Option<u64> {
    kib_of("VmRSS:")
}

/// How often its threads went to sleep, which is how often they were woken.
#[must_use]
pub fn wake_ups() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| number_in(&fs::read_to_string(task.path().join("status")).ok()?, "voluntary_ctxt_")).sum()
}

fn kib_of(name: &str) -> Option<u64> {
    number_in(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The number in the line that begins so.
fn number_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_the_name_of_its_line() {
        let status = "VmHWM:\t  7252 kB\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(number_in(status, "VmHWM:"), Some(7252));
        assert_eq!(number_in(status, "voluntary_ctxt_"), Some(12));
        assert_eq!(number_in(status, "VmRSS:"), None);
    }
}
