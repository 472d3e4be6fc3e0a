//! Pictures that were drawn elsewhere, as the camera would see them from here.
//!
//! What is above the horizon is taken to be at infinity, what is below it to lie on level ground: so a turn on the spot is
//! exact, and after a step only what stands up is out of place. The geometry is in f64, colours are in f32.

use super::Kept;
use crate::lingbot::camera::{View, rotate, transposed};
use crate::world::Size;

/// What kept pictures show of a view.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lingbot) struct Shown {
    /// `(H, W, 3)`: 0 to 255, and 0 where nothing is known.
    pub(super) picture: Vec<f32>,
    /// `(H, W)`: which pixels are known.
    pub(super) known: Vec<bool>,
}

/// These pictures as `view` sees them. Of those that show a pixel the first is taken. `None`: no pixel is shown.
pub(super) fn shown(kept: &[&Kept], view: &View, size: Size, eye_height: f64) -> Option<Shown> {
    if kept.is_empty() {
        return None;
    }
    let pixels = size.pixels() as usize;
    let mut shown = Shown { picture: vec![0.0; 3 * pixels], known: vec![false; pixels] };
    let mut known = 0;
    for picture in kept {
        let way = Way::new(&picture.place.view, view, eye_height);
        for row in 0..size.height as usize {
            for column in 0..size.width as usize {
                let at = row * size.width as usize + column;
                if shown.known[at] {
                    continue;
                }
                let Some(place) = way.of_pixel(column, row, size) else { continue };
                shown.picture[3 * at..][..3].copy_from_slice(&bilinear(&picture.rgb, size, place));
                shown.known[at] = true;
                known += 1;
            }
        }
        if known == pixels {
            break;
        }
    }
    (known > 0).then_some(shown)
}

impl Shown {
    #[cfg(test)]
    pub(in crate::lingbot) fn picture_and_known(&self) -> (&[f32], &[bool]) {
        (&self.picture, &self.known)
    }

    /// Whether something is known of every pixel.
    pub(super) fn is_whole(&self) -> bool {
        self.known.iter().all(|&known| known)
    }
}

/// From the pixels of one view to the places of another.
struct Way {
    /// Out of the axes of the view into the world's.
    turn: [[f64; 3]; 3],
    /// Out of the world's axes into those of the picture.
    back: [[f64; 3]; 3],
    /// From the picture's camera to the view's, divided by the camera's height over the ground.
    shift: [f64; 3],
    lens: [f64; 4],
    picture_lens: [f64; 4],
}

impl Way {
    fn new(picture: &View, view: &View, eye_height: f64) -> Way {
        let (there, here) = (picture.pose.position(), view.pose.position());
        Way {
            turn: view.pose.world_from_camera(),
            back: transposed(picture.pose.world_from_camera()),
            shift: [0, 1, 2].map(|i| (here[i] - there[i]) / eye_height),
            lens: view.lens.numbers(),
            picture_lens: picture.lens.numbers(),
        }
    }

    /// Where the pixel's ray is in the picture, in pixels with the middle of the first one at 0. `None`: outside.
    fn of_pixel(&self, column: usize, row: usize, size: Size) -> Option<[f64; 2]> {
        let [fx, fy, cx, cy] = self.lens;
        let ray = rotate(self.turn, [(column as f64 + 0.5 - cx) / fx, (row as f64 + 0.5 - cy) / fy, 1.0]);
        // A ray meets the ground after `eye_height / ray.y` of its length. Divided by that length its end is a direction for every
        // ray: one that meets no ground only turns.
        let ground = ray[1].max(0.0);
        let [x, y, z] = rotate(self.back, [0, 1, 2].map(|i| ray[i] + self.shift[i] * ground));
        // Behind the camera, or so far aside that it is nowhere.
        if z <= 1e-6 {
            return None;
        }
        let [fx, fy, cx, cy] = self.picture_lens;
        let place = [x / z * fx + cx - 0.5, y / z * fy + cy - 0.5];
        let inside = |at: f64, side: u32| (-0.5..=f64::from(side) - 0.5).contains(&at);
        (inside(place[0], size.width) && inside(place[1], size.height)).then_some(place)
    }
}

/// The colour there. Beyond the middle of an edge's pixel it is that pixel's.
fn bilinear(rgb: &[u8], size: Size, place: [f64; 2]) -> [f32; 3] {
    let sides = [size.width as usize, size.height as usize];
    let [(left, right, x), (top, bottom, y)] = [0, 1].map(|axis| {
        let at = place[axis].clamp(0.0, (sides[axis] - 1) as f64);
        let first = at.floor();
        (first as usize, (first as usize + 1).min(sides[axis] - 1), (at - first) as f32)
    });
    [0, 1, 2].map(|channel| {
        let pixel = |row: usize, column: usize| f32::from(rgb[3 * (row * sides[0] + column) + channel]);
        let across = |row: usize| pixel(row, left) + (pixel(row, right) - pixel(row, left)) * x;
        let (upper, lower) = (across(top), across(bottom));
        upper + (lower - upper) * y
    })
}
