//! Which way up a picture is, as its EXIF data says: cameras store what the sensor saw, and write down how they were held.

use pipeline::world::Size;

/// The `Orientation` of EXIF: what turns the stored picture upright. Named after what stands where in the upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Rows of the upright picture are columns of the stored one.
    swapped: bool,
    /// The first stored column is shown last. Where the axes are swapped, it is a row of the upright picture.
    columns_reversed: bool,
    /// The first stored row is shown last.
    rows_reversed: bool,
}

impl Orientation {
    pub(super) const UPRIGHT: Orientation = Orientation::new(false, false, false);

    const fn new(swapped: bool, columns_reversed: bool, rows_reversed: bool) -> Orientation {
        Orientation { swapped, columns_reversed, rows_reversed }
    }

    /// Of EXIF data, which is a TIFF file without pictures. What says nothing that can be understood is upright.
    pub(super) fn of_exif(exif: &[u8]) -> Orientation {
        match orientation_tag(exif) {
            Some(2) => Orientation::new(false, true, false),
            Some(3) => Orientation::new(false, true, true),
            Some(4) => Orientation::new(false, false, true),
            Some(5) => Orientation::new(true, false, false),
            Some(6) => Orientation::new(true, false, true),
            Some(7) => Orientation::new(true, true, true),
            Some(8) => Orientation::new(true, true, false),
            _ => Orientation::UPRIGHT,
        }
    }

    /// The size of the upright picture.
    pub(super) fn size(self, stored: Size) -> Size {
        match self.swapped {
            true => Size { width: stored.height, height: stored.width },
            false => stored,
        }
    }

    /// Column and row of the stored picture that are shown at column `x` and row `y` of the upright one.
    pub(super) fn stored_at(self, stored: Size, x: u32, y: u32) -> (u32, u32) {
        let (column, row) = if self.swapped { (y, x) } else { (x, y) };
        let column = if self.columns_reversed { stored.width - 1 - column } else { column };
        let row = if self.rows_reversed { stored.height - 1 - row } else { row };
        (column, row)
    }
}

/// The tag `Orientation` (0x0112) of the first directory of a TIFF file.
fn orientation_tag(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    // An entry is a tag, a type, a count and a value or where it stands: 2, 2, 4 and 4 bytes.
    (0..entries)
        .map(|entry| directory + 2 + 12 * entry)
        .find(|&at| short(at) == Some(0x0112))
        .and_then(|at| short(at + 8))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// EXIF data that says nothing else.
    pub(crate) fn exif(orientation: u16) -> Vec<u8> {
        let entry = [&[0x12, 1, 3, 0, 1, 0, 0, 0][..], &orientation.to_le_bytes(), &[0, 0]].concat();
        [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
    }

    #[test]
    fn each_of_the_eight_orientations_turns_the_picture_upright() {
        // Three columns, two rows: abc over def. What each orientation shows, from the table in the EXIF standard.
        let stored = Size { width: 3, height: 2 };
        for (orientation, shown) in [
            (1, "abc def"),
            (2, "cba fed"),
            (3, "fed cba"),
            (4, "def abc"),
            (5, "ad be cf"),
            (6, "da eb fc"),
            (7, "fc eb da"),
            (8, "cf be ad"),
            (0, "abc def"),
            (9, "abc def"),
        ] {
            let upright = Orientation::of_exif(&exif(orientation));
            let size = upright.size(stored);
            let at = |x, y| {
                let (column, row) = upright.stored_at(stored, x, y);
                b"abcdef"[(row * stored.width + column) as usize] as char
            };
            let rows: Vec<String> = (0..size.height).map(|y| (0..size.width).map(|x| at(x, y)).collect()).collect();
            assert_eq!(rows.join(" "), shown, "{orientation}");
        }
    }

    #[test]
    fn both_orders_of_bytes_are_read_and_what_cannot_be_read_is_upright() {
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        assert_eq!(orientation_tag(big), Some(6));
        let little = exif(6);
        for end in 0..little.len() - 6 {
            assert_eq!(Orientation::of_exif(&little[..end]), Orientation::UPRIGHT, "{end}");
        }
        assert_eq!(Orientation::of_exif(b"II*\0\xff\xff\xff\xff"), Orientation::UPRIGHT);
    }
}
