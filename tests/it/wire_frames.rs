//! The frames: how many, in which messages, with which bytes.
//!
//! What must hold for every message of every session (counters, sizes, neighbours) is checked by the client as it
//! receives; the tests here bring about the cases.

use anyhow::{Context, Result, ensure};
use pipeline::world::Size;
use tests::client::{Chunk, Client};
use tests::message::{Batch, Event, Message};
use tests::order::PAYLOAD_OF_ITS_OWN;
use tests::puppet::{Pace, Puppet, picture};
use tests::{Server, small};

/// A world with so many latent frames in a chunk.
fn chunks_of(latent_frames: usize) -> Puppet {
    let mut puppet = Puppet::default();
    puppet.card.chunk = latent_frames;
    puppet.card.first_chunk = latent_frames;
    puppet
}

fn frames_of(chunk: &Chunk) -> Vec<usize> {
    chunk.batches.iter().map(|batch| batch.header.num_frames).collect()
}

/// The first two chunks' frames, message by message.
async fn check_split(latent_frames: usize, format: &str, expected: [&[usize]; 2]) -> Result<()> {
    let (server, _strings) = Server::with(chunks_of(latent_frames))?;
    let mut client = server.session(small().format(format)).await?;
    for expected in expected {
        let frames = frames_of(&client.chunk().await?);
        ensure!(frames == expected, "{frames:?} in {format}, not {expected:?}");
    }
    Ok(())
}

/// C30, C31, C39
#[tokio::test]
async fn the_first_chunk_has_nine_frames_and_every_other_twelve() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small()).await?;
    for index in 0..6 {
        let chunk = client.chunk().await?;
        ensure!(chunk.stats.chunk_index == index);
        ensure!(chunk.stats.num_frames == if index == 0 { 9 } else { 12 });
    }
    Ok(())
}

/// C33. A payload of raw frames is never 65 536 bytes, which is not a multiple of three: the next longer one is 65 538.
#[tokio::test]
async fn a_payload_of_64_kib_or_more_comes_in_a_message_of_its_own() -> Result<()> {
    // One latent frame a chunk makes one frame in the first.
    let (server, _strings) = Server::with(chunks_of(1))?;
    for (width, height, bytes) in [(85, 257, 65_535), (66, 331, 65_538)] {
        let chunk = server.session(small().size(width, height)).await?.chunk().await?;
        // That it came the right way was checked when it came; that these are the two sides is checked here.
        ensure!(chunk.batches[0].payload.len() == bytes && bytes.abs_diff(PAYLOAD_OF_ITS_OWN) < 3);
    }
    Ok(())
}

/// C34: the client takes whatever comes after a header for its payload, and measures it.
#[tokio::test]
async fn nothing_comes_between_a_header_and_its_payload_under_a_flood_of_bad_events() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small().size(160, 160).max_chunks(12)).await?;
    let (mut errors, mut chunks) = (0, 0);
    loop {
        match client.next().await? {
            Message::Error(error) => {
                ensure!(error.content.starts_with("invalid event"), "{error}");
                errors += 1;
            }
            Message::Stats(_) => chunks += 1,
            Message::Queue(standing) => anyhow::bail!("{standing:?}"),
            Message::Batch(Batch { header, .. }) => {
                ensure!(header.total_size >= PAYLOAD_OF_ITS_OWN);
                // 36 in all: more than 64 at once would close the connection. It may close while we still talk.
                let _ = client.send(Event::new("jump", "high")).await;
            }
            Message::Closed(close) => break ensure!(close.code == 1000, "{close:?}"),
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(chunks == 12 && errors > 0, "{chunks} chunks, {errors} errors");
    Ok(())
}

/// C35, C36. That 0.5 becomes 127 is decided below the boundary of a world, where there are no bytes yet.
#[tokio::test]
async fn raw_frames_are_rows_of_red_green_blue_from_the_top_left() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let size = Size { width: 24, height: 10 };
    let mut client = server.session(small().size(size.width, size.height)).await?;
    for index in 0..3 {
        let chunk = client.chunk().await?;
        let sent: Vec<u8> = chunk.batches.iter().flat_map(|batch| batch.payload.to_vec()).collect();
        ensure!(sent == picture(size, index, 0..chunk.stats.num_frames), "chunk {index} has other pixels");
    }
    Ok(())
}

/// C37, and the first half of C38. The reference draws and encodes a whole chunk before its first byte, and fills
/// messages with 16 raw frames or 6 encoded ones. Fewer are legal for every client, so here a message is what one
/// latent frame gives: the first picture is on a screen while the last is being decoded.
#[tokio::test]
async fn the_frames_of_each_latent_frame_come_in_a_message() -> Result<()> {
    for format in ["raw", "jpeg", "webp"] {
        check_split(1, format, [&[1], &[4]]).await?;
        check_split(3, format, [&[1, 4, 4], &[4, 4, 4]]).await?;
        check_split(5, format, [&[1, 4, 4, 4, 4], &[4, 4, 4, 4, 4]]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_latent_frame_leaves_before_the_next_is_drawn() -> Result<()> {
    for format in ["raw", "jpeg", "webp"] {
        let (server, strings) = Server::with(Puppet { pace: Pace::EachOnStrings, ..Puppet::default() })?;
        let mut client = server.session(small().format(format)).await?;
        for (index, frames) in [1, 4, 4].into_iter().enumerate() {
            strings.allow(1);
            let Message::Batch(Batch { header, .. }) = client.next().await? else { anyhow::bail!("not frames") };
            ensure!((header.frame_batch_index, header.num_frame_batches, header.num_frames) == (index, 3, frames));
            ensure!(header.is_final_frame_batch == (index == 2), "{header:?}");
        }
    }
    Ok(())
}

/// C38, second half.
#[tokio::test]
async fn each_encoded_frame_is_a_whole_picture_near_the_one_that_was_drawn() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let size = Size { width: 48, height: 32 };
    for (format, kind) in [("jpeg", image::ImageFormat::Jpeg), ("webp", image::ImageFormat::WebP)] {
        let init = small().size(size.width, size.height).format(format).set("output_compression", 95);
        let chunk = server.session(init).await?.chunk().await?;
        for (index, frame) in chunk.frames().into_iter().enumerate() {
            let decoded = image::load_from_memory_with_format(&frame, kind)?.into_rgb8();
            ensure!(decoded.dimensions() == (size.width, size.height));
            let drawn = picture(size, 0, index..index + 1);
            let off: u64 = decoded.iter().zip(&drawn).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let mean = off as f64 / drawn.len() as f64;
            // The blue channel of the pattern is noise to an encoder (20 levels off at worst here); the next frame's
            // picture is 60 off.
            ensure!(mean < 40.0, "{format}: frame {index} is {mean:.1} levels from what was drawn");
        }
    }
    Ok(())
}

/// C40
#[tokio::test]
async fn a_preview_is_scaled_down_to_its_width_and_raw_frames_never() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let asking =
        |format: &str, width: i64| small().size(101, 51).format(format).set("realtime_preview_max_width", width);
    for (format, most, sent) in [
        ("jpeg", 40, (40, 20)),
        ("webp", 40, (40, 20)),
        ("webp", 101, (101, 51)),
        ("webp", 500, (101, 51)),
        ("jpeg", 0, (101, 51)),
        ("jpeg", -1, (101, 51)),
        ("raw", 40, (101, 51)),
    ] {
        let chunk = server.session(asking(format, most)).await?.chunk().await?;
        let header = &chunk.batches[0].header;
        ensure!((header.width, header.height) == sent, "{format} at most {most}: {}x{}", header.width, header.height);
        if format != "raw" {
            ensure!((header.source_width, header.source_height) == (Some(101), Some(51)));
            let decoded = image::load_from_memory(&chunk.frames()[0])?;
            ensure!((decoded.width(), decoded.height()) == sent, "{format} at most {most}: another size inside");
        }
    }
    Ok(())
}

/// C41
#[tokio::test]
async fn frames_carry_no_event_id_until_an_event_with_one_took_effect() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    client.send(Event::hold("w")).await?;
    client.ping().await?;
    strings.allow(1);
    strings.began().await?;
    client.send(Event::hold("w").id(7)).await?;
    client.ping().await?;
    strings.allow(3);
    for expected in [None, None, Some(7), Some(7)] {
        let chunk = client.chunk().await?;
        let id = chunk.batches[0].header.event_id;
        ensure!(id == expected, "chunk {}: {id:?}, not {expected:?}", chunk.stats.chunk_index);
        if chunk.stats.chunk_index == 2 {
            strings.allow(1);
        }
    }
    Ok(())
}

/// C42
#[tokio::test]
async fn quality_is_fifty_unless_one_is_asked_for() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for format in ["jpeg", "webp"] {
        let init = || small().size(64, 64).format(format);
        let default = bytes_of(server.session(init()).await?).await?;
        let at = async |quality: i64| bytes_of(server.session(init().set("output_compression", quality)).await?).await;
        let named = async |name: &str| bytes_of(server.session(init().set("output_quality", name)).await?).await;
        ensure!(default == at(50).await?, "{format}: the default is not 50");
        ensure!(default < at(80).await?, "{format}: 80 is no larger than the default");
        for (name, quality) in [("maximum", 100), ("high", 90), ("medium", 55), ("low", 35), ("default", 50)] {
            ensure!(named(name).await? == at(quality).await?, "{format}: {name} is not {quality}");
        }
    }
    Ok(())
}

/// C42, in the file itself: the tables of the JPEG standard's annex K are quality 50, and any other is these times a
/// factor.
#[tokio::test]
async fn a_jpeg_is_baseline_with_the_tables_of_its_quality_and_colours_at_full_size() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for (asked, quality) in [(None, 50), (Some(80), 80), (Some(35), 35), (Some(100), 100), (Some(0), 95)] {
        let init = small().format("jpeg");
        let init = asked.into_iter().fold(init, |init, asked| init.set("output_compression", asked));
        let frames = server.session(init).await?.chunk().await?.frames();
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        let expected: Vec<u8> =
            zigzag(&LUMINANCE).iter().map(|&v| ((v * percent + 50) / 100).clamp(1, 255) as u8).collect();
        for frame in frames {
            let segment = |marker: u8| {
                let (_, content) = jpeg_segments(&frame).into_iter().find(|(found, _)| *found == marker)?;
                Some(content)
            };
            // The first table is the luminance's: number 0, of bytes.
            let tables = segment(0xdb).context("no tables")?;
            ensure!(tables[0] == 0 && tables[1..65] == expected, "asked {asked:?}: {tables:?}, not {expected:?}");
            // Precision, height, width, then number, sampling and table of each component.
            let baseline = segment(0xc0).context("not baseline")?;
            ensure!([7, 10, 13].map(|at| baseline[at]) == [0x11; 3], "asked {asked:?}: {baseline:?}");
        }
    }
    Ok(())
}

/// Table K.1, row by row.
const LUMINANCE: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// In the order of a file: diagonal by diagonal, up and down in turn.
fn zigzag(rows: &[u32; 64]) -> Vec<u32> {
    let diagonal = |sum: usize| {
        let places = (0..8).filter_map(move |y| (y <= sum && sum - y < 8).then_some(8 * y + sum - y));
        let places: Vec<usize> = places.collect();
        if sum.is_multiple_of(2) { places.into_iter().rev().collect() } else { places }
    };
    (0..15).flat_map(diagonal).map(|place| rows[place]).collect()
}

/// Marker and content of each segment before the scan.
fn jpeg_segments(file: &[u8]) -> Vec<(u8, &[u8])> {
    let mut segments = Vec::new();
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = file.get(at..at + 4)
        && marker != 0xda
    {
        let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        segments.push((marker, &file[at + 4..end]));
        at = end;
    }
    segments
}

/// Bytes of the first chunk's pictures: the same ones, encoded the same way, are the same size.
async fn bytes_of(mut client: Client) -> Result<usize> {
    Ok(client.chunk().await?.batches.iter().map(|batch| batch.payload.len()).sum())
}
