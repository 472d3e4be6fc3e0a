//! Where a ray meets the world: the ray steps through the cells of a region and tests two triangles and a few parts in each.

use crate::region::Region;
use crate::terrain::CELL_M;
use crate::vector::{V3, v3};

/// Hits nearer than this to a ray's origin are ignored: a shadow ray must not hit the facet that it starts from.
const NEAR_M: f32 = 1e-3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Surface {
    /// The cell, and which of its triangles.
    Ground {
        cell: u32,
        upper: bool,
    },
    Part(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) t: f32,
    pub(crate) normal: V3,
    pub(crate) surface: Surface,
}

impl Region {
    /// The first surface along `o + t d` (`d` of length 1) before `far`, in the region's coordinates.
    pub(crate) fn trace(&self, o: V3, d: V3, far: f32) -> Option<Hit> {
        self.walk::<false>(o, d, far)
    }

    /// Whether anything blocks the ray. Cheaper than finding the first surface.
    pub(crate) fn blocked(&self, o: V3, d: V3, far: f32) -> bool {
        self.walk::<true>(o, d, far).is_some()
    }

    fn walk<const ANY: bool>(&self, o: V3, d: V3, far: f32) -> Option<Hit> {
        const SIDE: f32 = 1.0 / CELL_M;
        let [nx, ny] = self.cells.map(|n| n as i32);
        let (fi, fj) = ((o.x * SIDE).floor(), (o.y * SIDE).floor());
        let (mut i, mut j) = (fi as i32, fj as i32);
        let inverse = |v: f32| if v.abs() > 1e-7 { 1.0 / v } else { 1e9 };
        let (ix, iy) = (inverse(d.x), inverse(d.y));
        let (si, sj) = (if d.x > 0.0 { 1 } else { -1 }, if d.y > 0.0 { 1 } else { -1 });
        let border = |f: f32, step: i32| (f + if step > 0 { 1.0 } else { 0.0 }) * CELL_M;
        let reach =
            |border: f32, from: f32, v: f32, inverse: f32| if v.abs() > 1e-7 { (border - from) * inverse } else { 1e9 };
        let mut tx = reach(border(fi, si), o.x, d.x, ix);
        let mut ty = reach(border(fj, sj), o.y, d.y, iy);
        let (dtx, dty) = ((CELL_M * ix).abs(), (CELL_M * iy).abs());
        let mut t0 = 0.0f32;
        while i >= 0 && j >= 0 && i < nx && j < ny && t0 <= far {
            let t1 = tx.min(ty);
            let z0 = o.z + d.z * t0;
            if d.z > 0.0 && z0 > self.top {
                return None;
            }
            let cell = (j * nx + i) as usize;
            if z0.min(o.z + d.z * t1) <= self.tops[cell]
                && let Some(hit) = self.meet::<ANY>(cell, [i, j], o, d, t0, t1.min(far))
            {
                return Some(hit);
            }
            t0 = t1;
            if tx < ty {
                tx += dtx;
                i += si;
            } else {
                ty += dty;
                j += sj;
            }
        }
        None
    }

    #[inline]
    fn meet<const ANY: bool>(&self, cell: usize, [i, j]: [i32; 2], o: V3, d: V3, t0: f32, t1: f32) -> Option<Hit> {
        let row = self.cells[0] + 1;
        let corner = j as usize * row + i as usize;
        let (h00, h10) = (self.heights[corner], self.heights[corner + 1]);
        let (h01, h11) = (self.heights[corner + row], self.heights[corner + row + 1]);
        let mut best: Option<Hit> = None;
        let mut nearest = t1 + 1e-4;
        let low = (o.z + d.z * t0).min(o.z + d.z * t1);
        if low <= h00.max(h10).max(h01).max(h11) {
            let (x, y) = (o.x - i as f32 * CELL_M, o.y - j as f32 * CELL_M);
            for (upper, gx, gy) in [(false, h10 - h00, h11 - h10), (true, h11 - h01, h01 - h00)] {
                let (gx, gy) = (gx / CELL_M, gy / CELL_M);
                let slope = d.z - gx * d.x - gy * d.y;
                if slope.abs() < 1e-9 {
                    continue;
                }
                let t = (h00 + gx * x + gy * y - o.z) / slope;
                if t >= t0 - 1e-4 && t < nearest && t > NEAR_M && ((x + d.x * t < y + d.y * t) == upper) {
                    nearest = t;
                    best = Some(Hit {
                        t,
                        normal: v3(-gx, -gy, 1.0).unit(),
                        surface: Surface::Ground { cell: cell as u32, upper },
                    });
                }
            }
        }
        for &part in &self.over[self.first[cell] as usize..self.first[cell + 1] as usize] {
            if ANY && best.is_some() {
                break;
            }
            if let Some((t, normal)) = self.parts[part as usize].meet(o, d, NEAR_M, nearest) {
                nearest = t;
                best = Some(Hit { t, normal, surface: Surface::Part(part) });
            }
        }
        best
    }
}
