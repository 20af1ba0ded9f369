//! Numbers as the dialect writes them, straight into a page. A page has thousands of them, so they are inlined.

/// How thousands are written: some rows have commas, as in the wild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thousands {
    Plain,
    Commas,
}

/// `5655` or `5,655`.
#[inline]
pub(super) fn push_whole(out: &mut Vec<u8>, number: u64, thousands: Thousands) {
    // Most are small, and a page has thousands of them.
    if number < 10 {
        return out.push(b'0' + number as u8);
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    if thousands == Thousands::Plain || digits.len() <= 3 {
        return out.extend_from_slice(digits);
    }
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    out.extend_from_slice(first);
    for group in rest.chunks(3) {
        out.push(b',');
        out.extend_from_slice(group);
    }
}

/// `53.26` or `1,234.50`, given in hundredths.
#[inline]
pub(super) fn push_hundredths(out: &mut Vec<u8>, number: u64, thousands: Thousands) {
    push_whole(out, number / 100, thousands);
    let cents = (number % 100) as u8;
    out.extend_from_slice(&[b'.', b'0' + cents / 10, b'0' + cents % 10]);
}

/// Five digits, with zeros before.
#[inline]
pub(super) fn push_five(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 5];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_both_manners() {
        let text = |push: fn(&mut Vec<u8>, u64, Thousands), number, thousands| {
            let mut out = Vec::new();
            push(&mut out, number, thousands);
            String::from_utf8(out).unwrap()
        };
        for (number, plain, commas) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1_000, "1000", "1,000"),
            (1_234_567, "1234567", "1,234,567"),
        ] {
            assert_eq!(text(push_whole, number, Thousands::Plain), plain);
            assert_eq!(text(push_whole, number, Thousands::Commas), commas);
        }
        assert_eq!(text(push_hundredths, 5, Thousands::Plain), "0.05");
        assert_eq!(text(push_hundredths, 123_450, Thousands::Commas), "1,234.50");
    }
}
