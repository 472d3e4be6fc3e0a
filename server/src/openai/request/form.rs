//! A form (`multipart/form-data`, RFC 7578): parts, and the structure that bracketed names stand for.
//!
//! The whole body has come: its length has a bound, and a file part is a slice of it. What the OpenAI SDK makes of
//! `extra_body={"extra_params": {"a": False}}` is a part named `extra_params[a]` with the text `false`.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::invalid::{Invalid, quoted};
use super::json::{BadJson, Budget};

/// Parts of a form.
pub const PARTS_MAX: usize = 256;

/// Brackets of a name: `a[b][c][]`.
pub const BRACKETS_MAX: usize = 3;

/// Bytes of a part's headers: a long file name fits.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Bytes of a boundary (RFC 2046 allows 70).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Parts that are files; every other part is text.
const FILES: [&str; 3] = ["input_reference", "video_reference", "image"];

/// Text that is never read as JSON, even if it looks like it.
const PLAIN: [&str; 6] = ["prompt", "negative_prompt", "model", "size", "user", "task_type"];

/// A form, taken apart.
#[derive(Debug)]
pub struct Form {
    /// Its texts, in the structure that their names stand for.
    pub fields: Map<String, Value>,
    /// Its files, in their order.
    pub files: Vec<FilePart>,
}

/// A part that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// The field, without the brackets that a list of files has: `image[]` is `image`.
    pub field: &'static str,
    /// What the client calls the file.
    pub name: Option<String>,
    /// What the client says that it is.
    pub content_type: Option<String>,
    /// All of it.
    pub bytes: Bytes,
}

/// Take a form apart. `content_type` names its boundary.
pub fn read(content_type: &str, body: &Bytes, json: &mut Budget) -> Result<Form, Invalid> {
    let broken = |why: &str| Invalid::value("body", format!("Invalid request body: the form {why}"));
    let boundary =
        parameter(content_type, "boundary").ok_or_else(|| broken("names no boundary in its content type"))?;
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return Err(broken("has a boundary that is empty or longer than 70 bytes"));
    }
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let mut form = Form { fields: Map::new(), files: Vec::new() };
    // The first delimiter may open the body, without the line break before it.
    let mut at = match body.starts_with(&delimiter[2..]) {
        true => delimiter.len() - 2,
        false => find(body, &delimiter, 0).ok_or_else(|| broken("has no part"))? + delimiter.len(),
    };
    for count in 0.. {
        // After a boundary: spaces and the end of the line, or two hyphens that end the form.
        match body.get(at..at + 2) {
            Some(b"--") => return Ok(form),
            Some(_) => {}
            None => return Err(broken("is cut off")),
        }
        if count == PARTS_MAX {
            return Err(broken("has more than 256 parts"));
        }
        let line_end = find(&body[..body.len().min(at + HEAD_BYTES_MAX)], b"\r\n", at);
        let line_end = line_end.ok_or_else(|| broken("is cut off"))?;
        if body[at..line_end].iter().any(|byte| !matches!(byte, b' ' | b'\t')) {
            return Err(broken("has text after a boundary"));
        }
        // A part without headers begins with its empty line.
        let head_start = line_end;
        let head_end = find(&body[..body.len().min(head_start + HEAD_BYTES_MAX)], b"\r\n\r\n", head_start);
        let head_end = head_end.ok_or_else(|| broken("has a part whose headers are cut off or longer than 8 KiB"))?;
        let head = String::from_utf8_lossy(&body[head_start..head_end]);
        let content = head_end + 4;
        // The delimiter's line break may be the empty line's own.
        let end =
            find(body, &delimiter, head_end + 2).ok_or_else(|| broken("is cut off: its last boundary is missing"))?;
        let bytes = body.slice(content.min(end)..end);
        form.take(&head, bytes, json, &broken)?;
        at = end + delimiter.len();
    }
    unreachable!("the loop ends by returning")
}

impl Form {
    fn take(
        &mut self,
        head: &str,
        bytes: Bytes,
        json: &mut Budget,
        broken: &impl Fn(&str) -> Invalid,
    ) -> Result<(), Invalid> {
        let header = |wanted: &str| {
            head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let disposition =
            header("content-disposition").ok_or_else(|| broken("has a part without content-disposition"))?;
        let name = parameter(disposition, "name").ok_or_else(|| broken("has a part without a name"))?;
        let file_name = parameter(disposition, "filename");
        let field = name.split('[').next().unwrap_or_default();
        let file = FILES.into_iter().find(|&file| file == field);
        if let (Some(field), Some(_)) = (file, &file_name) {
            let content_type = header("content-type").map(str::to_owned);
            // Browsers send an empty file for an input that was left empty.
            if !bytes.is_empty() || file_name.as_deref().is_some_and(|name| !name.is_empty()) {
                self.files.push(FilePart { field, name: file_name, content_type, bytes });
            }
            return Ok(());
        }
        if file_name.is_some() {
            // A file that nobody asks for is not kept; its name stays, so that it can be told.
            self.fields.entry(field).or_insert(Value::from(""));
            return Ok(());
        }
        let Ok(text) = str::from_utf8(&bytes) else {
            let name = quoted(&name).to_owned();
            return Err(Invalid::validation(name.clone(), format!("{name}: must be text in UTF-8")));
        };
        let value = match PLAIN.contains(&name.as_str()) {
            true => Value::from(text),
            false => match json.value(text.as_bytes()) {
                Ok(value) => value,
                Err(BadJson::NotJson) => Value::from(text),
                Err(BadJson::TooMuch(why)) => return Err(Invalid::value("body", format!("{}: {why}", quoted(&name)))),
            },
        };
        // What stands inside brackets stays text: a client that wrote it out knows no types.
        let value = if name.contains('[') { Value::from(text) } else { value };
        insert(&mut self.fields, &name, value)
    }
}

/// Put a value where its name says: `a[b]` in the object `a`, `a[]` at the end of the list `a`.
fn insert(fields: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), Invalid> {
    let wrong = |why: &str| Invalid::value("body", format!("{}: {why}", quoted(name)));
    let Some((first, rest)) = name.split_once('[') else {
        // One of the two would be lost without a word.
        if fields.contains_key(name) {
            let hint = if name == "prompt" { "; changes on the way are `prompts`" } else { "" };
            return Err(Invalid::validation(name.to_owned(), format!("{name}: is given twice{hint}")));
        }
        fields.insert(name.to_owned(), value);
        return Ok(());
    };
    let inside = rest.strip_suffix(']').ok_or_else(|| wrong("its brackets do not close"))?;
    let keys: Vec<&str> = inside.split("][").collect();
    if keys.iter().any(|key| key.contains(['[', ']'])) {
        return Err(wrong("its brackets do not close"));
    }
    if keys.len() > BRACKETS_MAX {
        return Err(wrong("at most 3 brackets"));
    }
    let mut place = fields.entry(first).or_insert(Value::Null);
    for key in keys {
        place = match (key, place) {
            ("", place) => {
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let list =
                    place.as_array_mut().ok_or_else(|| wrong("it is a list here and something else elsewhere"))?;
                list.push(Value::Null);
                list.last_mut().expect("it was pushed")
            }
            (key, place) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                let object = place.as_object_mut();
                let object = object.ok_or_else(|| wrong("it is an object here and something else elsewhere"))?;
                object.entry(key).or_insert(Value::Null)
            }
        };
    }
    if place.is_null() {
        *place = value;
    }
    Ok(())
}

/// The value of a header's parameter: `form-data; name="a"`. Quotes may hold `\"`; browsers write `%22` for it.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().trim_start_matches(';').trim();
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
            Some(text) => {
                let (mut value, mut escaped, mut end) = (String::new(), false, None);
                for (at, c) in text.char_indices() {
                    match c {
                        '"' if !escaped => {
                            end = Some(at);
                            break;
                        }
                        '\\' if !escaped => {
                            escaped = true;
                            continue;
                        }
                        c => value.push(c),
                    }
                    escaped = false;
                }
                (value.replace("%22", "\""), &text[end? + 1..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left.trim_start().strip_prefix(';')?;
    }
}

/// Where `wanted` stands in `bytes`, from `from` on. Looks for its first byte, and then compares: a body of boundaries that
/// almost match takes as many comparisons as it has of that byte.
fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(step) = bytes.get(at..)?.iter().position(|byte| *byte == wanted[0]) {
        at += step;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests;
