//! Keys over time on a command line: `w*12,wl*6,-*3` is twelve latent frames forward, six turning right as well, three
//! with nothing held.

use pipeline::world::Held;

use crate::realtime::wire::event::SCRIPT_ITEMS_MAX;

/// One set of keys for each latent frame. `Err` says which part is invalid and what is allowed.
pub fn parse(text: &str) -> Result<Vec<Held>, String> {
    let mut items = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (word, count) = match part.split_once('*') {
            Some((word, count)) => (word.trim(), count.trim().parse().ok().filter(|&count| count > 0)),
            None => (part, Some(1)),
        };
        let count: usize = count.ok_or_else(|| format!("{part:?}: after * stands how many latent frames"))?;
        let keys = match word {
            "-" => Held::default(),
            "" => return Err(format!("{part:?}: keys are missing; - is none")),
            word => match word.chars().find(|&key| !Held::ALL.contains(&key)) {
                Some(unknown) => return Err(format!("{part:?}: {unknown:?} is not one of w a s d i j k l")),
                None => word.chars().fold(Held::default(), Held::with),
            },
        };
        if items.len() + count > SCRIPT_ITEMS_MAX {
            return Err(format!("{part:?}: a script is {SCRIPT_ITEMS_MAX} latent frames at most"));
        }
        items.extend(std::iter::repeat_n(keys, count));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let word = |keys: &Held| if keys.is_empty() { "-".to_owned() } else { keys.iter().collect() };
        let read = parse(text).map(|items| items.iter().map(word).collect::<Vec<_>>().join(" "));
        match (read, expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{text:?}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{text:?}: {reason}"),
            (read, _) => panic!("{text:?}: {read:?}"),
        }
    }

    #[test]
    fn parts_are_keys_times_latent_frames() {
        check("w*3,wl*2,-*1", Ok("w w w wl wl -"));
        check(" w * 2 , - ", Ok("w w -"));
        check("lw", Ok("wl"));
        check("ww", Ok("w"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        check("", Err("missing"));
        check("w,,d", Err("missing"));
        check("w*", Err("how many"));
        check("w*0", Err("how many"));
        check("w*-1", Err("how many"));
        check("W*2", Err("'W'"));
        check("x", Err("'x'"));
        check("w*4096", Ok(&["w"; 4096].join(" ")));
        check("w*4096,d", Err("4096"));
        check("w*99999999999999999999", Err("how many"));
        check("w*18446744073709551615,w", Err("4096"));
    }
}
