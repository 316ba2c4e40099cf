//! Durations as they are written in an attribute: `"2s"`, `"300ms"`, `"1.5h"`.

const UNITS: [(&str, u128); 4] =
    [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

pub(crate) fn is_unit(name: &str) -> bool {
    UNITS.iter().any(|(unit, _)| *unit == name)
}

/// Nanoseconds, counted in whole numbers so that `"0.1s"` is exactly that.
///
/// # Errors
/// Says what is wrong with `text` and what would be right.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || unit.contains(char::is_whitespace) {
        return Err(format!(
            "`{text}` is not a duration: write a number and a unit, e.g. \"2s\", \"300ms\" or \"1.5h\""
        ));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit: write e.g. \"{text}s\"; the units are `ms`, `s`, `m` and `h`"));
    }
    let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "`{unit}` is not a unit of time: write one number and one of `ms`, `s`, `m` and `h`, e.g. \"{number}s\""
        ));
    };
    let fraction = fraction.trim_end_matches('0');
    let too_fine = || format!("`{text}` is finer than a nanosecond");
    let scale =
        u32::try_from(fraction.len()).ok().and_then(|places| 10_u128.checked_pow(places)).ok_or_else(too_fine)?;
    let scaled = format!("{whole}{fraction}").parse::<u128>().ok().and_then(|number| number.checked_mul(*unit));
    let too_long = || format!("`{text}` is too long: the longest duration is 2^64 nanoseconds, about 584 years");
    let scaled = scaled.ok_or_else(too_long)?;
    if scaled == 0 {
        return Err(format!("`{text}` is no time at all: a duration must be longer than zero"));
    }
    if scaled % scale != 0 {
        return Err(too_fine());
    }
    u64::try_from(scaled / scale).map_err(|_| too_long())
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn a_number_and_a_unit_make_a_duration() {
        assert_eq!(nanoseconds("300ms"), Ok(300_000_000));
        assert_eq!(nanoseconds("2s"), Ok(2_000_000_000));
        assert_eq!(nanoseconds("5m"), Ok(300_000_000_000));
        assert_eq!(nanoseconds("1h"), Ok(3_600_000_000_000));
    }

    #[test]
    fn a_fraction_is_exact() {
        assert_eq!(nanoseconds("1.5s"), Ok(1_500_000_000));
        assert_eq!(nanoseconds("0.1s"), Ok(100_000_000));
        assert_eq!(nanoseconds("0.000001ms"), Ok(1));
        assert_eq!(nanoseconds("1.0000000000000s"), Ok(1_000_000_000));
        assert_eq!(nanoseconds("0.0001h"), Ok(360_000_000));
    }

    #[test]
    fn zero_is_refused_however_it_is_written() {
        for zero in ["0s", "0.0s", "000ms", "0.000h"] {
            assert!(nanoseconds(zero).is_err_and(|why| why.contains("longer than zero")), "{zero}");
        }
    }

    #[test]
    fn a_missing_unit_is_named_as_such() {
        assert!(nanoseconds("2").is_err_and(|why| why.contains("no unit") && why.contains("\"2s\"")));
    }

    #[test]
    fn an_unknown_unit_is_answered_with_the_known_ones() {
        for wrong in ["2sec", "1m30s", "2S", "2µs", "1e3s"] {
            assert!(nanoseconds(wrong).is_err_and(|why| why.contains("`ms`, `s`, `m` and `h`")), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for wrong in ["", "s", "-1s", "+1s", ".5s", "5.s", "1.2.3s", "two seconds", " 2s", "2 s", "2s "] {
            assert!(nanoseconds(wrong).is_err_and(|why| why.contains("is not a duration")), "{wrong}");
        }
    }

    #[test]
    fn what_a_u64_of_nanoseconds_cannot_hold_is_refused() {
        assert_eq!(nanoseconds("18446744073.709551615s"), Ok(u64::MAX));
        for long in ["18446744073.709551616s", "9999999999h", &format!("1{}h", "0".repeat(60))] {
            assert!(nanoseconds(long).is_err_and(|why| why.contains("too long")), "{long}");
        }
        for fine in ["1.0000000001s", &format!("0.{}1h", "0".repeat(60))] {
            assert!(nanoseconds(fine).is_err_and(|why| why.contains("finer than a nanosecond")), "{fine}");
        }
    }
}
