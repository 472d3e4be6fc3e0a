//! The C interface: the example compiled by a C compiler against both libraries, and frames that cost no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway::{
    CausewayNews, CausewayOptions, causeway_connect, causeway_error, causeway_free, causeway_poll_frame,
    causeway_reset, causeway_send_pose, causeway_send_rates, causeway_watch,
};
use pipeline::testcard::Testcard;
use server::Limits;
use tests::Server;
use tests::reference::Reference;
use tests::secure::Secure;

/// Counts what this thread allocates: the server under test has threads of its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more.
    let _ = ALLOCATIONS.try_with(|counted| counted.set(counted.get() + 1));
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's pointer, which the system's allocator gave.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn server() -> Result<Server> {
    let load = || Ok(Box::new(Testcard::new(Duration::from_millis(2))) as Box<dyn pipeline::world::World>);
    Server::start(Box::new(load), Limits::default())
}

#[test]
fn after_the_first_frames_none_is_allocated_for_a_frame_but_for_a_buffer_that_grows() -> Result<()> {
    let server = server()?;
    let url = std::ffi::CString::new(server.url())?;
    for format in [c"jpeg", c"raw"] {
        let options = options(&url, format);
        let mut news = std::mem::MaybeUninit::<CausewayNews>::zeroed();
        // SAFETY: pointers to values that live until the walk is freed.
        unsafe {
            let walk = causeway_connect(&options, std::ptr::null_mut(), 0);
            ensure!(!walk.is_null());
            let mut frames = |wanted: u32| {
                let mut bytes = 0;
                for _ in 0..wanted {
                    while causeway_poll_frame(walk, 10_000, news.as_mut_ptr()) != 1 {
                        assert_eq!(CStr::from_ptr(causeway_error(walk)), c"");
                    }
                    bytes += (*news.as_ptr()).frame.size;
                }
                bytes
            };
            ensure!(frames(200) > 0);
            // How much of the next message a read takes depends on the time, so the buffer may grow once or twice more.
            let rounds = [(); 6].map(|()| {
                let before = ALLOCATIONS.get();
                assert!(frames(200) > 0);
                ALLOCATIONS.get() - before
            });
            let made: u64 = rounds.iter().sum();
            ensure!(made <= 2, "{rounds:?} allocations for 200 frames each of {format:?}");
            causeway_free(walk);
        }
    }
    Ok(())
}

fn options(url: &CStr, format: &CStr) -> CausewayOptions {
    CausewayOptions {
        url: url.as_ptr(),
        prompt: c"a meadow".as_ptr(),
        format: format.as_ptr(),
        width: 320,
        height: 192,
        fps: 0,
        paced: 0,
        seed: 0,
        has_seed: 0,
        max_chunks: 0,
        first_frame: std::ptr::null(),
        first_frame_size: 0,
        key: std::ptr::null(),
    }
}

#[test]
fn rates_are_followed_and_a_pose_that_is_none_is_refused_by_its_name() -> Result<()> {
    let server = server()?;
    let url = std::ffi::CString::new(server.url())?;
    let mut news = std::mem::MaybeUninit::<CausewayNews>::zeroed();
    // SAFETY: pointers to values that live until the walk is freed.
    unsafe {
        let walk = causeway_connect(&options(&url, c"jpeg"), std::ptr::null_mut(), 0);
        ensure!(!walk.is_null());
        let led = causeway_send_rates(walk, 0.5, 0.0, -0.25, 0.0);
        let wrong = causeway_send_pose(walk, [2.0; 16].as_ptr());
        let (mut receipt, mut refused) = (false, false);
        while !(receipt && refused) {
            let kind = causeway_poll_frame(walk, 10_000, news.as_mut_ptr());
            let (event_id, first_frame) = ((*news.as_ptr()).event_id, (*news.as_ptr()).first_frame);
            match kind {
                1 => {}
                2 => {
                    ensure!(event_id == i64::from(led) && first_frame >= 0, "{event_id} {first_frame}");
                    receipt = true;
                }
                4 => {
                    ensure!(event_id == i64::from(wrong));
                    refused = CStr::from_ptr(causeway_error(walk)).to_str()?.contains("pose");
                    ensure!(refused);
                }
                other => anyhow::bail!("{other}"),
            }
        }
        causeway_free(walk);
    }
    Ok(())
}

#[test]
fn another_video_begins_in_the_same_walk_and_a_token_that_stands_for_nothing_watches_nothing() -> Result<()> {
    let server = server()?;
    let url = std::ffi::CString::new(server.url())?;
    let mut news = std::mem::MaybeUninit::<CausewayNews>::zeroed();
    // SAFETY: pointers to values that live until the walk is freed.
    unsafe {
        let walk = causeway_connect(&options(&url, c"jpeg"), std::ptr::null_mut(), 0);
        let next = CausewayOptions { width: 64, height: 48, ..options(&url, c"jpeg") };
        // Before there is a video there is none to leave.
        ensure!(!walk.is_null() && causeway_poll_frame(walk, 10_000, news.as_mut_ptr()) == 1);
        ensure!(causeway_reset(walk, &next) > 0);
        let seen = |news: &CausewayNews| (news.frame.width, news.frame.height, news.frame.index);
        while causeway_poll_frame(walk, 10_000, news.as_mut_ptr()) != 1 || seen(&*news.as_ptr()) != (64, 48, 0) {
            ensure!(CStr::from_ptr(causeway_error(walk)) == c"");
        }
        // Larger than what the session has memory for: it goes on as it was.
        let large = CausewayOptions { width: 1280, height: 720, ..next };
        let wrong = causeway_reset(walk, &large);
        while causeway_poll_frame(walk, 10_000, news.as_mut_ptr()) != 4 {}
        ensure!((*news.as_ptr()).event_id == i64::from(wrong));
        ensure!(CStr::from_ptr(causeway_error(walk)).to_str()?.contains("size"));
        causeway_free(walk);
        let viewer = causeway_watch(url.as_ptr(), c"cwv_nobody".as_ptr(), std::ptr::null(), std::ptr::null_mut(), 0);
        ensure!(causeway_poll_frame(viewer, 10_000, news.as_mut_ptr()) == -1);
        ensure!(CStr::from_ptr(causeway_error(viewer)).to_str()?.contains("token"));
        causeway_free(viewer);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_given_the_frames_of_a_walk() -> Result<()> {
    let server = server()?;
    let mut player = server.session(tests::small().format("jpeg").paced(16).features(["spectators"])).await?;
    player.send(tests::message::Event::share("view")).await?;
    let token = loop {
        if let tests::message::Message::Shared(shared) = player.next().await? {
            break shared.token;
        }
    };
    let url = std::ffi::CString::new(server.url())?;
    let watched = tokio::task::spawn_blocking(move || -> Result<i32> {
        let token = std::ffi::CString::new(token)?;
        let mut news = std::mem::MaybeUninit::<CausewayNews>::zeroed();
        // SAFETY: pointers to values that live until the walk is freed.
        unsafe {
            let viewer = causeway_watch(url.as_ptr(), token.as_ptr(), c"webp".as_ptr(), std::ptr::null_mut(), 0);
            let kind = causeway_poll_frame(viewer, 10_000, news.as_mut_ptr());
            ensure!(kind == 1 && (*news.as_ptr()).frame.format == 2, "{kind}");
            causeway_free(viewer);
            Ok(kind)
        }
    });
    // The player reads on, so that more is drawn.
    tokio::select! {
        watched = watched => watched??,
        broken = async { loop { if let Err(error) = player.next().await { break error } } } => return Err(broken),
    };
    Ok(())
}

/// Where the libraries lie that this test was built with.
fn library(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let deps = test.parent().context("a folder")?;
    let found = [deps.join(name), deps.with_file_name(name)].into_iter().find(|path| path.exists());
    found.with_context(|| format!("{name} is neither in {} nor above it", deps.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_compiled_against_both_libraries_and_walks_in_both_servers_and_over_tls() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join(format!("causeway-c-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (ours, reference) = (server()?, Reference::start().await?);
    let secure = Secure::before(ours.address).await?;
    let over_tls = format!("wss://localhost:{}/v1/realtime_video", secure.port);
    let trusted = folder.join("trusted.pem");
    std::fs::write(&trusted, &secure.pem)?;
    for name in ["libcauseway.so", "libcauseway.a"] {
        let program = folder.join(name).with_extension("example");
        let compiled = Command::new("cc")
            .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&program)
            .arg(here.join("example.c"))
            .arg("-I")
            .arg(here.join("include"))
            .arg(library(name)?)
            .args(["-lpthread", "-ldl", "-lm"])
            .output()?;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let libraries = library("libcauseway.so")?;
        let walk = |url: &str, trusted: Option<&Path>| {
            let mut walk = Command::new(&program);
            walk.arg(url).env("LD_LIBRARY_PATH", libraries.parent().unwrap_or(here));
            trusted.map(|file| walk.env("SSL_CERT_FILE", file));
            walk.output()
        };
        let stranger = walk(&over_tls, None)?;
        let said = String::from_utf8_lossy(&stranger.stderr);
        ensure!(!stranger.status.success() && said.contains("certificate"), "nobody vouches for it: {said}");
        for url in [ours.url(), reference.url(), over_tls.clone()] {
            let run = walk(&url, Some(&trusted))?;
            let said = String::from_utf8_lossy(&run.stdout);
            ensure!(run.status.success(), "{name}, {url}: {}{said}", String::from_utf8_lossy(&run.stderr));
            ensure!(said.lines().filter(|line| line.ends_with(" bytes")).count() == 45, "{said}");
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn the_header_is_read_by_cpp_and_so_is_that_for_unreal() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unreal = here.with_file_name("unreal");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
    for folder in [here.join("include"), unreal.join("Causeway/Public"), unreal.join("check")] {
        compiler.arg("-I").arg(folder);
    }
    let compiled = compiler.arg(unreal.join("check/check.cpp")).output()?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Ok(())
}
