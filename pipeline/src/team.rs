//! Which numbers of ranks can share a model.

use ops::Device;
use ops::collective::Team;

use crate::load::error::LoadError;

/// What ranks divide among themselves in attention.
pub(crate) struct Divided {
    /// What it is called.
    pub what: &'static str,
    /// How many there are.
    pub count: usize,
}

/// A team of `ranks` for a model with these heads. An error that names what cannot be shared.
pub(crate) fn of(ranks: usize, device: &Device, heads: &[Divided]) -> Result<Team, LoadError> {
    if ranks > 1 && device.about().is_some() {
        let reason = format!(
            "several ranks on {device} are not built: --ranks is for threads of the processor, and one GPU draws a world alone"
        );
        return Err(ops::Error::new(reason).into());
    }
    check(ranks, heads)?;
    Ok(Team::of_threads(ranks)?)
}

/// An error if ranks cannot take as many heads each.
pub(crate) fn check(ranks: usize, heads: &[Divided]) -> ops::Result<()> {
    let Some(Divided { what, count }) = heads.iter().find(|heads| ranks == 0 || heads.count % ranks != 0) else {
        return Ok(());
    };
    let fits = |ranks: &usize| heads.iter().all(|heads| heads.count % ranks == 0);
    let possible: Vec<String> = (1..=*count).filter(fits).map(|ranks| ranks.to_string()).collect();
    Err(ops::Error::new(format_args!(
        "{ranks} ranks cannot share {count} {what}: each takes as many as the others. This model can be shared by {} ranks",
        or(&possible)
    )))
}

/// `1, 2 or 4`
fn or(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_every_kind_of_heads_evenly_or_are_refused_with_the_numbers_that_can() {
        let check = |ranks, counts: &[usize]| {
            let heads: Vec<_> = counts.iter().map(|&count| Divided { what: "heads", count }).collect();
            check(ranks, &heads).map_err(|error| error.to_string())
        };
        // LingBot World of 14B and of 1.3B, Cosmos3 Nano.
        for ranks in [1, 2, 4, 5, 8, 10, 20, 40] {
            assert_eq!(check(ranks, &[40]), Ok(()));
        }
        let refused = check(3, &[40]).expect_err("40 heads");
        assert!(refused.contains("3 ranks cannot share 40 heads") && refused.contains("1, 2, 4, 5, 8, 10, 20 or 40"));
        let refused = check(8, &[12]).expect_err("12 heads");
        assert!(refused.ends_with("by 1, 2, 3, 4, 6 or 12 ranks"), "{refused}");
        assert_eq!(check(8, &[32, 8]), Ok(()));
        let refused = check(16, &[32, 8]).expect_err("8 heads of keys");
        assert!(refused.contains("16 ranks cannot share 8 heads") && refused.ends_with("by 1, 2, 4 or 8 ranks"));
        assert!(check(0, &[4]).is_err());
    }
}
