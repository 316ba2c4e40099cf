//! Octets of a stream of events, judged in the library's `fuzzing` module.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| asyncworker::fuzzing::events(octets));

/// A plain build has nothing to run.
#[cfg(not(fuzzing))]
fn main() {}
