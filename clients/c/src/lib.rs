//! The Rust client behind a C interface: `include/causeway.h` says what each function does.
//!
//! Pointers come from a program that this crate cannot check; each function says what it relies on. A panic never crosses the
//! border: it ends the walk.
//!
//! Over 400 lines: each function of the header stands here, with what it relies on.

use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use causeway_client::{Event, Frame, Init, News, Value, Walk, Watch};

/// A walk as C sees it.
pub struct CausewayWalk {
    walk: Walk,
    /// What [`causeway_error`] gives.
    error: CString,
}

/// `causeway_options`.
#[repr(C)]
pub struct CausewayOptions {
    /// Of the socket.
    pub url: *const c_char,
    /// What the world looks like.
    pub prompt: *const c_char,
    /// `jpeg`, `webp`, `raw`, or null.
    pub format: *const c_char,
    /// Pixels of a row; 0: the world's own.
    pub width: u32,
    /// Pixels of a column; 0: the world's own.
    pub height: u32,
    /// 0: the world's own.
    pub fps: u32,
    /// 1: frames arrive no faster than they are shown.
    pub paced: u32,
    /// Used where `has_seed` is 1.
    pub seed: u64,
    /// 1: `seed` counts.
    pub has_seed: u32,
    /// 0: endless.
    pub max_chunks: u64,
    /// An encoded picture, or null.
    pub first_frame: *const u8,
    /// Its bytes.
    pub first_frame_size: usize,
    /// For a server that asks for one, or null.
    pub key: *const c_char,
}

/// `causeway_frame`.
#[repr(C)]
pub struct CausewayFrame {
    /// Good until the next call.
    pub data: *const u8,
    /// Bytes of `data`.
    pub size: usize,
    /// 0 raw, 1 JPEG, 2 WebP, 3 something else.
    pub format: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Pixels of a column.
    pub height: u32,
    /// From 0.
    pub chunk: u64,
    /// From 0.
    pub index: u64,
    /// -1: none.
    pub event_id: i64,
    /// -1: not said.
    pub pts_ms: i64,
}

/// `causeway_news`.
#[repr(C)]
pub struct CausewayNews {
    /// Of a frame.
    pub frame: CausewayFrame,
    /// Of a receipt.
    pub chunk: u64,
    /// Of a receipt or a refusal; -1: none.
    pub event_id: i64,
    /// Of a receipt; -1: not said.
    pub first_frame: i64,
    /// Of a receipt.
    pub superseded: u32,
    /// In the queue.
    pub position: u32,
}

const NOTHING: i32 = 0;
const FRAME: i32 = 1;
const RECEIPT: i32 = 2;
const WAITING: i32 = 3;
const REFUSED: i32 = 4;
const AWAY: i32 = 5;
const BACK: i32 = 6;
const COMPLETE: i32 = 7;
const ENDED: i32 = -1;

/// Connect and begin.
///
/// # Safety
/// `options` points to a `causeway_options` whose strings end with 0 and whose picture has as many bytes as it says; `error`
/// is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_connect(
    options: *const CausewayOptions,
    error: *mut c_char,
    error_size: usize,
) -> *mut CausewayWalk {
    let connected = catch_unwind(|| {
        // SAFETY: as this function's.
        let (url, init) = unsafe { first_message(options) }?;
        Walk::connect(&url, init).map_err(|error| error.to_string())
    });
    // SAFETY: as this function's.
    unsafe { walk_or_why(connected, error, error_size) }
}

/// Watch a session.
///
/// # Safety
/// `url`, `token` and `format` are null or end with 0; `error` as in [`causeway_connect`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_watch(
    url: *const c_char,
    token: *const c_char,
    format: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> *mut CausewayWalk {
    let connected = catch_unwind(|| {
        // SAFETY: the caller's strings end with 0.
        let text =
            |name: &str, text: *const c_char| unsafe { optional_text(text) }.map_err(|why| format!("{name} {why}"));
        let url = text("url", url)?.ok_or("url is missing")?;
        let watch = Watch::new(text("token", token)?.ok_or("token is missing")?);
        let watch = text("format", format)?.into_iter().fold(watch, Watch::format);
        Walk::watch(url, watch).map_err(|error| error.to_string())
    });
    // SAFETY: as this function's.
    unsafe { walk_or_why(connected, error, error_size) }
}

/// # Safety
/// `error` as in [`causeway_connect`].
unsafe fn walk_or_why(
    connected: std::thread::Result<Result<Walk, String>>,
    error: *mut c_char,
    error_size: usize,
) -> *mut CausewayWalk {
    let why = match connected {
        Ok(Ok(walk)) => return Box::into_raw(Box::new(CausewayWalk { walk, error: CString::default() })),
        Ok(Err(why)) => why,
        Err(_) => "the client failed".to_owned(),
    };
    if !error.is_null() && error_size > 0 {
        let length = why.floor_char_boundary(error_size - 1);
        // SAFETY: there is room for `error_size` bytes, and these are fewer by the zero at the end.
        unsafe {
            std::ptr::copy_nonoverlapping(why.as_ptr(), error.cast::<u8>(), length);
            *error.add(length) = 0;
        }
    }
    std::ptr::null_mut()
}

/// # Safety
/// As [`causeway_connect`]'s `options`.
unsafe fn first_message(options: *const CausewayOptions) -> Result<(String, Init), String> {
    // SAFETY: null, or as the caller says.
    let options = unsafe { options.as_ref() }.ok_or("options are missing")?;
    // SAFETY: the caller's strings end with 0.
    let text = |name: &str, text: *const c_char| unsafe { optional_text(text) }.map_err(|why| format!("{name} {why}"));
    let url = text("url", options.url)?.ok_or("url is missing")?;
    let prompt = text("prompt", options.prompt)?.ok_or("prompt is missing")?;
    let mut init = Init::new(prompt);
    if let Some(format) = text("format", options.format)? {
        init = init.format(format);
    }
    if options.width > 0 || options.height > 0 {
        init = init.size(options.width, options.height);
    }
    if options.fps > 0 {
        init = init.set("fps", options.fps);
    }
    if options.paced > 0 {
        init = init.set("realtime_output_pacing", true);
    }
    if options.has_seed > 0 {
        init = init.seed(options.seed);
    }
    if options.max_chunks > 0 {
        init = init.max_chunks(options.max_chunks);
    }
    if !options.first_frame.is_null() {
        // SAFETY: the caller's picture has as many bytes as it says.
        init = init.first_frame(unsafe { std::slice::from_raw_parts(options.first_frame, options.first_frame_size) });
    }
    if let Some(key) = text("key", options.key)? {
        init = init.set("api_key", key);
    }
    Ok((url.to_owned(), init))
}

/// # Safety
/// `text` is null or ends with 0, and outlives what is made of it.
unsafe fn optional_text<'a>(text: *const c_char) -> Result<Option<&'a str>, &'static str> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: it ends with 0.
    unsafe { CStr::from_ptr(text) }.to_str().map(Some).map_err(|_| "is not UTF-8")
}

/// What came, waiting `wait_ms` at most.
///
/// # Safety
/// `walk` comes from [`causeway_connect`] and was not freed; nobody else uses it now. `news` points to a `causeway_news`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_poll_frame(walk: *mut CausewayWalk, wait_ms: u32, news: *mut CausewayNews) -> i32 {
    // SAFETY: null, or as the caller says.
    let (Some(CausewayWalk { walk, error }), Some(news)) = (unsafe { walk.as_mut() }, unsafe { news.as_mut() }) else {
        return ENDED;
    };
    let polled = catch_unwind(AssertUnwindSafe(|| match walk.poll(Duration::from_millis(u64::from(wait_ms))) {
        Ok(Some(came)) => news.tell(&came, error),
        Ok(None) => NOTHING,
        Err(why) => {
            *error = text_of(&why.to_string());
            ENDED
        }
    }));
    polled.unwrap_or(ENDED)
}

impl CausewayNews {
    fn tell(&mut self, news: &News<'_>, error: &mut CString) -> i32 {
        self.event_id = -1;
        match news {
            News::Frame(frame) => {
                self.frame = CausewayFrame::from(frame);
                FRAME
            }
            News::Receipt(receipt) => {
                (self.event_id, self.chunk) = (i64::from(receipt.event_id), receipt.chunk);
                self.superseded = u32::from(receipt.superseded);
                self.first_frame = receipt.first_frame.map_or(-1, signed);
                RECEIPT
            }
            News::Waiting { position } => {
                self.position = *position;
                WAITING
            }
            News::Refused { event_id, why } => {
                self.event_id = event_id.map_or(-1, i64::from);
                *error = text_of(why);
                REFUSED
            }
            News::Away => AWAY,
            News::Back => BACK,
            News::Complete => COMPLETE,
        }
    }
}

impl From<&Frame<'_>> for CausewayFrame {
    fn from(frame: &Frame<'_>) -> CausewayFrame {
        CausewayFrame {
            data: frame.data.as_ptr(),
            size: frame.data.len(),
            format: match frame.content_type {
                Frame::RAW => 0,
                "image/jpeg" => 1,
                "image/webp" => 2,
                _ => 3,
            },
            width: frame.width,
            height: frame.height,
            chunk: frame.chunk,
            index: frame.index,
            event_id: frame.event_id.map_or(-1, i64::from),
            pts_ms: frame.pts_ms.map_or(-1, signed),
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Without zeros inside, which would end a C string.
fn text_of(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// From now on these keys are held.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`]; `keys` ends with 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_send_controls(walk: *mut CausewayWalk, keys: *const c_char) -> u32 {
    // SAFETY: as this function's.
    unsafe { send(walk, keys, Event::hold) }
}

/// Move at a part of what a held key does.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_send_rates(
    walk: *mut CausewayWalk,
    forward: f64,
    strafe: f64,
    yaw: f64,
    pitch: f64,
) -> u32 {
    // SAFETY: null, or as the caller says.
    let Some(walk) = (unsafe { walk.as_mut() }) else { return 0 };
    let rates = [forward, strafe, yaw, pitch];
    catch_unwind(AssertUnwindSafe(|| walk.walk.send(Event::rates(rates)))).unwrap_or(0)
}

/// Lead the camera.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`]; `camera_from_world` points to 16 numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_send_pose(walk: *mut CausewayWalk, camera_from_world: *const f64) -> u32 {
    // SAFETY: null, or as the caller says.
    let (walk, pose) = unsafe { (walk.as_mut(), camera_from_world.cast::<[f64; 16]>().as_ref()) };
    let (Some(walk), Some(pose)) = (walk, pose) else { return 0 };
    catch_unwind(AssertUnwindSafe(|| walk.walk.send(Event::pose(pose)))).unwrap_or(0)
}

/// Draw what follows under another prompt.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`]; `prompt` ends with 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_send_prompt(walk: *mut CausewayWalk, prompt: *const c_char) -> u32 {
    // SAFETY: as this function's.
    unsafe { send(walk, prompt, Event::prompt) }
}

/// # Safety
/// `walk` as in [`causeway_poll_frame`]; `text` is null or ends with 0.
unsafe fn send(walk: *mut CausewayWalk, text: *const c_char, event: fn(&str) -> Event) -> u32 {
    // SAFETY: as the caller says.
    let (walk, text) = unsafe { (walk.as_mut(), optional_text(text)) };
    let (Some(walk), Ok(Some(text))) = (walk, text) else { return 0 };
    catch_unwind(AssertUnwindSafe(|| walk.walk.send(event(text)))).unwrap_or(0)
}

/// Begin another video.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`]; `beginning` as [`causeway_connect`]'s `options`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_reset(walk: *mut CausewayWalk, beginning: *const CausewayOptions) -> u32 {
    // SAFETY: null, or as the caller says.
    let (Some(walk), Some(beginning)) = (unsafe { walk.as_mut() }, unsafe { beginning.as_ref() }) else { return 0 };
    // SAFETY: the caller's strings end with 0.
    let Ok(prompt) = (unsafe { optional_text(beginning.prompt) }) else { return 0 };
    let sized = beginning.width > 0 || beginning.height > 0;
    let picture = (!beginning.first_frame.is_null()).then(|| match beginning.first_frame_size {
        0 => Value::Boolean(false),
        // SAFETY: the caller's picture has as many bytes as it says.
        size => Value::Binary(unsafe { std::slice::from_raw_parts(beginning.first_frame, size) }.to_vec()),
    });
    let fields = [
        ("prompt", prompt.map(Value::from)),
        ("size", sized.then(|| format!("{}x{}", beginning.width, beginning.height).into())),
        ("seed", (beginning.has_seed > 0).then(|| beginning.seed.into())),
        ("first_frame", picture),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    catch_unwind(AssertUnwindSafe(|| walk.walk.send(Event::reset(fields)))).unwrap_or(0)
}

/// Why an event was refused or the walk ended.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_error(walk: *const CausewayWalk) -> *const c_char {
    // SAFETY: null, or as the caller says.
    unsafe { walk.as_ref() }.map_or(c"there is no walk".as_ptr(), |walk| walk.error.as_ptr())
}

/// How often the walk went on after a cut.
///
/// # Safety
/// `walk` as in [`causeway_poll_frame`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_resumes(walk: *const CausewayWalk) -> u32 {
    // SAFETY: null, or as the caller says.
    unsafe { walk.as_ref() }.map_or(0, |walk| walk.walk.resumes())
}

/// End the walk.
///
/// # Safety
/// `walk` is null, or as in [`causeway_poll_frame`]; it is not used after this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causeway_free(walk: *mut CausewayWalk) {
    if !walk.is_null() {
        // SAFETY: it was made by `Box::into_raw`, and is freed once.
        drop(unsafe { Box::from_raw(walk) });
    }
}
