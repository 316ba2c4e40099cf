//! Octets of a connection, judged in the library's `fuzzing` module.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| asyncworker::fuzzing::reader(octets));

/// A plain build has nothing to run.
#[cfg(not(fuzzing))]
fn main() {}
