//! A property list, judged in the library's `fuzzing` module.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| asyncworker::fuzzing::properties(octets));

/// A plain build has nothing to run.
#[cfg(not(fuzzing))]
fn main() {}
