//! First frames that are no pictures or would be gigabytes, and sizes that cannot be drawn.

use anyhow::{Context, Result, ensure};
use server::Limits;
use std::io::Cursor;
use std::time::Duration;
use tests::bystander::{Bystander, Scene};
use tests::puppet::Puppet;
use tests::{Server, refusal, small};

#[tokio::test]
async fn a_small_file_that_claims_a_huge_picture_is_refused() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    let mut padded = png_claiming(30_000, 30_000)?;
    // Nobody has to read what comes after a PNG's end.
    padded.resize(30 << 20, 0);
    for (what, file) in [
        ("a PNG of 3.6 gigapixels", png_claiming(60_000, 60_000)?),
        ("a PNG of the largest sides there are", png_claiming(i32::MAX as u32, i32::MAX as u32)?),
        ("30 MB that claim 900 megapixels", padded),
        ("a JPEG of 4.3 gigapixels", jpeg_claiming(65_500, 65_500)?),
    ] {
        client.send(small().first_frame(&file)).await?;
        let error = refusal(&mut client).await.context(what)?;
        ensure!(error.to_string().contains("first_frame"), "{what}: {error}");
    }
    scene.ends_well().await
}

#[tokio::test]
async fn a_file_that_is_no_picture_is_refused() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    let whole = png(64, 64)?;
    for (what, file) in [
        ("nothing", Vec::new()),
        ("a sentence", b"this is not a picture".to_vec()),
        ("half a PNG", whole[..whole.len() / 2].to_vec()),
        ("a megabyte of zeros", vec![0; 1 << 20]),
        ("the start of a JPEG", vec![0xff, 0xd8, 0xff, 0xe0]),
        ("a GIF", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec()),
    ] {
        client.send(small().first_frame(&file)).await?;
        let error = refusal(&mut client).await.context(what)?;
        ensure!(error.to_string().contains("first_frame"), "{what}: {error}");
    }
    for url in
        ["data:image/png;base64,", "data:image/png;base64,!!!!", "data:image/png,abc", "data:text/plain;base64,QQ=="]
    {
        client.send(small().set("first_frame", url)).await?;
        refusal(&mut client).await.context(url)?;
    }
    scene.ends_well().await
}

#[tokio::test]
async fn a_picture_of_one_pixel_is_one() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.session(small().first_frame(&png(1, 1)?)).await?;
    client.chunk().await?;
    let init = scene.strings.opened().await?;
    ensure!(init.first_frame.is_some_and(|picture| picture.size.pixels() >= 1));
    scene.ends_well().await
}

#[tokio::test]
async fn a_size_that_is_not_drawn_is_refused_by_name() -> Result<()> {
    let mut puppet = Puppet::taking(Duration::from_millis(5));
    puppet.card.sizes = pipeline::world::Sizes::MultiplesOf { multiple: 16, pixels_max: 832 * 480 };
    let (server, _strings) = Server::with(puppet)?;
    let mut bystander = Bystander::on(&server).await?;
    let mut client = server.connect().await?;
    for size in
        ["0x0", "0x16", "16x0", "-16x16", "17x16", "16x15", "848x480", "99999999999999999999x16", "4294967296x16"]
    {
        client.send(small().set("size", size)).await?;
        let error = refusal(&mut client).await.context(size)?;
        ensure!(error.to_string().contains("size"), "{size}: {error}");
    }
    bystander.goes_on().await
}

/// A session that needs more memory than the server may use is refused, and does not wait.
#[tokio::test]
async fn a_size_too_large_for_memory_is_refused_by_name_and_not_opened() -> Result<()> {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    let mut client = scene.server.connect().await?;
    // A puppet's rollout holds a byte a pixel.
    client.send(small().size(1600, 900)).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("size") && error.to_string().contains("bytes"), "{error}");
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    ensure!(scene.strings.opened().await?.size.width == 16, "the large one was opened");
    scene.ends_well().await
}

/// Found by the fuzzer: the JPEG decoder panics at it.
#[tokio::test]
async fn a_picture_that_breaks_its_decoder_is_refused_like_any_other() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    for _ in 0..3 {
        client.send(small().first_frame(&jpeg_of_a_third_component_out_of_step())).await?;
        let error = refusal(&mut client).await?;
        ensure!(error.to_string().contains("first_frame"), "{error}");
    }
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    scene.ends_well().await
}

/// One row of 24 pixels, whose last component claims to be sampled 4x3, and is scanned first and alone.
fn jpeg_of_a_third_component_out_of_step() -> Vec<u8> {
    let segment = |marker: u8, content: &[&[u8]]| {
        let content = content.concat();
        [&[0xff, marker][..], &(content.len() as u16 + 2).to_be_bytes(), &content].concat()
    };
    let codes_of =
        [[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d]];
    let huffman = |class: u8, codes: [u8; 16]| {
        let values = vec![0; codes.iter().map(|&count| usize::from(count)).sum()];
        segment(0xc4, &[&[class << 4], &codes, &values])
    };
    [
        vec![0xff, 0xd8],
        segment(0xdb, &[&[0], &[0; 64]]),
        segment(0xc0, &[&[8, 0, 1, 0, 24, 3], &[1, 0x11, 0], &[0, 0x11, 0], &[0, 0x43, 0]]),
        huffman(0, codes_of[0]),
        huffman(1, codes_of[1]),
        segment(0xda, &[&[1, 0, 0, 0, 0, 0]]),
    ]
    .concat()
}

fn png(width: u32, height: u32) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]))
        .write_to(&mut file, image::ImageFormat::Png)?;
    Ok(file.into_inner())
}

/// A good PNG whose header says something else, with the checksum that belongs to it.
fn png_claiming(width: u32, height: u32) -> Result<Vec<u8>> {
    let mut file = png(4, 4)?;
    // Signature (8), the chunk's length (4); then its name, width, height, five bytes more, and the checksum of those.
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = file[12..29].iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    file[29..33].copy_from_slice(&(!checksum).to_be_bytes());
    Ok(file)
}

fn jpeg_claiming(width: u16, height: u16) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    image::RgbImage::new(16, 16).write_to(&mut file, image::ImageFormat::Jpeg)?;
    let mut file = file.into_inner();
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).context("a JPEG has a frame header")?;
    // The marker, a length (2) and a precision (1) before the two sides.
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    Ok(file)
}

/// The helpers make what they say, not merely something broken.
#[test]
fn the_bombs_of_these_tests_say_what_they_claim() -> Result<()> {
    let claims = |file: &[u8]| -> Result<(u32, u32)> {
        Ok(image::ImageReader::new(Cursor::new(file)).with_guessed_format()?.into_dimensions()?)
    };
    ensure!(claims(&png_claiming(60_000, 60_000)?)? == (60_000, 60_000));
    ensure!(claims(&jpeg_claiming(65_500, 65_500)?)? == (65_500, 65_500));
    Ok(())
}
