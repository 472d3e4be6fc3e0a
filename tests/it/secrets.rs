//! Keys stay out of the log, at the level where every library says what it reads and writes.

use std::io::Write;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use server::observe::log::without_secrets;
use tests::keyed::{Keyed, bearer};
use tests::raw::{BINARY, CLOSE, Raw};
use tests::small;
use tracing_subscriber::EnvFilter;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_is_ever_logged_wherever_it_is_shown() -> Result<()> {
    let levels = without_secrets(EnvFilter::new("trace"));
    let log = tracing_subscriber::fmt().with_env_filter(levels).with_ansi(false).with_writer(|| Log);
    ensure!(log.try_init().is_ok(), "something else takes the log");

    let scene = Keyed::new()?;
    let (wrong, _) = server::access::rules::keys::new_key("alice")?;
    for (key, status) in [(&scene.key, 200), (&wrong, 401)] {
        ensure!(scene.ask(&format!("GET /server_info?key={key}"), "", "").await?.status == status);
        ensure!(scene.ask("GET /server_info", &bearer(key), "").await?.status == status);
        let mut init = Vec::new();
        let shown = small().max_chunks(1).set("api_key", key.as_str());
        rmpv::encode::write_value(&mut init, &shown.into())?;
        let mut raw = Raw::open(scene.server.address).await?;
        raw.send(BINARY, &init).await?;
        while raw.receive().await?.is_some_and(|frame| frame.opcode != CLOSE) {}
    }
    scene.server.stop()?;

    let log = String::from_utf8_lossy(&LOG.lock().expect("no writer panics")).into_owned();
    ensure!(log.contains("denied") && log.contains("this key is not known here"), "nothing was logged: {log}");
    for key in [&scene.key, &wrong] {
        ensure!(!log.contains(key.as_str()), "{log}");
        let hexadecimal: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        ensure!(!log.to_lowercase().contains(&hexadecimal), "a frame, as its bytes: {log}");
        ensure!(!log.contains(format!("{:?}", key.as_bytes()).trim_matches(['[', ']'])), "a frame, as a list: {log}");
    }
    Ok(())
}
