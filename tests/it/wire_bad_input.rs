//! Whatever comes, the server lives on and whoever else is there does not notice.
//!
//! Every test has a bystander whose chunks are counted and checked from before the mischief until after it. Which answer a
//! wrong field gets is told in `wire_init` and `wire_events`; here it is what is too deep, too long, too many or too big.

use anyhow::{Context, Result, ensure};
use rmpv::Value;
use server::Limits;
use std::io::Cursor;
use std::time::{Duration, Instant};
use tests::client::Client;
use tests::message::{Event, Init, Message, Refused};
use tests::puppet::{Puppet, Strings, held};
use tests::raw::{BINARY, CLOSE, Raw};
use tests::{Bystander, Server, small};

/// A server with somebody on it.
struct Scene {
    bystander: Bystander,
    server: Server,
    strings: Strings,
}

impl Scene {
    async fn set() -> Result<Scene> {
        Scene::limited(Limits::default()).await
    }

    async fn limited(limits: Limits) -> Result<Scene> {
        let (server, mut strings) = Server::limited(Puppet::taking(Duration::from_millis(5)), limits)?;
        let bystander = server.bystander().await?;
        strings.opened().await?;
        Ok(Scene { bystander, server, strings })
    }

    /// The bystander still gets its chunks, and a newcomer gets some.
    async fn ends_well(mut self) -> Result<()> {
        self.bystander.goes_on().await?;
        self.server.session(small().max_chunks(1)).await?.chunk().await.context("a newcomer")?;
        self.bystander.goes_on().await
    }
}

/// The next message refuses an init.
async fn refusal(client: &mut Client) -> Result<Refused> {
    match client.next().await? {
        Message::Error(error) => {
            ensure!(error.content.starts_with("invalid generate request"), "{error}");
            Ok(error)
        }
        other => anyhow::bail!("instead of a refusal: {other:?}"),
    }
}

/// Containers that claim more than they hold, or hold containers without end.
fn monsters() -> Vec<(&'static str, Vec<u8>)> {
    let under_a_key = |value: &[u8]| [&[0x81, 0xa6][..], b"prompt", value].concat();
    vec![
        ("an array of four billion", vec![0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a map of four billion", vec![0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, b'a', 0x01]),
        ("a string of 4 GB", under_a_key(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'])),
        ("a picture of 4 GB", under_a_key(&[0xc6, 0xff, 0xff, 0xff, 0xff, 0x00])),
        ("an extension of 4 GB", under_a_key(&[0xc9, 0xff, 0xff, 0xff, 0xff, 0x01])),
        ("four billion in each of many", [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(10_000)),
        ("arrays a million deep", vec![0x91; 1 << 20]),
        ("maps half a million deep", [0x81, 0xa0].repeat(1 << 19)),
        ("two million nils", [&[0xdd, 0x00, 0x20, 0x00, 0x00][..], &vec![0xc0; 1 << 21]].concat()),
    ]
}

#[tokio::test]
async fn messagepack_that_claims_too_much_is_refused_before_a_session() -> Result<()> {
    let scene = Scene::set().await?;
    let mut client = scene.server.connect().await?;
    for (what, bytes) in monsters() {
        client.send_bytes(bytes).await?;
        refusal(&mut client).await.context(what)?;
    }
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    scene.ends_well().await
}

#[tokio::test]
async fn messagepack_that_claims_too_much_is_refused_during_a_session() -> Result<()> {
    let scene = Scene::set().await?;
    let mut client = scene.server.session(small()).await?;
    for (what, bytes) in monsters() {
        client.send_bytes(bytes).await?;
        ensure!(client.error().await.context(what)?.content.starts_with("invalid event"));
    }
    scene.ends_well().await
}

#[tokio::test]
async fn every_prefix_of_a_good_init_is_refused() -> Result<()> {
    let scene = Scene::set().await?;
    let mut init = Vec::new();
    let value = small().max_chunks(1).first_frame(&png(4, 4)?).into();
    rmpv::encode::write_value(&mut init, &value)?;
    let mut client = scene.server.connect().await?;
    for length in 0..init.len() {
        client.send_bytes(init[..length].to_vec()).await?;
    }
    for length in 0..init.len() {
        refusal(&mut client).await.with_context(|| format!("{length} bytes of {}", init.len()))?;
    }
    client.send_bytes(init).await?;
    client.chunk().await?;
    scene.ends_well().await
}

/// The reference drops the connection without a word. A text frame can never be right, so it is an end; a named one.
#[tokio::test]
async fn a_text_frame_during_a_session_closes_it_with_1003() -> Result<()> {
    let scene = Scene::set().await?;
    let mut client = scene.server.session(small()).await?;
    client.chunk().await?;
    client.send_text("w").await?;
    let close = loop {
        match client.next().await? {
            Message::Closed(close) => break close,
            Message::Batch(_) | Message::Stats(_) | Message::Error(_) => {}
        }
    };
    ensure!(close.code == 1003 && !close.reason.is_empty(), "{close:?}");
    scene.ends_well().await
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_message_end_that_connection_only() -> Result<()> {
    let scene = Scene::set().await?;
    let mut raw = Raw::open(scene.server.address).await?;
    // Sent for real this time, all of it or until nobody takes it any more.
    raw.announce(BINARY, 100 << 20).await?;
    let block = vec![0; 1 << 20];
    for _ in 0..100 {
        if tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &block).await.is_err() {
            break;
        }
    }
    // A close frame, unless what was still under way has reset the connection; never an answer.
    let last = raw.receive().await;
    ensure!(last.as_ref().map_or(true, |frame| frame.as_ref().is_none_or(|f| f.opcode == CLOSE)), "{last:?}");
    scene.ends_well().await
}

#[tokio::test]
async fn a_small_file_that_claims_a_huge_picture_is_refused() -> Result<()> {
    let scene = Scene::set().await?;
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
    let scene = Scene::set().await?;
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
    let mut bystander = server.bystander().await?;
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

/// More memory than the server may use at all is not worth waiting for.
#[tokio::test]
async fn a_size_too_large_for_memory_is_refused_by_name_and_not_opened() -> Result<()> {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    let mut client = scene.server.connect().await?;
    // A puppet's rollout holds a byte a pixel.
    client.send(small().size(1600, 900)).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("size") && error.to_string().contains("memory"), "{error}");
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    ensure!(scene.strings.opened().await?.size.width == 16, "the large one was opened");
    scene.ends_well().await
}

#[tokio::test]
async fn a_prompt_of_a_megabyte_is_refused_by_name() -> Result<()> {
    let scene = Scene::set().await?;
    let prompt = "a long way ".repeat(100_000);
    let mut client = scene.server.session(Init::new(&prompt).size(16, 16)).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("prompt"), "{error}");
    ensure!(error.to_string().len() < 1000, "the answer repeats the prompt");
    client.send(small()).await?;
    client.chunk().await?;
    client.send(Event::prompt(&prompt)).await?;
    ensure!(client.error().await?.content.starts_with("invalid event"));
    client.send(Event::prompt(&prompt[..20_000])).await?;
    let error = client.error().await?;
    ensure!(error.content.starts_with("invalid event") && error.to_string().contains("prompt"), "{error}");
    client.chunk().await?;
    scene.ends_well().await
}

/// The reference silently keeps the last 512 of them.
#[tokio::test]
async fn a_script_of_ten_thousand_actions_is_refused_whole() -> Result<()> {
    let scene = Scene::set().await?;
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    client.send(Event::script(["w"; 10_000])).await?;
    let error = client.error().await?;
    ensure!(error.content.starts_with("invalid event") && error.to_string().contains("camera_actions"), "{error}");
    strings.allow(1);
    let (_, input) = strings.began().await?;
    ensure!(input.controls.is_none(), "some of it was taken: {input:?}");

    let script = tests::message::script(["w"; 10_000]);
    let init = small().set("condition_inputs", tests::message::map([("camera_actions", script)]));
    let error = refusal(&mut scene.server.session(init).await?).await?;
    ensure!(error.to_string().contains("camera_actions"), "{error}");
    scene.ends_well().await
}

#[tokio::test]
async fn ten_thousand_transitions_in_one_event_end_in_the_last_or_are_refused() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    client.send(Event::changes(["a", "d"].repeat(5_000).into_iter().chain(["w"]))).await?;
    client.ping().await?;
    strings.allow(1);
    let (_, input) = strings.began().await?;
    let steered = held(&input);
    ensure!(matches!(steered.as_deref(), None | Some("w w w")), "{steered:?}");
    if steered.is_none() {
        ensure!(client.error().await?.content.starts_with("invalid event"));
    }
    Ok(())
}

/// A flood of good events, while a chunk that never ends keeps the engine from taking them.
#[tokio::test]
async fn a_flood_of_events_during_a_chunk_ends_in_the_last_one() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let mut client = server.session(small()).await?;
    strings.began().await?;
    for flip in 0..10_000_u64 {
        client.send(Event::hold(if flip % 2 == 0 { "a" } else { "d" }).id(flip)).await?;
    }
    client.send(Event::hold("w").id(10_000)).await?;
    client.ping().await?;
    strings.allow(2);
    let (_, input) = strings.began().await?;
    ensure!(held(&input).as_deref() == Some("w w w"), "{input:?}");
    client.chunk().await?;
    ensure!(client.chunk().await?.stats.event_id == Some(10_000));
    Ok(())
}

#[tokio::test]
async fn a_flood_of_garbage_disturbs_nobody_else() -> Result<()> {
    let scene = Scene::set().await?;
    let mut flood = scene.server.session(small()).await?;
    // Answers are not read meanwhile: the server may not wait for that either.
    for _ in 0..5_000 {
        if flood.send_bytes(vec![0xc1, 0x00]).await.is_err() {
            break;
        }
    }
    let mut scene = scene;
    scene.bystander.goes_on().await?;
    // Answered one by one, or closed for it; what is not allowed is a drop without a word.
    flood.error().await?;
    scene.ends_well().await
}

#[tokio::test]
async fn two_inits_in_one_breath_begin_one_session() -> Result<()> {
    let mut scene = Scene::set().await?;
    let mut client = scene.server.session(small().max_chunks(2)).await?;
    client.send(small().set("prompt", "another")).await?;
    ensure!(client.error().await?.content.starts_with("invalid event"));
    ensure!(client.closed().await?.code == 1000);
    ensure!(scene.strings.opened().await?.prompt == "a meadow");
    scene.ends_well().await
}

#[tokio::test]
async fn clients_that_vanish_in_every_state_leave_nothing_behind() -> Result<()> {
    let limits = Limits { busy_wait: Duration::from_secs(20), ..Limits::default() };
    let scene = Scene::limited(limits).await?;
    for _ in 0..10 {
        let mut half_a_frame = Raw::open(scene.server.address).await?;
        half_a_frame.announce(BINARY, 500).await?;
        drop(half_a_frame);
        drop(scene.server.connect().await?);
        drop(scene.server.session(small()).await?);
        let mut inside = scene.server.session(small().size(400, 400)).await?;
        inside.next().await?;
        drop(inside);
    }
    // All four seats but the bystander's are free: three sessions side by side.
    let mut seated = Vec::new();
    for _ in 0..3 {
        seated.push(scene.server.bystander().await?);
    }
    drop(seated);
    scene.ends_well().await
}

/// A reader of nothing holds its own seat until the write deadline, and no more memory than its two chunks.
#[tokio::test]
async fn while_one_client_reads_nothing_another_keeps_its_rate() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_secs(2), ..Limits::default() };
    let mut scene = Scene::limited(limits).await?;
    let stalled = scene.server.session(small().size(832, 480)).await?;
    scene.strings.opened().await?;
    let (from, before) = (Instant::now(), scene.bystander.chunks());
    while from.elapsed() < Duration::from_millis(500) {
        scene.bystander.goes_on().await?;
    }
    // One in 5 ms alone; a server that waited for the stalled client would give none.
    let chunks = scene.bystander.chunks() - before;
    ensure!(chunks >= 10, "{chunks} chunks in half a second");
    scene.strings.dropped().await?;
    drop(stalled);
    scene.ends_well().await
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

/// What these helpers make is what it says it is, and not merely broken.
#[test]
fn the_bombs_of_these_tests_say_what_they_claim() -> Result<()> {
    let claims = |file: &[u8]| -> Result<(u32, u32)> {
        Ok(image::ImageReader::new(Cursor::new(file)).with_guessed_format()?.into_dimensions()?)
    };
    ensure!(claims(&png_claiming(60_000, 60_000)?)? == (60_000, 60_000));
    ensure!(claims(&jpeg_claiming(65_500, 65_500)?)? == (65_500, 65_500));
    Ok(())
}

/// Nothing about a value's type is assumed: any MessagePack value in any field, before and during a session.
#[tokio::test]
async fn any_value_in_any_field_is_answered() -> Result<()> {
    let scene = Scene::set().await?;
    let values = [
        Value::Nil,
        true.into(),
        Value::from(-1),
        Value::from(u64::MAX),
        Value::F64(f64::INFINITY),
        Value::F64(-0.0),
        Value::F64(1e300),
        Value::String(rmpv::Utf8String::from("é\0")),
        Value::Binary(vec![0xff, 0xfe]),
        Value::Array(vec![Value::Array(vec![Value::Nil])]),
        Value::Map(vec![(Value::Nil, Value::Nil)]),
        Value::Ext(-1, vec![0; 4]),
    ];
    let mut waiting = scene.server.connect().await?;
    let mut running = scene.server.session(small()).await?;
    for field in
        ["type", "prompt", "first_frame", "size", "fps", "seed", "max_chunks", "num_frames", "condition_inputs"]
    {
        for value in &values {
            // Never good as a whole, so that every one of them gets an answer.
            waiting.send(small().set("enhance_prompt", true).set(field, value.clone())).await?;
            refusal(&mut waiting).await.with_context(|| format!("{field}: {value}"))?;
        }
    }
    for field in ["type", "kind", "payload", "event_id"] {
        for value in &values {
            running.send(Event::hold("w").set("kind", "jump").set(field, value.clone())).await?;
            let error = running.error().await.with_context(|| format!("{field}: {value}"))?;
            ensure!(error.content.starts_with("invalid event"), "{field}: {value}: {error}");
        }
    }
    scene.ends_well().await
}
