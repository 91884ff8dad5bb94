//! What the kernel writes under `/proc`, read from bytes without allocating. Anything that is not as expected is `None`.

/// Processor time of the whole host since it started, in the kernel's ticks of a hundredth of a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Time in which some program or the kernel ran.
    pub busy: u64,
    /// Time that the hypervisor gave to others.
    pub steal: u64,
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, … Time of guests is in user
/// and nice already.
pub fn ticks(stat: &[u8]) -> Option<Ticks> {
    let line = stat.split(|b| *b == b'\n').next()?.strip_prefix(b"cpu ")?;
    let mut fields = [0_u64; 8];
    let mut numbers = words(line);
    for field in &mut fields {
        *field = number(numbers.next()?)?;
    }
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = fields;
    let busy = [user, nice, system, irq, softirq].into_iter().try_fold(0_u64, u64::checked_add)?;
    Some(Ticks { busy, steal })
}

/// The `total=` of the line `some` of a file under `/proc/pressure`, microseconds in which some task waited.
pub fn pressure(text: &[u8]) -> Option<u64> {
    let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"some "))?;
    words(line).find_map(|word| word.strip_prefix(b"total=")).and_then(number)
}

/// Tasks that run or wait for a processor, of `/proc/loadavg`.
pub fn runnable(loadavg: &[u8]) -> Option<u32> {
    let counts = words(loadavg).nth(3)?;
    let slash = counts.iter().position(|b| *b == b'/')?;
    number(counts.get(..slash)?).and_then(|n| u32::try_from(n).ok())
}

/// How many processors a list of the kernel names, for instance 5 for `0-3,8`.
pub fn processors(list: &[u8]) -> Option<u16> {
    let mut sum = 0_u64;
    for part in list.trim_ascii().split(|b| *b == b',') {
        let dash = part.iter().position(|b| *b == b'-');
        let (first, last) = dash.map_or((part, part), |at| {
            (part.get(..at).unwrap_or_default(), part.get(at + 1..).unwrap_or_default())
        });
        sum = sum.checked_add(number(last)?.checked_sub(number(first)?)?.checked_add(1)?)?;
    }
    u16::try_from(sum).ok().filter(|n| *n > 0)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = char::from(*digit).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(value.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"cpu  422665 7 19822 257541 1994 3 3327 876 0 0\n\
        cpu0 211546 0 9777 128612 1085 0 1645 477 0 0\n\
        cpu1 211118 0 10045 128929 909 0 1682 398 0 0\nintr 5366235 0 0\n";
    const MEMORY: &[u8] = b"some avg10=0.00 avg60=3.42 avg300=4.09 total=524471922\n\
        full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";

    #[test]
    fn what_kernels_write_is_read() {
        let busy = 422_665 + 7 + 19_822 + 3 + 3_327;
        assert_eq!(ticks(STAT), Some(Ticks { busy, steal: 876 }));
        assert_eq!(pressure(MEMORY), Some(524_471_922));
        assert_eq!(runnable(b"1.19 1.33 1.64 12/850 1391\n"), Some(12));
    }

    #[test]
    fn processors_of_a_list_are_counted_and_anything_else_is_nothing() {
        for (list, wanted) in [
            (&b"0\n"[..], Some(1)),
            (b"0-3,8\n", Some(5)),
            (b"1,3,5-6", Some(4)),
            (b"", None),
            (b"\n", None),
            (b"3-1", None),
            (b"0-", None),
            (b"0-99999999", None),
            (b"0-18446744073709551615", None),
            (b"1,,2", None),
            (b"a", None),
        ] {
            assert_eq!(processors(list), wanted, "{list:?}");
        }
    }

    #[test]
    fn the_whole_line_counts_even_when_the_read_ended_within_the_next() {
        assert_eq!(ticks(&STAT[..60]), ticks(STAT));
        assert_eq!(pressure(&MEMORY[..70]), pressure(MEMORY));
    }

    #[test]
    fn what_is_not_as_expected_is_nothing_and_no_panic() {
        for text in [
            &b""[..],
            b"\n",
            b"cpu",
            b"cpu  1 2 3\n",
            b"cpu0 1 2 3 4 5 6 7 8 9 10\n",
            b"cpu  1 2 3 4 5 6 7 -8\n",
            b"cpu  1 2 3 4 5 6 x 8\n",
            b"cpu  99999999999999999999999 2 3 4 5 6 7 8\n",
            b"cpu  18446744073709551615 1 3 4 5 6 7 8\n",
            b"some avg10=0.00\n",
            b"some total=\n",
            b"some total=1x\n",
            b"full total=1\n",
            b"1 2 3\n",
            b"1 2 3 /7 9\n",
            b"1 2 3 99999999999/7 9\n",
            b"\xff\xfe\x00 \xff \xff \xff/\xff",
        ] {
            assert_eq!((ticks(text), pressure(text), runnable(text)), (None, None, None), "{text:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_real_text_is_read_or_refused_without_a_panic() {
        for text in [STAT, MEMORY, b"1.19 1.33 1.64 12/850 1391\n"] {
            for end in 0..text.len() {
                let cut = &text[..end];
                let _ = (ticks(cut), pressure(cut), runnable(cut));
            }
        }
    }
}
