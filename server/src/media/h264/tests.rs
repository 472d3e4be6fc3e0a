//! Colours against the standard in floating point, and streams through the decoder of the same library.

use openh264::decoder::Decoder;

use super::*;

const SIZE: Size = Size { width: 64, height: 48 };

/// BT.709 as the standard has it, in floating point: luma and the two chroma values.
fn by_the_standard([red, green, blue]: [f64; 3]) -> [f64; 3] {
    let (red, green, blue) = (red / 255.0, green / 255.0, blue / 255.0);
    let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (blue - luma) / 1.8556, 128.0 + 224.0 * (red - luma) / 1.5748]
}

/// The way back.
fn rgb_by_the_standard([y, u, v]: [f64; 3]) -> [f64; 3] {
    let (luma, blue, red) = ((y - 16.0) / 219.0, (u - 128.0) / 224.0 * 1.8556, (v - 128.0) / 224.0 * 1.5748);
    let (red, blue) = (luma + red, luma + blue);
    [red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue].map(|level| 255.0 * level)
}

fn flat(colour: [u8; 3]) -> Vec<u8> {
    colour.repeat(SIZE.pixels() as usize)
}

#[test]
fn colours_are_bt_709_with_limited_range_and_rounded() {
    let mut planes = Planes::new(Size { width: 2, height: 2 });
    for red in (0..=255).step_by(5) {
        for green in (0..=255).step_by(5) {
            for blue in (0..=255).step_by(5) {
                planes.fill(&[red, green, blue].repeat(4));
                let expected = by_the_standard([red, green, blue].map(f64::from));
                for (got, expected) in [planes.y[0], planes.u[0], planes.v[0]].into_iter().zip(expected) {
                    // Half a level is rounding, the rest the 16 binary places.
                    assert!((f64::from(got) - expected).abs() < 0.51, "{red} {green} {blue}: {got}, {expected}");
                }
            }
        }
    }
}

#[test]
fn chroma_is_that_of_the_mean_of_four_pixels() {
    let mut planes = Planes::new(Size { width: 4, height: 2 });
    let (red, blue, white) = ([255, 0, 0], [0, 0, 255], [255; 3]);
    planes.fill(&[red, blue, white, white, blue, red, white, white].concat());
    let [_, u, v] = by_the_standard([127.5, 0.0, 127.5]);
    assert!((f64::from(planes.u[0]) - u).abs() < 0.51 && (f64::from(planes.v[0]) - v).abs() < 0.51);
    assert_eq!((planes.u[1], planes.v[1]), (128, 128), "white has no colour");
    let luma = |colour: [u8; 3]| by_the_standard(colour.map(f64::from))[0].round() as u8;
    let row = [luma(red), luma(blue), 235, 235];
    assert_eq!(planes.y, [row, [row[1], row[0], 235, 235]].concat());
}

#[test]
fn what_is_decoded_has_the_colours_that_were_encoded() {
    let mut encoder = FrameEncoder::new(SIZE, 16.0, 12).expect("an encoder");
    let mut decoder = Decoder::new().expect("a decoder");
    for colour in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [40, 160, 90], [201, 87, 12]] {
        let unit = encoder.encode(&flat(colour)).expect("it encodes");
        let decoded = decoder.decode(&unit.annex_b).expect("it decodes").expect("a frame at once");
        assert_eq!(decoded.dimensions(), (64, 48));
        let (strides, at) = (decoded.strides(), (20, 30));
        let luma = decoded.y()[at.0 * strides.0 + at.1];
        let chroma = |plane: &[u8], stride: usize| plane[at.0 / 2 * stride + at.1 / 2];
        let yuv = [luma, chroma(decoded.u(), strides.1), chroma(decoded.v(), strides.2)].map(f64::from);
        for (got, expected) in rgb_by_the_standard(yuv).into_iter().zip(colour) {
            // At quantiser 12 a step is 2.5 levels of luma or chroma, and blue has the largest factor on the way back, 2.1.
            assert!((got - f64::from(expected)).abs() < 4.0, "{colour:?} came back as {yuv:?}");
        }
    }
}

#[test]
fn a_key_frame_comes_every_two_seconds_and_none_is_skipped() {
    let check = |fps: f64, frames: usize, expected: &[usize]| {
        let mut encoder = FrameEncoder::new(SIZE, fps, 40).expect("an encoder");
        let encode = |at: usize| encoder.encode(&flat([(at as u8).wrapping_mul(7); 3])).expect("it encodes").is_key;
        let keys: Vec<bool> = (0..frames).map(encode).collect();
        let at: Vec<usize> = (0..frames).filter(|&at| keys[at]).collect();
        assert_eq!(at, expected, "{fps} frames a second");
    };
    check(16.0, 70, &[0, 32, 64]);
    check(4.0, 20, &[0, 8, 16]);
    check(1.0, 5, &[0, 2, 4]);
}

#[test]
fn the_same_frames_give_the_same_bytes_and_a_coarser_quantiser_fewer() {
    let film = |quantiser: u8| {
        let mut encoder = FrameEncoder::new(SIZE, 16.0, quantiser).expect("an encoder");
        let frame = |at: usize| -> Vec<u8> {
            (0..SIZE.frame_bytes() as usize).map(|byte| (byte % 192 * 2 / 3 + byte / 192 + 9 * at) as u8).collect()
        };
        (0..5).flat_map(|at| encoder.encode(&frame(at)).expect("it encodes").annex_b).collect::<Vec<u8>>()
    };
    let finest = film(12);
    assert!(finest == film(12));
    assert!(finest.len() > film(25).len() && film(25).len() > film(40).len());
}

#[test]
fn noise_that_has_no_room_at_its_quantiser_makes_a_film_coarser_and_no_frame_is_lost() {
    let mut encoder = FrameEncoder::new(SIZE, 16.0, 12).expect("an encoder");
    let mut decoder = Decoder::new().expect("a decoder");
    let mut noise = 1u32;
    let mut noise = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    };
    let mut keys = Vec::new();
    for at in 0..6 {
        let frame = if at == 0 { flat([90; 3]) } else { (0..SIZE.frame_bytes()).map(|_| noise()).collect() };
        let unit = encoder.encode(&frame).expect("it encodes");
        assert!(decoder.decode(&unit.annex_b).expect("it decodes").is_some(), "frame {at} is not shown");
        keys.push(unit.is_key);
    }
    assert_eq!(keys, [true, true, false, false, false, false], "the second frame had no room");
    assert!(encoder.quantiser > 12);
}

#[test]
fn what_cannot_be_encoded_is_refused_by_name() {
    let check = |width: u32, height: u32, quantiser: u8, expected: &str| {
        let refused = FrameEncoder::new(Size { width, height }, 16.0, quantiser);
        let reason = refused.err().expect("refused").to_string();
        assert!(reason.contains(expected), "{reason}");
    };
    check(63, 48, 20, "63x48 cannot be H.264: both sides must be even");
    check(64, 47, 20, "even");
    check(3856, 64, 20, "3856x64 is too large");
    check(2176, 2176, 20, "too large");
    check(64, 48, 11, "quantiser 11: from 12 to 51");
    check(64, 48, 52, "quantiser 52");
}
