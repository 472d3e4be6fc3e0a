//! Forms as clients send them, and forms that no client should send.

use serde_json::json;

use super::*;

/// A part: its name, what else stands in its disposition, its content.
type Part<'a> = (&'a str, &'a str, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Result<Form, Invalid> {
    let mut body = Vec::new();
    for (name, rest, content) in parts {
        body.extend(format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n").bytes());
        body.extend([*content, b"\r\n"].concat());
    }
    body.extend(b"--xx--\r\n");
    raw(&body)
}

fn raw(body: &[u8]) -> Result<Form, Invalid> {
    read("multipart/form-data; boundary=xx", &Bytes::copy_from_slice(body), &mut Budget::default())
}

fn fields(parts: &[Part<'_>]) -> Value {
    Value::Object(form(parts).expect("a form").fields)
}

#[test]
fn a_text_is_read_as_json_if_it_is_and_stays_text_otherwise() {
    let parts: [Part<'_>; 6] = [
        ("prompt", "", b"{\"caption\":\"x\"}"),
        ("negative_prompt", "", b"{\"n\":1}"),
        ("num_frames", "", b"81"),
        ("extra_params", "", b"{\"a\":[1]}"),
        ("seconds", "", b"8 s"),
        ("size", "", b"832x480"),
    ];
    let expected = json!({
        "prompt": "{\"caption\":\"x\"}", "negative_prompt": "{\"n\":1}", "num_frames": 81,
        "extra_params": { "a": [1] }, "seconds": "8 s", "size": "832x480",
    });
    assert_eq!(fields(&parts), expected);
}

#[test]
fn brackets_rebuild_what_they_stand_for() {
    assert_eq!(fields(&[("a[b]", "", b"1")]), json!({ "a": { "b": "1" } }));
    assert_eq!(
        fields(&[("a[b][c]", "", b"1"), ("a[b][d]", "", b"2")]),
        json!({ "a": { "b": { "c": "1", "d": "2" } } })
    );
    assert_eq!(fields(&[("a[]", "", b"1"), ("a[]", "", b"1")]), json!({ "a": ["1", "1"] }));
    assert_eq!(fields(&[("a[][]", "", b"w"), ("a[][]", "", b"l")]), json!({ "a": [["w"], ["l"]] }));
    assert_eq!(
        fields(&[("extra_params[use_duration_template]", "", b"false")]),
        json!({ "extra_params": { "use_duration_template": "false" } })
    );
    for bad in ["a[b", "a[b]c", "a]b[", "a[[b]]", "a[b][c][d][e]"] {
        assert!(form(&[(bad, "", b"1")]).is_err(), "{bad}");
    }
    assert!(form(&[("a[]", "", b"1"), ("a[b]", "", b"1")]).is_err());
}

#[test]
fn a_name_that_is_given_twice_is_refused() {
    let twice = form(&[("prompt", "", b"a meadow"), ("prompt", "", b"4:a snowy valley")]).expect_err("which of them?");
    assert_eq!(twice.message, "prompt: is given twice; changes on the way are `prompts`");
    assert!(form(&[("seed", "", b"1"), ("seed", "", b"1")]).is_err());
}

#[test]
fn a_file_is_a_slice_of_the_body_with_what_its_client_says_of_it() {
    let content = b"\x89PNG\r\n--x\r\n--xy\r\n\0";
    let rest = "; filename=\"a \\\"b\\\".png\"\r\nContent-Type: image/png";
    let form =
        form(&[("prompt", "", b"p"), ("input_reference", rest, content), ("image[]", rest, b"")]).expect("a form");
    let files: Vec<_> = form.files.iter().map(|file| (file.field, file.name.as_deref(), &file.bytes[..])).collect();
    assert_eq!(files, [("input_reference", Some("a \"b\".png"), &content[..]), ("image", Some("a \"b\".png"), b"")]);
    assert_eq!(form.files[0].content_type.as_deref(), Some("image/png"));
}

#[test]
fn an_empty_file_without_a_name_is_an_input_that_was_left_empty() {
    assert!(form(&[("input_reference", "; filename=\"\"", b"")]).expect("a form").files.is_empty());
    let unknown = form(&[("elsewhere", "; filename=\"a\"", b"x")]).expect("a form");
    assert!(unknown.files.is_empty() && unknown.fields.contains_key("elsewhere"), "its name is told as ignored");
    let text = form(&[("input_reference", "", b"data:image/png;base64,AA")]).expect("a form");
    assert_eq!(text.fields["input_reference"], "data:image/png;base64,AA");
}

#[test]
fn what_is_no_form_is_refused() {
    for body in [
        "",
        "--xx",
        "--xx\r\n",
        "--xx--",
        "--xx\r\n\r\n\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data\r\n\r\nv\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; name=a\r\n\r\nv",
        "--xx\r\nContent-Disposition: form-data; name=\"a\r\n\r\nv\r\n--xx--",
        "--xx oops\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--xx--",
        "hello",
    ] {
        // The end of a form without parts is a form.
        assert_eq!(raw(body.as_bytes()).is_ok(), body == "--xx--", "{body:?}");
    }
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"xx"]
    {
        assert!(read(content_type, &Bytes::from_static(b"--xx--"), &mut Budget::default()).is_err(), "{content_type}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert!(read(&long, &Bytes::new(), &mut Budget::default()).is_err());
}

#[test]
fn a_form_has_at_most_256_parts_and_headers_of_8_kib() {
    let parts: Vec<Part<'_>> = vec![("a[]", "", b"1"); PARTS_MAX];
    assert!(form(&parts).is_ok());
    assert!(form(&[parts, vec![("a[]", "", b"1")]].concat()).is_err());
    assert!(form(&[("a", &format!("; x=\"{}\"", "y".repeat(9000)), b"1")]).is_err());
}

#[test]
fn a_preamble_is_passed_over_and_an_empty_part_is_empty_text() {
    let body = b"preamble\r\n--xx\r\nContent-Disposition: form-data; name=prompt\r\n\r\n\r\n--xx--epilogue";
    assert_eq!(raw(body).expect("a form").fields["prompt"], "");
}
