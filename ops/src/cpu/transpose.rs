//! Sixteen rows become the columns of one panel.

use super::panels::PANEL;

/// `panel[i]` is number `i` of every row. `rows`: each as long as the panel.
pub(crate) fn transpose(rows: &[&[f32]; PANEL], panel: &mut [[f32; PANEL]]) {
    assert!(rows.iter().all(|row| row.len() == panel.len()), "a row is as long as the panel");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the processor has the instructions, and every row reaches to the panel's end.
        return unsafe { avx::transpose(rows, panel) };
    }
    plain(rows, panel, 0);
}

/// From place `first` on.
fn plain(rows: &[&[f32]; PANEL], panel: &mut [[f32; PANEL]], first: usize) {
    for (i, place) in panel.iter_mut().enumerate().skip(first) {
        *place = rows.map(|row| row[i]);
    }
}

/// Blocks of eight rows and eight columns in registers: a number at a time, it took four times as long.
#[cfg(target_arch = "x86_64")]
mod avx {
    use super::PANEL;
    use std::arch::x86_64::*;

    const SIDE: usize = 8;

    /// # Safety
    /// Every row is as long as the panel.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn transpose(rows: &[&[f32]; PANEL], panel: &mut [[f32; PANEL]]) {
        let whole = panel.len() / SIDE * SIDE;
        let places = panel.as_mut_ptr().cast::<f32>();
        for column in (0..whole).step_by(SIDE) {
            for half in (0..PANEL).step_by(SIDE) {
                // SAFETY: eight numbers from `column` on are in every row, and eight places in the panel.
                unsafe {
                    let rows = std::array::from_fn(|i| rows[half + i].as_ptr().add(column));
                    block(rows, places.add(column * PANEL + half));
                }
            }
        }
        super::plain(rows, panel, whole);
    }

    /// # Safety
    /// Each row holds eight numbers; `out` has eight runs of eight, `PANEL` apart.
    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn block(rows: [*const f32; SIDE], out: *mut f32) {
        // SAFETY: as promised to this function.
        let rows = rows.map(|row| unsafe { _mm256_loadu_ps(row) });
        // Pairs, then fours, then the two halves of a register.
        let [a, b, c, d, e, f, g, h] = rows;
        let low = [(a, b), (c, d), (e, f), (g, h)].map(|(x, y)| _mm256_unpacklo_ps(x, y));
        let high = [(a, b), (c, d), (e, f), (g, h)].map(|(x, y)| _mm256_unpackhi_ps(x, y));
        let fours = |pairs: [__m256; 4], half: usize| {
            let (x, y) = (pairs[2 * half], pairs[2 * half + 1]);
            [_mm256_shuffle_ps::<0x44>(x, y), _mm256_shuffle_ps::<0xee>(x, y)]
        };
        let ([a, b], [c, d]) = (fours(low, 0), fours(high, 0));
        let ([e, f], [g, h]) = (fours(low, 1), fours(high, 1));
        for (i, (x, y)) in [(a, e), (b, f), (c, g), (d, h)].into_iter().enumerate() {
            // SAFETY: as promised to this function.
            unsafe {
                _mm256_storeu_ps(out.add(i * PANEL), _mm256_permute2f128_ps::<0x20>(x, y));
                _mm256_storeu_ps(out.add((i + 4) * PANEL), _mm256_permute2f128_ps::<0x31>(x, y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_to_its_row_and_column_whatever_the_length() {
        for length in [0, 1, 7, 8, 9, 24, 48, 67] {
            let rows: Vec<Vec<f32>> =
                (0..PANEL).map(|row| (0..length).map(|i| (row * 1000 + i) as f32).collect()).collect();
            let rows = std::array::from_fn(|row| &*rows[row]);
            let (mut ours, mut twin) = (vec![[-1.0; PANEL]; length], vec![[-2.0; PANEL]; length]);
            transpose(&rows, &mut ours);
            plain(&rows, &mut twin, 0);
            assert_eq!(ours, twin);
            assert!(ours.iter().enumerate().all(|(i, place)| place[3] == (3000 + i) as f32));
        }
    }
}
