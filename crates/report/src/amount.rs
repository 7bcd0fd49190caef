//! Amounts as people read them: `68,255`, `512 MiB`, `2 h 5 min`. Sentences here and in the program use them;
//! what programs read has plain numbers with their unit in the field's name.

use replica::Span;

/// A number with a comma before each three digits: `68,255`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the largest binary unit that says it exactly, `512 MiB`, or else with one decimal in
/// the largest unit of which there is one.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (size, unit) in UNITS {
        if bytes >= size {
            // `1536 MiB` is not easier to read than `1.5 GiB`, but 1,025 MiB is no round number of GiB.
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            let is_exact = u128::from(bytes) * 10 == tenths * u128::from(size);
            return match (tenths % 10, is_exact) {
                (0, true) => format!("{} {unit}", bytes / size),
                (_, true) => format!("{}.{} {unit}", tenths / 10, tenths % 10),
                (_, false) if size > 1 << 10 && bytes.is_multiple_of(size >> 10) => {
                    let smaller = UNITS.iter().find(|(smaller, _)| *smaller == size >> 10);
                    format!(
                        "{} {}",
                        grouped(bytes / (size >> 10)),
                        smaller.map_or("", |(_, unit)| unit)
                    )
                }
                (_, false) => format!("{} bytes", grouped(bytes)),
            };
        }
    }
    format!("{bytes} bytes")
}

/// A number of bytes as people want to know what was measured: three digits in the largest unit of which
/// there is one, `21.2 GiB`, `366 MiB`.
#[must_use]
pub fn rounded(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        // 1,000 MiB would have four digits.
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" || value >= 99.95 {
        format!("{value:.0} {unit}")
    } else if value >= 9.995 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.2} {unit}")
    }
}

/// A length of time in the two largest units that matter: `12.3 s`, `34 min 5 s`, `5 h 12 min`, `3 d 4 h`.
#[must_use]
pub fn lasted(span: Span) -> String {
    let seconds = span.0 / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {} h", hours % 24),
        (0, 1.., _) => format!("{hours} h {} min", minutes % 60),
        (0, 0, 1..) => format!("{minutes} min {} s", seconds % 60),
        (0, 0, 0) => format!("{seconds}.{} s", span.0 / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_has_three_digits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "0.98 KiB"),
            (512 << 20, "512 MiB"),
            (22_748_453_683, "21.2 GiB"),
            (366_852 << 10, "358 MiB"),
            (1023 << 20, "1.00 GiB"),
            (5 << 40, "5.00 TiB"),
        ] {
            assert_eq!(rounded(bytes), text);
        }
    }

    #[test]
    fn amounts_are_as_people_write_them() {
        assert_eq!(
            [0, 999, 1_000, 68_255].map(grouped),
            ["0", "999", "1,000", "68,255"]
        );
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        let sizes = [7, 512 << 20, 3 << 29, 1 << 40, 1025 << 20, 1_000_000, 1 << 14];
        let expected = [
            "7 bytes",
            "512 MiB",
            "1.5 GiB",
            "1 TiB",
            "1,025 MiB",
            "1,000,000 bytes",
            "16 KiB",
        ];
        assert_eq!(sizes.map(bytes), expected);
        let spans = [0, 12_340, 59_999, 60_000, 2_045_000, 18_720_000, 273_600_000];
        let expected = [
            "0.0 s",
            "12.3 s",
            "59.9 s",
            "1 min 0 s",
            "34 min 5 s",
            "5 h 12 min",
            "3 d 4 h",
        ];
        assert_eq!(spans.map(|ms| lasted(Span::from_ms(ms))), expected);
    }
}
