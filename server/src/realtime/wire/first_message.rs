//! A client's first message, decoded once: an init, a resume request, a viewer's or a door's, and the key or token in it.

use bytes::Bytes;
use pipeline::world::Refusal;

use super::error::ClientError;
use super::event::EVENT_BYTES_MAX;
use super::fields::{Fields, refuse};
use super::grant::HelloRequest;
use super::init::InitRequest;
use super::watch::WatchRequest;

/// What a first message asks for, well formed.
#[derive(Debug)]
pub enum FirstMessage {
    /// Begin a session.
    Init(Box<InitRequest>),
    /// Resume a session.
    Resume(ResumeRequest),
    /// Watch a session.
    Watch(WatchRequest),
    /// Open a place that the cluster has granted.
    Hello(HelloRequest),
}

/// A client that comes back after its line was cut.
#[derive(Debug, PartialEq, Eq)]
pub struct ResumeRequest {
    /// Names the session.
    pub token: String,
    /// The last chunk that the client has whole.
    pub last_chunk: Option<usize>,
}

/// An invalid first message. One that is neither a resume request nor a viewer's counts as an init.
#[derive(Debug, PartialEq, Eq)]
pub enum WrongFirst {
    /// An init with a mistake.
    Init(Refusal),
    /// A resume request with a mistake.
    Resume(Refusal),
    /// A viewer's request with a mistake.
    Watch(Refusal),
    /// A door's hello with a mistake.
    Hello(Refusal),
}

impl WrongFirst {
    /// The error for its client.
    pub fn error(self) -> ClientError {
        match self {
            WrongFirst::Init(refusal) => ClientError::invalid_init(refusal),
            WrongFirst::Resume(refusal) => ClientError::invalid_resume(refusal),
            WrongFirst::Watch(refusal) => ClientError::invalid_watch(refusal),
            WrongFirst::Hello(refusal) => ClientError::invalid_hello(refusal),
        }
    }
}

/// A first message, with its key beside it: a client without access is told so before it is told of a mistake.
#[derive(Debug)]
pub struct Decoded {
    /// The key or token in it. An unreadable message has none.
    pub api_key: Option<String>,
    /// The message itself.
    pub message: Result<FirstMessage, WrongFirst>,
}

/// Read `message` once. A picture in it is not copied: [`InitRequest`] keeps the part of `message` that holds it.
pub fn decode(message: &Bytes) -> Decoded {
    let mut fields = match Fields::decode(message) {
        Ok(fields) => fields,
        Err(refusal) => return Decoded { api_key: None, message: Err(WrongFirst::Init(refusal)) },
    };
    let api_key = fields.text("api_key").ok().flatten().map(str::to_owned);
    let message = match fields.text("type") {
        // These are small; a large message is none of them.
        Ok(Some("resume")) if message.len() <= EVENT_BYTES_MAX => {
            ResumeRequest::read(&mut fields).map(FirstMessage::Resume).map_err(WrongFirst::Resume)
        }
        Ok(Some("watch")) if message.len() <= EVENT_BYTES_MAX => {
            WatchRequest::read(&mut fields).map(FirstMessage::Watch).map_err(WrongFirst::Watch)
        }
        Ok(Some("hello")) if message.len() <= EVENT_BYTES_MAX => {
            HelloRequest::read(&mut fields).map(FirstMessage::Hello).map_err(WrongFirst::Hello)
        }
        Ok(Some("init")) => match InitRequest::read(&mut fields, message) {
            Ok(request) => Ok(FirstMessage::Init(Box::new(request))),
            Err(refusal) => Err(WrongFirst::Init(refusal)),
        },
        Ok(_) => Err(WrongFirst::Init(refuse("type", "must be \"init\": nothing else begins a session"))),
        Err(refusal) => Err(WrongFirst::Init(refusal)),
    };
    Decoded { api_key, message }
}

impl ResumeRequest {
    fn read(fields: &mut Fields<'_>) -> Result<ResumeRequest, Refusal> {
        let token = fields.text("token")?.ok_or_else(|| refuse("token", "is missing"))?;
        let last = fields.integer_in("last_chunk", -1..=i64::from(u32::MAX))?;
        Ok(ResumeRequest { token: token.to_owned(), last_chunk: last.and_then(|last| usize::try_from(last).ok()) })
    }
}

#[cfg(test)]
mod tests {
    use pipeline::testcard::Testcard;
    use pipeline::world::World;
    use rmpv::Value;

    use super::super::init::FirstFrame;
    use super::super::message;
    use super::*;

    fn read(json: &str) -> Result<FirstMessage, WrongFirst> {
        decode(&message(json).into()).message
    }

    #[test]
    fn a_resume_request_names_a_token_and_may_name_a_chunk() {
        let check = |json: &str, last_chunk| match read(json).expect(json) {
            FirstMessage::Resume(request) => assert_eq!(request, ResumeRequest { token: "t".into(), last_chunk }),
            other => panic!("{other:?}"),
        };
        check(r#"{"type":"resume","token":"t","last_chunk":7}"#, Some(7));
        check(r#"{"type":"resume","token":"t"}"#, None);
        check(r#"{"type":"resume","token":"t","last_chunk":-1}"#, None);
        for (json, field) in
            [(r#"{"type":"resume"}"#, "token"), (r#"{"type":"resume","token":"t","last_chunk":"x"}"#, "last_chunk")]
        {
            assert!(matches!(read(json), Err(WrongFirst::Resume(refusal)) if refusal.field == field), "{json}");
        }
        let long = format!(r#"{{"type":"resume","token":"{}"}}"#, "t".repeat(EVENT_BYTES_MAX));
        assert!(matches!(read(&long), Err(WrongFirst::Init(refusal)) if refusal.field == "type"));
    }

    #[test]
    fn a_message_that_is_neither_counts_as_a_wrong_init() {
        let field = |bytes: &[u8]| match decode(&Bytes::copy_from_slice(bytes)).message {
            Err(WrongFirst::Init(refusal)) => refusal.field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(b""), "message");
        assert_eq!(field(&message(r#"{"type":"event","prompt":"p"}"#)), "type");
        assert_eq!(field(&message(r#"{"type":7}"#)), "type");
        assert_eq!(field(&message(r#"{"type":"init"}"#)), "prompt");
    }

    #[test]
    fn a_key_is_read_whatever_else_is_wrong() {
        let key = |json: &str| decode(&message(json).into()).api_key;
        assert_eq!(key(r#"{"type":"init","prompt":"p","api_key":"k"}"#).as_deref(), Some("k"));
        assert_eq!(key(r#"{"type":"init","size":7,"api_key":"k"}"#).as_deref(), Some("k"));
        assert_eq!(key(r#"{"type":"resume","token":"t","api_key":"k"}"#).as_deref(), Some("k"));
        assert_eq!(key(r#"{"type":"init","prompt":"p"}"#), None);
        assert_eq!(key(r#"{"type":"init","prompt":"p","api_key":[1]}"#), None);
        assert_eq!(key("[]"), None);
    }

    #[test]
    fn a_picture_of_30_mib_stays_where_it_arrived() {
        let field = |key: &str, value: Value| (Value::from(key), value);
        let picture = Value::Binary(vec![7; 30 << 20]);
        let init =
            vec![field("type", "init".into()), field("first_frame", picture), field("prompt", "a meadow".into())];
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &Value::Map(init)).expect("a Vec takes everything");
        let message = Bytes::from(bytes);
        let inside = message.as_ptr_range();
        let Ok(FirstMessage::Init(request)) = decode(&message).message else { panic!("an init") };
        drop(message);
        let opening = request.check(Testcard::new(std::time::Duration::ZERO).card()).expect("all of it is allowed");
        let Some(FirstFrame::File(file)) = opening.first_frame else { panic!("a file") };
        assert_eq!((file.len(), file[0]), (30 << 20, 7));
        assert!(inside.contains(&file.as_ptr()), "the picture was copied out of the message");
    }
}
