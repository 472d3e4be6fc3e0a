//! temporary
use rayon::prelude::*;
use renderer::*;
fn main() {
    let w: usize = std::env::args().nth(1).map_or(192, |v| v.parse().expect("width"));
    let h = w * 2 / 3;
    let lens = Intrinsics::from_fov(w, h, 75.0).expect("a lens");
    let looks: Vec<Look> = Look::all().collect();
    let t = std::time::Instant::now();
    let frames: Vec<Vec<u8>> = looks
        .par_iter()
        .enumerate()
        .map(|(n, &look)| {
            let world = World::new(7 + n as u64 / 8 * 100, look);
            let (_, poses, region) = begin(&world, &mut Draws::new(5 + n as u64, 3), &[Motion::default()], 24);
            Renderer::new(&world, &region, lens, 4).draw(&poses[0])
        })
        .collect();
    println!("{:?}", t.elapsed());
    let mut sheet = image::RgbImage::new((8 * w) as u32, (8 * h) as u32);
    for (n, f) in frames.into_iter().enumerate() {
        let im = image::RgbImage::from_raw(w as u32, h as u32, f).expect("size");
        image::imageops::replace(&mut sheet, &im, ((n % 8) * w) as i64, ((n / 8) * h) as i64);
    }
    sheet.save("/tmp/grid.png").expect("saved");
}
