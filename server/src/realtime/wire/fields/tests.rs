//! Values from a client in every form that is read, and those that are refused.

use rmpv::Value;

use super::*;

fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes everything");
    bytes
}

#[test]
fn a_message_is_exactly_one_map() {
    let check = |bytes: &[u8], expected: &str| {
        let refusal = Fields::decode(bytes).err().expect("refused");
        assert_eq!(refusal.field, "message");
        assert!(refusal.reason.contains(expected), "{bytes:02x?}: {refusal}");
    };
    assert!(Fields::decode(&[0x80]).is_ok());
    check(&[], "cut off");
    check(&[0x81, 0xa1], "cut off");
    check(&[0x80, 0x00], "1 bytes follow");
    check(&[0xc0], "must be a map, not nil");
    check(&[0x07], "a number");
    check(&[0x90], "a list");
    check(&[0xc1], "c1");
    check(b"not msgpack", "follow");
}

#[test]
fn a_claimed_length_is_not_believed() {
    for claim in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xdc, 0xff, 0xff, 0x90]] {
        assert!(Fields::decode(claim).is_err());
    }
    assert!(Fields::decode(&[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
    let refusal = Fields::decode(&[0x91; 10_000]).err().expect("refused");
    assert!(refusal.reason.contains("deeper than 16"), "{refusal}");
    let nils = [&[0xdd, 0, 1, 0, 1][..], &[0xc0; 65_537]].concat();
    let refusal = Fields::decode(&nils).err().expect("refused");
    assert!(refusal.reason.contains("more than 65536 values"), "{refusal}");
}

#[test]
fn every_value_measures_what_it_encodes_to() {
    let long = "x".repeat(70_000);
    let values = [
        Value::Nil,
        Value::from(true),
        Value::from(-1),
        Value::from(-200),
        Value::from(-70_000),
        Value::from(i64::MIN),
        Value::from(200),
        Value::from(300),
        Value::from(70_000),
        Value::from(u64::MAX),
        Value::F32(1.5),
        Value::F64(1.5),
        Value::from("short"),
        Value::from(&long[..40]),
        Value::from(&long[..300]),
        Value::from(long.as_str()),
        Value::Binary(vec![0; 3]),
        Value::Binary(vec![0; 300]),
        Value::Binary(vec![0; 70_000]),
        Value::Ext(1, vec![0; 1]),
        Value::Ext(1, vec![0; 16]),
        Value::Ext(1, vec![0; 17]),
        Value::Ext(1, vec![0; 300]),
        Value::Ext(1, vec![0; 70_000]),
        Value::Array(vec![Value::Nil; 20]),
        Value::Map(vec![(Value::from("k"), Value::from(1)); 20]),
    ];
    for value in values.iter().chain([&Value::Array(values.to_vec())]) {
        let bytes = bytes(value);
        assert_eq!(measure(&bytes), Ok(bytes.len()), "{value}");
        assert!(measure(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn integers_may_come_as_whole_floats_or_text_or_booleans() {
    let check =
        |value: Value, expected: Option<i128>| assert_eq!(integer("n", &value.as_ref()).ok(), expected, "{value}");
    check(Value::from(25), Some(25));
    check(Value::F64(25.0), Some(25));
    check(Value::F32(-3.0), Some(-3));
    check(Value::F64(65536.0), Some(65536));
    check(Value::from("25"), Some(25));
    check(Value::from(" 7 "), Some(7));
    check(Value::from("25.0"), Some(25));
    check(Value::from(true), Some(1));
    for bad in [
        Value::F64(25.5),
        Value::F64(f64::NAN),
        Value::F64(f64::INFINITY),
        Value::from("inf"),
        Value::from("-"),
        Value::from("seven"),
        Value::from(""),
        Value::Array(vec![]),
        Value::Nil,
    ] {
        check(bad, None);
    }
}

#[test]
fn at_the_borders_of_every_width_a_number_is_taken_or_called_out_of_range() {
    fn check<T: Copy + Into<i128> + TryFrom<i128>>(value: Value, range: RangeInclusive<T>) -> String {
        let said = value.to_string();
        let read = Fields(vec![(ValueRef::from("n"), value.as_ref())]).integer_in("n", range);
        match read {
            Ok(number) => number.expect("the field is there").into().to_string(),
            Err(refusal) => {
                assert!(refusal.reason.contains("it must be"), "{said}: {refusal}");
                "refused".to_owned()
            }
        }
    }
    let two_to = |power: i32| 2f64.powi(power);
    let whole = 0..=u64::MAX;
    for (value, expected) in [
        (Value::from(u64::MAX), "18446744073709551615"),
        (Value::from(i64::MAX), "9223372036854775807"),
        (Value::from(1u64 << 63), "9223372036854775808"),
        (Value::from("18446744073709551615"), "18446744073709551615"),
        (Value::from("18446744073709551616"), "refused"),
        (Value::F64(two_to(53)), "9007199254740992"),
        (Value::F64(two_to(60)), "1152921504606846976"),
        (Value::F64(two_to(63)), "9223372036854775808"),
        (Value::F64(two_to(64)), "refused"),
        (Value::F64(1e300), "refused"),
        (Value::F64(-1e300), "refused"),
        (Value::F64(-0.0), "0"),
        (Value::F32(16_777_216.0), "16777216"),
        (Value::from("1e3"), "1000"),
        (Value::from(format!("1{}", "0".repeat(400))), "refused"),
        (Value::from(-1), "refused"),
        (Value::from(i64::MIN), "refused"),
    ] {
        assert_eq!(check(value.clone(), whole.clone()), expected, "{value}");
    }
    assert_eq!(check(Value::from(u32::MAX), 0..=u32::MAX), "4294967295");
    assert_eq!(check(Value::from(u64::from(u32::MAX) + 1), 0..=u32::MAX), "refused");
    assert_eq!(check(Value::from(u64::MAX), 1..=240u32), "refused");
    assert_eq!(check(Value::from(-1), -1..=i64::from(u32::MAX)), "-1");
    let message = |value: Value| {
        let refused = Fields(vec![(ValueRef::from("n"), value.as_ref())]).integer_in("n", 0..=u64::MAX);
        refused.expect_err("out of range").reason
    };
    assert_eq!(message(Value::from(-1)), "-1 is not allowed: it must be at least 0");
    let reason = message(Value::F64(two_to(64)));
    assert_eq!(reason, "18446744073709551616 is not allowed: it must be 0 to 18446744073709551615");
    assert!(message(Value::F64(1e300)).starts_with("this number is not allowed"));
}

#[test]
fn flags_and_text_are_lenient_too() {
    let flag = |value: Value| Fields(vec![(ValueRef::from("f"), value.as_ref())]).flag("f").ok();
    assert_eq!(flag(Value::Nil), Some(false));
    assert_eq!(flag(Value::from("True")), Some(true));
    assert_eq!(flag(Value::F64(1.0)), Some(true));
    assert_eq!(flag(Value::from(2)), None);
    assert_eq!(flag(Value::from("maybe")), None);
    assert_eq!(text("t", &ValueRef::Binary(b"ok")), Ok("ok"));
    assert!(text("t", &ValueRef::Binary(&[0xff])).is_err());
    assert!(text("t", &ValueRef::from(1)).is_err());
}
