//! Read with `re_mp4`, which is not the crate that writes.

use re_mp4::{Mp4, StsdBoxContent, Track};

use super::*;

const SIZE: Size = Size { width: 96, height: 64 };

fn film(size: Size, fps: f64, frames: usize) -> Vec<u8> {
    let mut film = Film::begin(Vec::new(), size, fps, 12).expect("begins");
    for at in 0..frames {
        let rgb = [at as u8, (2 * at) as u8, 90].repeat(size.pixels() as usize);
        film.push(&rgb).expect("takes a frame");
    }
    film.finish().expect("is written")
}

/// The only track of a file.
fn track(mp4: &Mp4) -> &Track {
    assert_eq!(mp4.tracks().len(), 1);
    mp4.tracks().values().next().expect("one")
}

/// The types of the NAL units of a sample.
fn kinds(sample: &[u8]) -> Vec<u8> {
    let (mut rest, mut kinds) = (sample, Vec::new());
    while let Some((length, units)) = rest.split_first_chunk() {
        let (unit, after) = units.split_at(u32::from_be_bytes(*length) as usize);
        kinds.push(unit[0] & 31);
        rest = after;
    }
    kinds
}

#[test]
fn a_demuxer_finds_every_frame_at_its_time() {
    for (size, fps, frames) in [
        (SIZE, 16.0, 33),
        (SIZE, 24.0, 93),
        (SIZE, 24_000.0 / 1001.0, 40),
        (SIZE, 1.0, 2),
        (SIZE, 240.0, 500),
        (Size { width: 320, height: 176 }, 10.0, 12),
    ] {
        let mp4 = Mp4::read_bytes(&film(size, fps, frames)).expect("an MP4 file");
        let track = track(&mp4);
        let scale = track.timescale as f64;
        assert_eq!((u32::from(track.width), u32::from(track.height)), (size.width, size.height));
        assert_eq!(track.samples.len(), frames);
        for (at, sample) in track.samples.iter().enumerate() {
            let shown_at = sample.composition_timestamp as f64;
            // Times are whole units: half a unit is rounding.
            assert!((shown_at - at as f64 / fps * scale).abs() <= 0.5, "{fps}: frame {at} at {shown_at}");
            assert_eq!(sample.decode_timestamp, sample.composition_timestamp, "there are no B-frames");
            assert_eq!(sample.is_sync, at % (2.0 * fps).round() as usize == 0, "{fps}: frame {at}");
        }
        // The last frame is as long as the one before it: rounded like it.
        assert!((track.duration as f64 - frames as f64 / fps * scale).abs() <= 1.5, "{fps}: {}", track.duration);
    }
}

#[test]
fn the_index_comes_before_the_pictures_and_says_main_profile() {
    let file = film(SIZE, 16.0, 40);
    let boxes = |name: &[u8; 4]| file.windows(4).position(|bytes| bytes == name).expect("a box of that name");
    assert_eq!(boxes(b"ftyp"), 4);
    assert!(boxes(b"moov") < boxes(b"mdat"));
    let mp4 = Mp4::read_bytes(&file).expect("an MP4 file");
    let StsdBoxContent::Avc1(avc1) = &mp4.moov.traks[0].mdia.minf.stbl.stsd.contents else {
        panic!("the pictures are avc1");
    };
    assert_eq!(avc1.avcc.avc_profile_indication, 77);
    assert_eq!(avc1.avcc.sequence_parameter_sets.len(), 1);
    assert_eq!(avc1.avcc.picture_parameter_sets.len(), 1);
}

#[test]
fn a_frame_has_no_parameter_sets_but_the_first() {
    let (slice, key, sequence, picture) = (1, 5, 7, 8);
    let file = film(SIZE, 16.0, 40);
    let mp4 = Mp4::read_bytes(&file).expect("an MP4 file");
    for (at, sample) in track(&mp4).samples.iter().enumerate() {
        let expected = match at {
            0 => vec![sequence, picture, key],
            32 => vec![key],
            _ => vec![slice],
        };
        assert_eq!(kinds(&file[sample.byte_range()]), expected, "frame {at}");
    }
}

#[test]
fn what_is_no_film_is_refused() {
    let refused = |fps: f64| Film::begin(Vec::new(), SIZE, fps, 12).err().expect("refused").to_string();
    for fps in [0.0, -1.0, 0.5, 241.0, f64::NAN, f64::INFINITY] {
        assert!(refused(fps).contains("frames a second: from 1 to 240"), "{}", refused(fps));
    }
    let mut picture = Film::begin(Vec::new(), SIZE, 16.0, 12).expect("begins");
    picture.push(&vec![0; SIZE.frame_bytes() as usize]).expect("takes a frame");
    let refused = picture.finish().expect_err("refused").to_string();
    assert!(refused.contains("a film has at least 2 frames, and 1 was drawn"), "{refused}");
}
