//! What the process uses: read from `/proc`, and so on Linux only.

use super::table::Definition;

/// What can be read of it now.
#[cfg(target_os = "linux")]
#[allow(clippy::cast_precision_loss, reason = "a sample is a float anyway")]
pub(super) fn samples() -> Vec<(Definition, f64)> {
    use super::table::{CPU, MOST_FILES, OPEN_FILES, RESIDENT_MEMORY, START_TIME, THREADS, VIRTUAL_MEMORY};
    use procfs::process::{LimitValue, Process};

    let mut samples = Vec::new();
    let Ok(process) = Process::myself() else { return samples };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        samples.push((CPU, (stat.utime + stat.stime) as f64 / ticks));
        if let Ok(booted) = procfs::boot_time_secs() {
            samples.push((START_TIME, booted as f64 + stat.starttime as f64 / ticks));
        }
        samples.push((RESIDENT_MEMORY, stat.rss as f64 * procfs::page_size() as f64));
        samples.push((VIRTUAL_MEMORY, stat.vsize as f64));
        samples.push((THREADS, stat.num_threads as f64));
    }
    if let Ok(open) = process.fd_count() {
        samples.push((OPEN_FILES, open as f64));
    }
    if let Ok(limits) = process.limits() {
        let most = match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        samples.push((MOST_FILES, most));
    }
    samples
}

/// Nothing, where there is no `/proc`.
#[cfg(not(target_os = "linux"))]
pub(super) fn samples() -> Vec<(Definition, f64)> {
    Vec::new()
}
