//! Numbers that follow from a name: whoever asks again, in whatever order, gets the same ones.
//!
//! For what is made only when it is looked at, as a seller's products. They are spread evenly and are good for nothing else.

/// A stream of numbers that belongs to a name and a number.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of the thing with this number, in the series with this name.
    pub(crate) fn of(series: &str, name: &str, number: u64) -> Dice {
        let bytes = series.bytes().chain([0]).chain(name.bytes()).chain(number.to_le_bytes());
        // The constants are those of FNV-1a.
        let folded = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Dice(folded)
    }

    /// A number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The step and the mixing are those of SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Whether something happens that happens to `share` of a hundred.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of several.
    pub(crate) fn one_of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let place = self.below(among.len() as u64);
        &among[usize::try_from(place).unwrap_or_default()]
    }

    /// So many letters and digits, as Amazon's ids have them.
    pub(crate) fn characters(&mut self, count: usize) -> String {
        const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        (0..count).map(|_| char::from(*self.one_of(CHARACTERS))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_number_give_the_same_stream_and_others_another() {
        let written = |series: &str, name: &str, number| Dice::of(series, name, number).characters(12);
        assert_eq!(written("sku", "A1", 1), written("sku", "A1", 1));
        for (series, name, number) in [("asin", "A1", 1), ("sku", "A2", 1), ("sku", "A1", 2)] {
            assert_ne!(written("sku", "A1", 1), written(series, name, number), "{series} {name} {number}");
        }
    }

    #[test]
    fn a_tenth_is_about_a_tenth() {
        let struck = (0..10_000).filter(|number| Dice::of("chance", "", *number).percent(10)).count();
        assert!((900..1_100).contains(&struck), "{struck}");
    }
}
