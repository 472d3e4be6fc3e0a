//! What the commands write: where nobody reads it, where there is no room, where something is already, and when they are
//! ended in the middle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const PATIENCE: Duration = Duration::from_secs(20);

/// `causeway` with these arguments, ready to run.
fn causeway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A small walk of `chunks` chunks of the test card, to `out`.
fn walk(out: &Path, chunks: &str, more: &[&str]) -> Command {
    let mut command = causeway(&["generate", "--world", "testcard", "--size", "128x96", "--prompt", "a meadow"]);
    command.args(["--chunks", chunks]).arg("--out").arg(out).args(more);
    command
}

/// An empty folder of this test's own.
fn folder(test: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outputs").join(test);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = folder.read_dir()?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it with a standard output that nobody reads.
fn unread(mut command: Command) -> Result<Output> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ok(command.stdout(writer).output()?)
}

#[test]
fn a_reader_that_is_gone_had_enough() -> Result<()> {
    let out = folder("reader_gone")?.join("walk");
    for command in [causeway(&["inspect"]), causeway(&["key", "bob"]), walk(&out, "1", &[])] {
        let output = unread(command)?;
        ensure!(output.status.success(), "{}", said(&output));
        ensure!(!said(&output).contains("panicked"), "{}", said(&output));
    }
    assert_eq!(names(&out)?.len(), 9);
    Ok(())
}

#[test]
fn a_full_disk_under_standard_output_is_an_error_and_no_panic() -> Result<()> {
    for arguments in [&["inspect"][..], &["key", "bob"]] {
        let output = causeway(arguments).stdout(File::create("/dev/full")?).output()?;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        ensure!(said(&output).contains("writing to standard output"), "{}", said(&output));
        ensure!(!said(&output).contains("panicked"), "{}", said(&output));
    }
    Ok(())
}

#[test]
fn what_is_to_be_drawn_is_drawn_although_the_log_cannot_be_written() -> Result<()> {
    let out = folder("full_log")?.join("walk");
    let output = walk(&out, "1", &[]).stderr(File::create("/dev/full")?).output()?;
    ensure!(output.status.success(), "{output:?}");
    assert_eq!(names(&out)?.len(), 9);
    Ok(())
}

#[test]
fn a_server_serves_although_nobody_reads_its_address_and_its_log_cannot_be_written() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let arguments = ["serve", "--world", "testcard", "--port", &port.to_string()];
    let mut server = causeway(&arguments).stdout(writer).stderr(File::create("/dev/full")?).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    let mut answers = false;
    while !answers && Instant::now() < deadline && server.try_wait()?.is_none() {
        answers = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = server.try_wait()?;
    server.kill()?;
    server.wait()?;
    ensure!(answers && ended.is_none(), "it ended: {ended:?}");
    Ok(())
}

#[test]
fn frames_of_an_earlier_walk_are_replaced_only_if_that_is_asked_for() -> Result<()> {
    let out = folder("earlier_walk")?.join("walk");
    ensure!(walk(&out, "3", &[]).output()?.status.success());
    assert_eq!(names(&out)?.len(), 33);
    std::fs::write(out.join("notes.txt"), "mine")?;
    let refused = walk(&out, "1", &[]).output()?;
    ensure!(!refused.status.success() && said(&refused).contains("33 numbered pictures"), "{}", said(&refused));
    assert_eq!(names(&out)?.len(), 34);
    let replaced = walk(&out, "1", &["--force"]).output()?;
    ensure!(replaced.status.success(), "{}", said(&replaced));
    let expected: Vec<_> = (0..9).map(|frame| format!("{frame:05}.png")).chain(["notes.txt".into()]).collect();
    assert_eq!(names(&out)?, expected);
    Ok(())
}

#[test]
fn an_animation_that_is_there_stays_until_the_new_one_is_whole() -> Result<()> {
    let folder = folder("animation")?;
    let out = folder.join("walk.webp");
    std::fs::write(&out, "mine")?;
    let refused = walk(&out, "1", &[]).output()?;
    ensure!(!refused.status.success() && said(&refused).contains("--force"), "{}", said(&refused));

    let mut long =
        walk(&out, "1000", &["--force", "--chunk-ms", "20"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let unfinished = folder.join("walk.webp.unfinished");
    let deadline = Instant::now() + PATIENCE;
    while !unfinished.exists() {
        ensure!(Instant::now() < deadline && long.try_wait()?.is_none(), "nothing is written");
        std::thread::sleep(Duration::from_millis(10));
    }
    long.kill()?;
    long.wait()?;
    assert_eq!(std::fs::read(&out)?, b"mine");

    ensure!(walk(&out, "1", &["--force"]).output()?.status.success());
    assert_eq!(names(&folder)?, ["walk.webp"]);
    ensure!(std::fs::read(&out)?.starts_with(b"RIFF"));
    Ok(())
}

/// SIGINT to a walk as soon as `path` is there.
fn interrupted(mut walk: Command, path: &Path) -> Result<Output> {
    let child = walk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        ensure!(Instant::now() < deadline, "{} is not written", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status()?.success());
    Ok(child.wait_with_output()?)
}

#[test]
fn a_walk_that_is_interrupted_is_a_shorter_walk_or_leaves_what_was_there() -> Result<()> {
    let folder = folder("interrupted")?;
    // Pictures: the third chunk's first says that two chunks are drawn.
    let pictures = folder.join("pictures");
    let output = interrupted(walk(&pictures, "1000", &["--chunk-ms", "50"]), &pictures.join("00021.png"))?;
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    ensure!(said(&output).contains("of 1000 chunks: the video ends there"), "{}", said(&output));
    let count = names(&pictures)?.len();
    ensure!(count >= 33 && (count - 9).is_multiple_of(12), "{count} pictures");

    let film = folder.join("walk.webp");
    std::fs::write(&film, "mine")?;
    let slow = walk(&film, "2", &["--force", "--chunk-ms", "3600000"]);
    let output = interrupted(slow, &folder.join("walk.webp.unfinished"))?;
    ensure!(!output.status.success() && said(&output).contains("nothing is written"), "{}", said(&output));
    assert_eq!(std::fs::read(&film)?, b"mine");
    assert_eq!(names(&folder)?, ["pictures", "walk.webp"]);
    Ok(())
}

#[test]
fn variables_are_flags_and_what_is_typed_wins() -> Result<()> {
    let folder = folder("variables")?;
    let out = folder.join("walk");
    let mut command = walk(&out, "1", &[]);
    // The typed --world excludes the model of the environment.
    let output = command.env("CAUSEWAY_MODEL", "/no such model").env("CAUSEWAY_SIZES", "1").output()?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(said(&output).contains("CAUSEWAY_SIZES is set, but no flag is named so"), "{}", said(&output));
    let output = causeway(&["inspect"]).env("CAUSEWAY_SIZE", "large").output()?;
    ensure!(!output.status.success() && said(&output).contains("by the environment: CAUSEWAY_SIZE"), "{output:?}");
    Ok(())
}

#[test]
fn shells_and_readers_of_manuals_are_told_every_command() -> Result<()> {
    for arguments in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let output = causeway(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        for command in ["serve", "key", "generate", "replay", "inspect", "bench", "check", "completions", "man"] {
            ensure!(text.contains(command), "{arguments:?} says nothing of {command}");
        }
    }
    let page = String::from_utf8(causeway(&["man", "serve"]).output()?.stdout)?;
    ensure!(page.contains("queue\\-wait") && page.contains(".TH"), "{page}");
    let refused = causeway(&["man", "fly"]).output()?;
    ensure!(!refused.status.success() && said(&refused).contains("\"fly\" is no command"), "{}", said(&refused));
    Ok(())
}

#[test]
fn what_stood_on_the_command_line_as_text_is_read_as_text() -> Result<()> {
    let folder = folder("text")?;
    for (number, text) in
        ["-1 degrees, a frozen lake", "--", "12:30 on a station's clock", "4:at night"].iter().enumerate()
    {
        let out = folder.join(number.to_string());
        let mut command = causeway(&["generate", "--world", "testcard", "--size", "128x96", "--chunks", "1"]);
        let output = command.args(["--prompt", text, "--actions", "-*3,w"]).arg("--out").arg(&out).output()?;
        ensure!(output.status.success(), "{text}: {}", said(&output));
    }
    Ok(())
}

#[test]
fn a_setting_that_is_there_and_empty_is_named() -> Result<()> {
    let folder = folder("empty")?;
    let out = folder.join("walk");
    let out = out.to_str().context("a path")?;
    for (arguments, named) in [
        (&["generate", "--prompt", "", "--out", out][..], "--prompt"),
        (&["generate", "--prompt", " \t", "--out", out], "--prompt"),
        (&["generate", "--prompt", "a", "--prompt-at", "1", " ", "--out", out], "--prompt-at"),
        (&["generate", "--prompt", "a", "--out", ""], "--out"),
        (&["generate", "--prompt", "a", "--actions", "", "--out", out], "--actions"),
        (&["generate", "--prompt", "a", "--image", "", "--out", out], "--image"),
        (&["generate", "--prompt", "a", "--model", "", "--out", out], "--model"),
        (&["serve", "--model", ""], "--model"),
        (&["serve", "--trace-file", ""], "--trace-file"),
        (&["serve", "--keys", ""], "--keys"),
        (&["inspect", ""], "[DIR]"),
        (&["key", ""], "name"),
    ] {
        let output = causeway(arguments).output()?;
        ensure!(!output.status.success() && said(&output).contains(named), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(names(&folder)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn levels_of_the_log_are_read_or_refused_and_an_empty_setting_is_none() -> Result<()> {
    let inspect = |levels: &str| Ok::<_, anyhow::Error>(causeway(&["inspect"]).env("RUST_LOG", levels).output()?);
    for levels in ["", "debug", "server=trace,info"] {
        ensure!(inspect(levels)?.status.success(), "{levels:?}");
    }
    let refused = inspect("loud=very=")?;
    ensure!(!refused.status.success() && said(&refused).contains("RUST_LOG"), "{}", said(&refused));
    Ok(())
}
