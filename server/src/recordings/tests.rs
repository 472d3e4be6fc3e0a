//! Recordings on a real disk.

use super::*;

#[test]
fn a_name_is_that_of_a_session_or_of_a_later_video_of_one() {
    let id = "0123456789abcdef0123456789ABCDEF";
    for (name, is) in [
        (id.to_owned(), true),
        (format!("{id}-2"), true),
        (format!("{id}-"), false),
        (format!("{id}-x"), false),
        (format!("{id}-2-3"), false),
        (format!("{id}/2"), false),
        (id[1..].to_owned(), false),
        (format!("../{id}"), false),
    ] {
        assert_eq!(is_session_id(&name), is, "{name}");
    }
}

#[test]
fn a_recording_goes_on_at_another_server_with_all_that_was_written() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-go-on-{}", std::process::id()));
    let open = |node: &str| Recordings::open(&folder.join(node), 1 << 20, false);
    let ((here, writer), (there, other)) = (open("a")?, open("b")?);
    let mut tape = here.begin("s.causeway", b"first".to_vec()).next(b"second".to_vec());
    tape.chunk(&ChunkInput::default());
    let so_far = tape.so_far().expect("it has not ended");
    let bytes = so_far.read(100).expect("written");
    assert_eq!((so_far.video, &bytes[..6]), (2, &b"second"[..]));
    assert!(so_far.read(3).is_err_and(|why| why.contains("longer than 3")));
    let mut goes_on = there.go_on("s.causeway", so_far.video, bytes.clone());
    goes_on.chunk(&ChunkInput::default());
    drop((tape, writer, goes_on, other));
    let both = there.read("s-2.causeway", 100).expect("the same name");
    assert!(both.starts_with(&bytes) && both.len() > bytes.len());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn each_video_of_a_session_has_a_file_of_its_own() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("causeway-videos-{}", std::process::id()));
    let (recordings, writer) = Recordings::open(&folder, 1 << 20, false)?;
    let name = name(Some("an-account-2"), "s");
    let tape = recordings.begin(&name, b"first".to_vec()).next(b"second".to_vec()).next(b"third".to_vec());
    drop((tape, writer));
    for (name, bytes) in [("s", "first"), ("s-2", "second"), ("s-3", "third")] {
        assert_eq!(recordings.read(&format!("an-account-2/{name}.{ENDING}"), 9), Ok(bytes.into()));
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
