//! Delays as people write them: `90s`, `10m`, `2h`, `1d`.

use std::{str::FromStr, time::Duration};

use thiserror::Error;

/// A delay as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(pub Duration);

/// Why a text is not a delay.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DelayError {
    /// Not a whole number and a unit.
    #[error("a delay is a whole number and a unit, as 90s, 10m, 2h or 1d")]
    Format,
    /// Longer than anybody means.
    #[error("a delay may be up to {LONGEST_DAYS} days")]
    TooLong,
}

const LONGEST_DAYS: u64 = 365;

impl FromStr for Delay {
    type Err = DelayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = text.chars().last().ok_or(DelayError::Format)?;
        let seconds_each = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(DelayError::Format),
        };
        let number = &text[..text.len() - unit.len_utf8()];
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DelayError::Format);
        }
        // Digits that do not fit are a number that is too long.
        let count: u64 = number.parse().map_err(|_| DelayError::TooLong)?;
        let seconds = count.checked_mul(seconds_each).ok_or(DelayError::TooLong)?;
        if seconds > LONGEST_DAYS * 86_400 {
            return Err(DelayError::TooLong);
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_nothing_else() {
        let seconds = |text: &str| text.parse::<Delay>().map(|delay| delay.0.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7_200));
        assert_eq!(seconds("1d"), Ok(86_400));
        for wrong in ["", "s", "10", "-1s", "1.5h", "1w", "1 m", "١m", "é"] {
            assert_eq!(seconds(wrong), Err(DelayError::Format), "{wrong}");
        }
        for long in ["366d", "99999999999999999999d", "18446744073709551615h"] {
            assert_eq!(seconds(long), Err(DelayError::TooLong), "{long}");
        }
    }
}
